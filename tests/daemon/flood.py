"""One full daemon, flooded directly, as by a HAProxy without limits: `python -m tests.daemon.flood RATE [SECONDS]`.

RATE connects a second, each with a PROXY header, none of which goes away by itself, from two
processes; a check every 50 ms. Prints how long checks took, how far the backlog grew, and what
a refusal costs. The figures of docs/adr/0004.
"""

from __future__ import annotations

import collections
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from lab.fleet import processes
from tests.daemon import raw
from tests.daemon.test_proxy_protocol import CLIENT, LOCAL

CONNECTIONS_MAX = 40
FLOODERS = 2
# Of one flooder, at once: the oldest is closed for the next.
OPEN_MAX = 3_000
CHECK_EVERY_S = 0.05
CHECK_S_MAX = 2.0


def flood(port: int, rate: float, seconds: float) -> float:
    """Connect; returns how often a second."""
    os.nice(19)
    held: collections.deque[socket.socket] = collections.deque()
    opened, begin_s = 0, time.monotonic()
    while (passed_s := time.monotonic() - begin_s) < seconds:
        due = min(int(rate * passed_s), opened + 200)
        for _ in range(opened, due):
            sock = socket.socket()
            sock.settimeout(0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, raw.ABORT)
            sock.connect_ex(("127.0.0.1", port))
            with contextlib.suppress(OSError):
                sock.send(CLIENT)
            held.append(sock)
            if len(held) > OPEN_MAX:
                held.popleft().close()
        opened = max(opened, due)
        time.sleep(0.002)
    return opened / (time.monotonic() - begin_s)


def backlog(port: int) -> int:
    """How many wait to be accepted."""
    command = ["ss", "-Hltn", "sport", "=", f":{port}"]
    return int(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]
    )


def play(daemon: processes.Process, rate: float, seconds: float) -> str:
    """What it came to, in a line."""
    port = int(daemon.ready["echo"].rsplit(":", 1)[1])
    served = [raw.connect(port) for _ in range(CONNECTIONS_MAX)]
    for sock in served:
        sock.sendall(CLIENT + b"a\n")
    program = psutil.Process(daemon.pid)
    cpu_s = sum(program.cpu_times()[:2])
    argv = [sys.executable, "-m", "tests.daemon.flood"]
    argv += [str(number) for number in (port, rate / FLOODERS, seconds)]
    flooders = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(FLOODERS)]
    took_s, missed, longest = [], 0, 0
    until_s = time.monotonic() + seconds
    while (begin_s := time.monotonic()) < until_s:
        for sock in served:
            sock.sendall(b"a\n")
        try:
            answer = raw.converse(port, [LOCAL + b"haproxy\n"], patience_s=CHECK_S_MAX)
        except TimeoutError:
            answer = b""
        took_s.append(time.monotonic() - begin_s)
        missed += answer != b"haproxy\n"
        longest = max(longest, backlog(port))
        time.sleep(CHECK_EVERY_S)
    cpu_s = sum(program.cpu_times()[:2]) - cpu_s
    per_s = sum(float(flooder.communicate()[0]) for flooder in flooders)
    took_s.sort()
    return (
        f"{per_s:.0f} connects a second: {len(took_s)} checks, {missed} missed,"
        f" p50 {1e3 * took_s[len(took_s) // 2]:.1f} ms,"
        f" p99 {1e3 * took_s[int(0.99 * len(took_s))]:.1f} ms; backlog at most {longest};"
        f" {1e6 * cpu_s / seconds / per_s:.0f} µs of CPU for each"
    )


def main(rate: float, seconds: float = 5.0) -> None:
    """Start a daemon, play, end it."""
    settings = ("echo-port=0", "session-port=0", "admin-port=0", "agent-port=0", "proxy-protocol")
    flags = [f"--{each}" for each in (*settings, f"connections-max={CONNECTIONS_MAX}")]
    with tempfile.TemporaryDirectory() as directory:
        argv = [sys.executable, "-m", "echod", *flags, "--echo-idle-s-max=60"]
        daemon = processes.start(argv, log=Path(directory) / "log")
        try:
            print(play(daemon, rate, seconds))  # noqa: T201 — what it is for
        finally:
            daemon.kill()


if __name__ == "__main__":
    numbers = [float(text) for text in sys.argv[1:]]
    if len(numbers) == 3:
        print(flood(int(numbers[0]), *numbers[1:]))  # noqa: T201 — what its starter reads
    else:
        main(*numbers)
