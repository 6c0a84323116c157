"""No answered line is lost, no line is committed twice (issue: sessions that outlive a daemon).

Clients pipeline; a process is ended in the middle; they resume elsewhere, send again what
was not acknowledged, and go on. Then Redis's append-only file is read.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from lab.fleet import redis_server
from tests.daemon.history import check, history
from tests.daemon.test_session_random import WELCOME, Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

CLIENTS = 20
LINES = 600
# Of them, so many are answered before the fault; the others are on their way.
BEFORE = 100


class Sender:
    """A client that has `LINES` lines to say, whatever happens."""

    def __init__(self, number: int, port: int) -> None:
        self.texts = [b"client %d line %d" % (number, n) for n in range(1, LINES + 1)]
        self.answered = 0
        self.one = Connection(port)
        self.one.sock.sendall(b"HELLO\n")
        found = WELCOME.fullmatch(self.one.line())
        assert found
        self.token = found[1]

    def send(self, after: int, last: int) -> None:
        """The lines after that one, up to that one, waiting for none."""
        lines = [b"ECHO %d %b\n" % (n, self.texts[n - 1]) for n in range(after + 1, last + 1)]
        self.one.sock.sendall(b"".join(lines))

    def hear(self, until_seq: int) -> None:
        """Replies, each checked, up to that one or the end of the connection."""
        said = b""
        while self.answered < until_seq and (line := self.one.line()):
            if line.startswith((b"DRAIN ", b"ERR ")):
                said = line
                continue
            n = self.answered + 1
            if n > 1:
                assert line == b"PREV %d %b" % (n - 1, self.texts[n - 2]), (line, said)
                line = self.one.line()
            if line != b"ECHO %d %b" % (n, self.texts[n - 1]):
                # Cut off by the end of its process, which is not this test's question.
                assert not self.one.line()
                return
            self.answered = n

    def resume(self, port: int) -> None:
        """Elsewhere: WELCOME has what was answered, and says where to go on."""
        self.one.sock.close()
        self.one = Connection(port)
        self.one.sock.sendall(b"HELLO %b %d\n" % (self.token, self.answered))
        found = WELCOME.fullmatch(self.one.line())
        assert found
        seq = int(found[3])
        assert self.answered <= seq <= LINES
        assert self.one.line() == b"PREV %d %b" % (seq, self.texts[seq - 1])
        self.answered = seq  # WELCOME says so
        self.send(seq, LINES)


def send_the_rest(senders: list[Sender], daemon: Echod, *, stop: bool) -> None:
    """All lines are on their way; `stop`: those of the last are not answered before the fault.

    However late this process is with it.
    """
    for sender in senders[:-1]:
        sender.send(BEFORE, LINES)
    if stop:
        daemon.process.signal(signal.SIGSTOP)
    senders[-1].send(BEFORE, LINES)


@contextlib.contextmanager
def fault_at(fault: str, daemon: Echod, redis: RedisServer, directory: Path) -> Iterator[None]:
    """The fault happens; Redis comes back at once, a frozen daemon at the latest at the end."""
    if fault == "kill redis":
        redis.process.kill()
        with redis_server.start(directory, port=redis.port):
            yield
        return
    faults = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "freeze": signal.SIGSTOP}
    daemon.process.signal(faults[fault])
    try:
        yield
    finally:
        if fault == "freeze":
            daemon.process.signal(signal.SIGCONT)


@pytest.mark.parametrize("fault", ["kill", "terminate", "freeze", "kill redis"])
def test_every_line_once(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path, fault: str
) -> None:
    """Whatever is ended in the middle, each line is committed once, in order, and answered."""
    settings = {"store": own_redis.url, "drain_s": 1, "agent_interval_s": 0.1, "commit_s_max": 10}
    one, two = echod(**settings), echod(**settings)
    senders = [Sender(number, one.session_port) for number in range(CLIENTS)]
    for sender in senders:
        sender.send(0, BEFORE)
        sender.hear(BEFORE)
    send_the_rest(senders, one, stop=fault in ("kill", "freeze"))
    with fault_at(fault, one, own_redis, tmp_path / "redis"):
        if fault != "freeze":
            for sender in senders:
                sender.hear(LINES)
        if fault in ("kill", "freeze"):
            assert senders[-1].answered < LINES
        for sender in senders:
            sender.resume(two.session_port)
        if fault == "freeze":
            one.process.signal(signal.SIGCONT)
        for sender in senders:
            sender.hear(LINES)
            assert sender.answered == LINES
    changes = history(tmp_path / "redis")
    for sender in senders:
        texts = {n: {text} for n, text in enumerate(sender.texts, 1)}
        check(changes[sender.token.split(b".")[0]], LINES, texts)
