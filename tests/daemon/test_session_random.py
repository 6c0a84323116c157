"""Two daemons, one Redis, clients that resume each other's sessions at random; all is checked.

The model (tests/protocol_model.py) knows what each line must be answered. Where two
connections race, it knows what may have become of each line, and the next WELCOME says.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.daemon import raw
from tests.daemon.history import check, history
from tests.protocol_model import ENDS, Model, agrees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

WELCOME = re.compile(rb"WELCOME ([a-z2-7]{10}\.[a-z2-7]{26}) (\d+) (\d+) \d+")
TAKEN_OVER = b"ERR taken-over "
SECONDS = 4.0
# And so much at least, however long that takes.
STEPS, SECONDS_MAX = 50, 60.0


class Connection:
    """A connection that may own a session, and what it is owed."""

    def __init__(self, port: int) -> None:
        self.sock = raw.connect(port)
        self.received = b""
        self.owed: list[list[bytes]] = []
        self.owed_seq: list[int] = []  # the session's number when each of them is answered

    def line(self) -> bytes:
        """The next line without its LF; what there is at the end of the connection."""
        while b"\n" not in self.received:
            data = raw.read_some(self.sock)
            if not data:
                break
            self.received += data
        line, _, self.received = self.received.partition(b"\n")
        return line

    def rest(self) -> bytes:
        """All that comes up to the end of the connection."""
        rest, self.received = self.received + raw.read_all(self.sock), b""
        return rest


class Session:
    """One session, as its clients see it."""

    def __init__(self, rng: random.Random, ports: list[int]) -> None:
        self.rng = rng
        self.ports = ports
        self.model = Model()
        self.epoch = 1
        self.answered = 0
        self.holder = self.connect()
        self.stale: list[Connection] = []
        self.holder.sock.sendall(b"HELLO\n")
        found = WELCOME.fullmatch(self.holder.line())
        assert found
        assert found.groups()[1:] == (b"1", b"0")
        self.token = found[1]
        self.ended = False
        # Epochs that nobody was welcomed with: a batch went again that held two rivals.
        self.skipped = 0
        self.texts: dict[int, set[bytes]] = {}  # all that was ever sent under a number

    def connect(self) -> Connection:
        """To either daemon."""
        return Connection(self.rng.choice(self.ports))

    def lines(self) -> list[bytes]:
        """Some lines, most of them in order."""
        made, seq = [], self.model.seq
        for _ in range(self.rng.randrange(1, 12)):
            kind = self.rng.random()
            if kind < 0.7:
                seq += 1
                made.append(b"ECHO %d %x\n" % (seq, self.rng.getrandbits(32)))
            elif kind < 0.8 and made and made[-1].startswith(b"ECHO %d " % seq):
                made.append(made[-1])
            else:
                made.append(self.rng.choice([b"PING\n", b"PING x\n", b"?\n", b"ECHO 99999 x\n"]))
        return made

    def send(self, lines: list[bytes]) -> None:
        """In one segment or in more, from the owner."""
        one = self.holder
        for line in lines:
            one.owed.append(self.model.answer(line))
            one.owed_seq.append(self.model.seq)
            if seq := self.model.seq:
                self.texts.setdefault(seq, set()).add(self.model.texts[seq])
        data = b"".join(lines)
        cut = self.rng.randrange(len(data) + 1)
        one.sock.sendall(data[:cut])
        one.sock.sendall(data[cut:])

    def hear(self) -> None:
        """Every answer that the owner is owed, and nothing else."""
        one = self.holder
        for answer in one.owed:
            said = b"".join(one.line() + b"\n" for _ in answer)
            assert agrees(said, answer), (said, answer)
        if one.owed:
            self.answered = one.owed_seq[-1]
        one.owed, one.owed_seq = [], []

    def take_over(self, *, at_once: bool, gone: bool) -> None:
        """Resume, perhaps twice at the same time; the earlier owner may be in the middle.

        Or it is gone: what became of its lines is the WELCOME's to say.
        """
        rivals = [self.connect() for _ in range(1 + at_once)]
        for rival in rivals:
            acked = b" %d" % self.answered if self.rng.random() < 0.7 else b""
            rival.sock.sendall(b"HELLO %b%b\n" % (self.token, acked))
        welcomes = {}
        for rival in rivals:
            found = WELCOME.fullmatch(rival.line())
            assert found
            seq = int(found[3])
            assert self.answered <= seq <= self.model.seq, "acknowledged means resumed"
            if seq:
                assert rival.line() == b"PREV %d %b" % (seq, self.model.texts[seq])
            welcomes[int(found[2])] = seq, rival
        epochs = sorted(welcomes)
        assert epochs[0] > self.epoch
        self.skipped += epochs[-1] - self.epoch - len(rivals)
        assert len({seq for seq, _ in welcomes.values()}) == 1, "nobody wrote in between"
        earlier = self.holder
        self.epoch = epochs[-1]
        seq, self.holder = welcomes[self.epoch]
        self.stale += [rival for rival in rivals if rival is not self.holder]
        if gone:
            raw.reset(earlier.sock)
        elif earlier.owed:
            self.be_told(earlier, seq)
        else:
            self.stale.append(earlier)
        self.model = Model(seq, self.model.texts.get(seq - 1, b""), self.model.texts.get(seq, b""))

    def be_told(self, earlier: Connection, seq: int) -> None:
        """The earlier owner heard answers up to the takeover, then nothing but the error."""
        with contextlib.suppress(OSError):  # it has been told already
            earlier.sock.sendall(b"PING late\n")
        rest = earlier.rest()
        for answer, at in zip(earlier.owed, earlier.owed_seq, strict=True):
            end = 0
            for _ in answer:
                end = rest.find(b"\n", end) + 1
            if rest.startswith(TAKEN_OVER) or not agrees(rest[:end], answer):
                break
            assert at <= seq, "what was answered is there"
            rest = rest[end:]
        assert rest.startswith(TAKEN_OVER), rest
        assert rest.count(b"\n") == 1
        earlier.sock.close()

    def speak_late(self) -> None:
        """An earlier owner speaks: it is told, and nothing else."""
        one = self.stale.pop(self.rng.randrange(len(self.stale)))
        with_more = self.rng.choice([b"", b"QUIT\n", b"PING\nPING\n"])
        one.sock.sendall(b"".join(self.lines()) + with_more)
        if self.rng.random() < 0.3:
            one.sock.shutdown(socket.SHUT_WR)
        rest = one.rest()
        assert rest.startswith(TAKEN_OVER), rest
        assert rest.count(b"\n") == 1
        one.sock.close()

    def end(self) -> None:
        """QUIT behind some lines: all are answered, and nobody resumes it."""
        self.send(self.lines())
        self.holder.owed.append([ENDS])
        self.holder.owed_seq.append(self.model.seq)
        self.holder.sock.sendall(b"QUIT\n")
        self.hear()
        assert self.holder.rest() == b""
        late = self.connect()
        late.sock.sendall(b"HELLO %b\n" % self.token)
        assert late.rest().startswith(b"ERR unknown-session ")
        self.ended = True


def step(session: Session) -> None:
    """One thing that clients do."""
    kind = session.rng.random()
    if kind < 0.35:
        session.send(session.lines())
        session.hear()
    elif kind < 0.75:
        if session.rng.random() < 0.7:
            session.send(session.lines())
        session.take_over(at_once=session.rng.random() < 0.3, gone=session.rng.random() < 0.2)
    elif kind < 0.97:
        if session.stale:
            session.speak_late()
    else:
        session.end()


@pytest.mark.parametrize("seed", [1, 2])
def test_random_clients(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path, seed: int
) -> None:
    """Every reply of some seconds is what it must be, and on disk is what was answered."""
    daemons = [echod(store=own_redis.url) for _ in range(2)]
    ports = [daemon.session_port for daemon in daemons]
    rng = random.Random(seed)
    sessions = [Session(rng, ports) for _ in range(4)]
    steps = skipped = 0
    begin_s = time.monotonic()
    while (took_s := time.monotonic() - begin_s) < SECONDS or steps <= STEPS:
        assert took_s < SECONDS_MAX
        at = rng.randrange(len(sessions))
        step(sessions[at])
        if sessions[at].ended:
            skipped += sessions[at].skipped
            sessions[at] = Session(rng, ports)
        steps += 1
    if skipped + sum(session.skipped for session in sessions):
        assert any("store-failed" in daemon.log() for daemon in daemons)
    changes = history(tmp_path / "redis")
    for session in sessions:
        texts = session.texts
        check(changes[session.token.split(b".")[0]], session.answered, texts)
