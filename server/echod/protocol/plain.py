"""The article's echo, PROTOCOL §1: a line is answered by the previous line and this one."""

from __future__ import annotations


def answer(last: bytes, lines: list[bytes]) -> tuple[bytes, bytes]:
    """Answer `lines`, at least one, of a connection whose last line was `last` (b"" for none).

    Returns:
        All replies in order, joined; and the last of them alone, which with the length
        of its first part is the state that can answer the last line again (ADR 2).
    """
    if len(lines) == 1:
        reply = last + lines[0]
        return reply, reply
    parts = []
    for line in lines:
        parts.append(last)
        parts.append(line)
        last = line
    return b"".join(parts), parts[-2] + last
