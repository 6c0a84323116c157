"""Bytes to lines: everything on the wire is lines of bytes ended by LF (PROTOCOL, top).

No byte but LF has a meaning. The connection calls it for what it reads, unless that is
one whole line, as it mostly is.
"""

from __future__ import annotations

LF = b"\n"


def split_lines(
    data: bytes, lines_max: int, line_bytes_max: int
) -> tuple[list[bytes], bytes, bool]:
    """Cut at most `lines_max`, at least 1, whole lines off the front of `data`.

    Returns:
        The lines, each with its LF; what is left, an unfinished line, or, once
        `lines_max` are out, any bytes at all; and whether what follows the lines begins
        with a line over `line_bytes_max`, ended or not: then nothing is left.
    """
    *bodies, rest = data.split(LF, lines_max)
    lines = [body + LF for body in bodies]
    for at, line in enumerate(lines):
        if len(line) > line_bytes_max:
            return lines[:at], b"", True
    # A line counts with its LF, so that many bytes without one are already too many.
    if len(rest) >= line_bytes_max and rest.find(LF, 0, line_bytes_max) < 0:
        return lines, b"", True
    return lines, rest, False
