"""The load of a drill: one gevent process with all clients, and the history of what they saw.

    python -m lab.drill.load --session HOST:PORT --history FILE --load JSON …

    steady     s…   a session each, lines at a rate, several in flight
    quitters   q…   as they, but a session ends after a few lines, and another begins
    claimants  x…   two hold one token, and take the session from each other
    ghosts     g…   `ghosts.py`
    plain      p…   the plain port's
    soak       L…   `soak_load.py`, if lives are shortened

It prints a ready line when all are served. SIGTERM, or `--lines`, ends the lines; when every
line's fate is known it prints `{"event": "quiet", …}` and keeps its connections; a second
SIGTERM ends it. `run.py` starts it.
"""

# ruff: noqa: E402, S311 — gevent patches first; a drill's dice are seeded, and no secret
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import json
import random
import signal
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from lab.drill import lives, room_load, soak_guests, soak_load, witness
from lab.drill.ghosts import Ghost
from lab.drill.scenario import Load
from lab.drill.texts import Texts
from loadtest.client import PlainClient
from loadtest.errors import ClientError, RolledBack, SessionLost, WrongReply
from loadtest.history import HistoryFile
from loadtest.session_client import Acknowledged, SessionClient
from loadtest.session_retry import Patience

if TYPE_CHECKING:
    from collections.abc import Sequence

# A client tries as long as it takes. A connect that is not answered in a second is tried
# anew, elsewhere; so is HELLO (HAProxy finds a frozen daemon within 1.65 s, haproxy.cfg).
CONNECT_S_MAX = 1.0
BACKOFF_S_MAX = 1.0
# Who has just lost a session to the other claimant leaves it that for a moment.
CLAIMANTS_BACKOFF_S = 0.6

# From the last line to the last answer: the longest fault, and what it left behind.
FINISH_S_MAX = 40.0
# A quitter's session has so many lines.
QUIT_LINES = (3, 30)
# A client looks up at least so often.
LOOK_S = 0.25
PLAIN_REPLY_S_MAX = 3.0


@dataclass
class Crowd:
    """What all clients share."""

    session: tuple[str, int]
    plain: tuple[str, int]
    direct: Sequence[tuple[str, int]]
    load: Load
    history: HistoryFile
    chance: random.Random
    lines_max: int
    finishing: bool = False
    leaving: Event = field(default_factory=Event)
    served: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)
    """Clients with lines whose fate they don't know."""
    lines: int = 0
    deliveries_max: int = 0
    deliveries: int = 0
    """Messages that members got."""

    def next_stage(self) -> None:
        """No more lines; the second time: leave."""
        if self.finishing:
            self.leaving.set()
        self.finishing = True

    def may_send(self) -> bool:
        """Whether there are lines, or messages, left."""
        if self.deliveries_max and self.deliveries >= self.deliveries_max:
            self.finishing = True
        if self.lines_max and self.lines >= self.lines_max:
            self.finishing = True
        return not self.finishing


class Steady:
    """A session client that sends lines at its rate, whatever happens."""

    def __init__(self, crowd: Crowd, name: str, *, quits: bool = False) -> None:
        self.crowd = crowd
        self.name = name
        self._quits = quits
        self._chance = random.Random(f"{crowd.chance.random()} {name}")
        self._texts = Texts(self._chance, crowd.load.text_bytes)
        self._begun = 0
        self._due_s = 0.0
        self._left = 0
        self.client = self._begin()

    def _begin(self, token: bytes = b"") -> SessionClient:
        """Another session: under another name, since its connections count from 1 again."""
        self._begun += 1
        self._left = self._chance.randint(*QUIT_LINES) if self._quits else 0
        return SessionClient(
            self.crowd.session,
            name=f"{self.name}.{self._begun}",
            token=token,
            patience=self._patience,
            recorder=self.crowd.history,
            random=self._chance,
            shared=True,
        )

    @property
    def _patience(self) -> Patience:
        return Patience(
            connect_s_max=CONNECT_S_MAX,
            reply_s_max=self.crowd.load.reply_s_max,
            give_up_s=float("inf"),
            backoff_s_max=BACKOFF_S_MAX,
        )

    def run(self) -> None:
        """Until the crowd leaves."""
        self._due_s = time.monotonic() + self._chance.random() / self.crowd.load.rate
        while not self.crowd.leaving.is_set():
            try:
                self._turn()
            except RolledBack:
                self.client.accept_loss()
            except SessionLost:
                self._lost()
            except WrongReply as error:
                self._wrong(error)
            except ClientError:
                continue  # in the history; calling again goes on
        self.client.close()

    def _turn(self) -> None:
        client, crowd, now_s = self.client, self.crowd, time.monotonic()
        waiting = len(client.memory.waiting)
        if crowd.may_send() and waiting < crowd.load.inflight and now_s >= self._due_s:
            client.send(self._texts.next())
            crowd.lines += 1
            waiting += 1
            self._due_s = max(self._due_s + self._interval_s(), now_s - 1)
            if self._quits:
                self._left -= 1
                if not self._left:
                    client.quit()
                    self.client = self._begin()
                    return
        (crowd.busy.add if waiting else crowd.busy.discard)(self.name)
        wait_s = LOOK_S
        if not crowd.finishing and waiting < crowd.load.inflight:
            wait_s = min(wait_s, max(0.0, self._due_s - now_s))
        for happened in client.receive(wait_s):
            if isinstance(happened, Acknowledged):
                crowd.served.add(self.name)

    def _interval_s(self) -> float:
        """Exponential: independent clients, no beat among them."""
        return self._chance.expovariate(self.crowd.load.rate)

    def _lost(self) -> None:
        self.client.close()
        self.client = self._begin()

    def _wrong(self, error: WrongReply) -> None:
        """What has no form that the checker could judge."""
        self.crowd.history.record("wrong", c=self.client.name, k=0, text=str(error))


class Claimant(Steady):
    """One of two that hold one token. The second takes the first's when there is one."""

    def __init__(self, crowd: Crowd, name: str, other: Claimant | None = None) -> None:
        self._other = other
        super().__init__(crowd, name)

    @property
    def _patience(self) -> Patience:
        return replace(super()._patience, backoff_s_first=CLAIMANTS_BACKOFF_S)

    def _begin(self, token: bytes = b"") -> SessionClient:
        return super()._begin(token or (self._other.client.memory.token if self._other else b""))

    def run(self) -> None:
        """As `Steady.run`, once the other has a token."""
        while self._other and not self._other.client.memory.token:
            if self.crowd.leaving.wait(LOOK_S):
                return
        if self._other:
            self.client = self._begin()
        super().run()

    def _lost(self) -> None:
        if self._other:
            gevent.sleep(LOOK_S)  # the first begins another session, which is then this one's too
        super()._lost()


class Plain:
    """A client of the plain port: the article's, without its pauses."""

    def __init__(self, crowd: Crowd, name: str, address: tuple[str, int] | None = None) -> None:
        self.crowd = crowd
        self.name = name
        self.address = address or crowd.plain
        self._chance = random.Random(f"{crowd.chance.random()} {name}")
        self._texts = Texts(self._chance, crowd.load.text_bytes)
        self._connection = 0

    def run(self) -> None:
        """Connection after connection, until the crowd leaves."""
        while not self.crowd.leaving.is_set():
            self._connection += 1
            try:
                self._converse()
            except WrongReply as error:
                self._note("plain-wrong", text=str(error))
            except ClientError as error:
                self._note("plain", n=0, how=f"{type(error).__name__} {error.kind}")
            self.crowd.leaving.wait(self._chance.uniform(0.05, 0.3))

    def _converse(self) -> None:
        host, port = self.address
        with PlainClient(
            host, port, connect_s_max=CONNECT_S_MAX, reply_s_max=PLAIN_REPLY_S_MAX
        ) as client:
            while not self.crowd.finishing:
                client.ask(self._texts.next() + b"\n")
                self.crowd.served.add(self.name)
                self._note("plain", n=1)
                gevent.sleep(self._chance.expovariate(self.crowd.load.rate))
            client.finish()
            self.crowd.leaving.wait()

    def _note(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 — as `record`
        self.crowd.history.record(kind, c=self.name, k=self._connection, **fields)


Anyone = Steady | Plain | Ghost | room_load.Member | soak_load.Sitter


def everyone(crowd: Crowd) -> list[Anyone]:
    """All clients that `load` asks for."""
    load = crowd.load
    all_of_them: list[Anyone] = []
    all_of_them += [Steady(crowd, f"s{number}") for number in range(load.clients)]
    all_of_them += [Steady(crowd, f"q{number}", quits=True) for number in range(load.quitters)]
    for number in range(load.claimants):
        first = Claimant(crowd, f"x{number}a")
        all_of_them += [first, Claimant(crowd, f"x{number}b", first)]
    all_of_them += [Plain(crowd, f"p{number}") for number in range(load.plain)]
    all_of_them += room_load.members(crowd)
    if crowd.direct:
        all_of_them += [
            Ghost(crowd.history, f"g{number}", crowd.direct, random.Random(crowd.chance.random()),
                  lambda: crowd.finishing)
            for number in range(load.ghosts)
        ]  # fmt: skip
    return all_of_them


def _soak(
    crowd: Crowd, memory: tuple[str, int], plain: tuple[str, int], idle: tuple[str, int]
) -> list[Anyone]:
    """Those whose lives are shortened, on both stores."""
    short = lives.shorten(crowd.load.factor)
    return [
        *soak_guests.everyone(crowd, short, memory, idle),
        *(Plain(crowd, f"pm{number}", plain) for number in range(crowd.load.plain)),
    ]


def main() -> int:
    """See the module."""
    args = _arguments()
    # The checker judges, not the client.
    witness.install()
    with HistoryFile(args.history) as history:
        crowd = Crowd(
            _address(args.session), _address(args.plain), [_address(one) for one in args.direct],
            Load(**json.loads(args.load)), history, random.Random(args.seed), args.lines,
            deliveries_max=args.deliveries,
        )  # fmt: skip
        gevent.signal_handler(signal.SIGTERM, crowd.next_stage)
        clients = everyone(crowd)
        if crowd.load.factor:
            clients += _soak(crowd, *map(_address, (args.memory, args.memory_plain, args.idle)))
        greenlets = [gevent.spawn(client.run) for client in clients]
        wanted = {
            c.name
            for c in clients
            if isinstance(c, Plain | room_load.Member | soak_load.Sitter) or type(c) is Steady
        }
        while not wanted <= crowd.served and not crowd.finishing:
            gevent.sleep(0.02)
        _say("ready", clients=len(clients), t=time.monotonic())
        while not crowd.finishing:
            gevent.sleep(0.05)
        left = _await_quiet(crowd)
        _say("quiet", unknown=left, lines=crowd.lines, t=time.monotonic())
        crowd.leaving.wait()
        gevent.joinall(greenlets, timeout=5)
    return 0


def _await_quiet(crowd: Crowd) -> int:
    """Wait until every line's fate is known; how many clients have lines without one."""
    deadline = time.monotonic() + FINISH_S_MAX
    while crowd.busy and time.monotonic() < deadline:
        gevent.sleep(0.05)
    return len(crowd.busy)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.drill.load", description=__doc__)
    parser.add_argument("--session", required=True, metavar="HOST:PORT")
    parser.add_argument("--plain", required=True, metavar="HOST:PORT")
    parser.add_argument("--direct", nargs="*", default=[], metavar="HOST:PORT", help="daemons")
    parser.add_argument("--memory", metavar="HOST:PORT", help="a daemon with a store of its own")
    parser.add_argument("--memory-plain", metavar="HOST:PORT", help="its plain port")
    parser.add_argument("--idle", metavar="HOST:PORT", help="a daemon on Redis, alone")
    parser.add_argument("--history", type=Path, required=True, metavar="FILE")
    parser.add_argument("--load", required=True, metavar="JSON", help="of scenario.Load")
    parser.add_argument("--lines", type=int, default=0, help="then it ends them by itself")
    parser.add_argument("--deliveries", type=int, default=0, help="likewise, of members")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _say(event: str, **fields: Any) -> None:  # noqa: ANN401 — JSON
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
