"""PROTOCOL §1 over real sockets: random streams, and that nothing is left of any of them.

What every server of the plain port must do is in tests/contract/test_plain_port.py.
"""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import redis as redis_py

from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

CENSUS = str(Path(__file__).parent / "census.py")


def random_stream(rng: random.Random) -> bytes:
    """Any bytes; LF and the limit's neighbourhood are likely."""
    parts = []
    for _ in range(rng.randrange(8)):
        kind = rng.random()
        if kind < 0.6:
            size = rng.randrange(12)
        elif kind < 0.9:
            size = rng.choice((126, 127, 128, 129, 300))
        else:
            size = rng.randrange(500)
        parts.append(rng.randbytes(size).replace(b"\n", b"\r"))
        parts.append(rng.choice((b"\n", b"\n\n", b"\r\n", b"")))
    return b"".join(parts)


def cut(rng: random.Random, stream: bytes) -> list[bytes]:
    """The stream in random pieces."""
    edges = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(5)))
    return [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]


@pytest.mark.parametrize("reader", ["callback", "greenlet"])
def test_a_thousand_random_streams(
    echod: Callable[..., Echod], own_redis: RedisServer, reader: str
) -> None:
    """Each is answered right or by the error of §4, and nothing is left of any of them."""
    line_bytes_max = 128
    daemon = echod((CENSUS,), store=own_redis.url, line_bytes_max=line_bytes_max, reader=reader)
    process = psutil.Process(daemon.process.pid)
    raw.converse(daemon.port, [b"warm\n"])
    until(lambda: not census(daemon), 30, "the first client to be gone")
    files = process.num_fds()
    rng = random.Random(11)
    for _ in range(1000):
        stream = random_stream(rng)
        chunks = cut(rng, stream)
        if rng.random() < 0.15:
            with raw.connect(daemon.port) as sock:
                for chunk in chunks:
                    sock.sendall(chunk)
                raw.reset(sock)
            continue
        reply = raw.converse(daemon.port, chunks)
        expected, too_long = raw.owed(stream, line_bytes_max)
        if too_long:
            assert reply[: len(expected)] == expected
            assert reply[len(expected) :].startswith(b"ERR line-too-long ")
        else:
            assert reply == expected
    until(lambda: not census(daemon), 30, "no connection and no greenlet to be left")
    assert process.num_fds() == files
    assert daemon.metrics()['echod_connections{port="echo"}'] == 0
    with redis_py.Redis.from_url(own_redis.url) as client:
        until(lambda: not client.keys("[sr]:*"), 30, "no key to be left")
    daemon.assert_healthy()


def census(daemon: Echod) -> dict[str, int]:
    """What census.py says is alive; empty if nothing is."""
    said = daemon.log().count("census ")
    daemon.process.signal(signal.SIGUSR1)
    until(lambda: daemon.log().count("census ") > said, 30, "the census")
    line = [line for line in daemon.log().splitlines() if line.startswith("census ")][-1]
    counts: dict[str, int] = json.loads(line.removeprefix("census "))
    return {kind: count for kind, count in counts.items() if count}
