"""Bytes to lines: everything on the wire is lines of bytes ended by LF (PROTOCOL, top).

No byte but LF has a meaning. Called by the connection for every read, so it is
written for the common case, one whole line in one segment.
"""

from __future__ import annotations

LF = b"\n"


def split_lines(data: bytes, lines_max: int) -> tuple[list[bytes], bytes]:
    """Cut at most `lines_max` whole lines off the front of `data`.

    Returns:
        The lines, each with its LF, and what is left: an unfinished line, or, once
        `lines_max` are out, any bytes at all.
    """
    if data.find(LF) == len(data) - 1 and data and lines_max:
        return [data], b""
    *bodies, rest = data.split(LF, lines_max) if lines_max else (data,)
    return [body + LF for body in bodies], rest


def is_too_long(rest: bytes, line_bytes_max: int) -> bool:
    """Say whether `rest` begins with a line over `line_bytes_max`, ended or not.

    A line counts with its LF, so that many bytes without one are already too many.
    """
    return len(rest) >= line_bytes_max and rest.find(LF, 0, line_bytes_max) < 0
