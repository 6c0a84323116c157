"""Four addresses that connect and never close by themselves: `flooder.py PORT RATE SECONDS`.

Each connects RATE times a second, sends a line, and reads nothing: what it is refused with stays
unread, and its side of the connection open. Together they keep `OPEN_MAX`; for each new one
beyond them the oldest is reset, so that the rate goes on. At the lowest priority, as
`attacker.py`. stdout gets the line `flooding` after the first second, and at the end one of
JSON: how many were opened and how many could not be. Standard library only.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import os
import socket
import struct
import sys
import time

SOURCES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
ABORT = struct.pack("ii", 1, 0)
# Below HAProxy's 8,000 or so, and below SOURCE_CONNECTIONS_MAX of each.
OPEN_MAX = 6_000
TURNS_PER_S = 200


def connect(source: str, port: int) -> socket.socket | None:
    """One more, on its way; None if the kernel has no port or no file for it."""
    sock = socket.socket()
    sock.settimeout(0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    # The kernel then chooses a port when it knows where to: 28,000 for each target.
    sock.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    sock.bind((source, 0))
    if sock.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS):
        sock.close()
        return None
    with contextlib.suppress(OSError):  # not connected yet: it says nothing, which is as bad
        sock.send(b"let me in\n")
    return sock


def flood(port: int, rate: float, seconds: float) -> dict[str, float]:
    """Connect for so long; what it came to."""
    held: collections.deque[socket.socket] = collections.deque()
    counts = {"opened": 0, "failed": 0}
    begin_s = time.monotonic()
    told = False
    while (passed_s := time.monotonic() - begin_s) < seconds:
        if passed_s >= 1 and not told:
            told = True
            print("flooding", flush=True)  # noqa: T201 — what its starter waits for
        # What was missed is not made up for: a source's rate is never above RATE.
        due = min(int(rate * passed_s) * len(SOURCES), counts["opened"] + counts["failed"] + 400)
        for number in range(counts["opened"] + counts["failed"], due):
            sock = connect(SOURCES[number % len(SOURCES)], port)
            counts["opened" if sock else "failed"] += 1
            if sock:
                held.append(sock)
            if len(held) > OPEN_MAX:
                held.popleft().close()
        time.sleep(1 / TURNS_PER_S)
    for sock in held:
        sock.close()
    return {**counts, "per_s": counts["opened"] / (time.monotonic() - begin_s)}


if __name__ == "__main__":
    os.nice(19)
    port, rate, seconds = sys.argv[1:]
    print(json.dumps(flood(int(port), float(rate), float(seconds))))  # noqa: T201 — as above
