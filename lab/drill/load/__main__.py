"""The load's process: all clients as greenlets, their ready line, their two stages.

    python -m lab.drill.load --session HOST:PORT,HOST:PORT --history FILE --load JSON …

    s… q… x… m… p…   `clients.py`
    g…               `ghosts.py`
    L…               `guests.py`, if lives are shortened

It prints a ready line when all are served. SIGTERM, or the load's own end, ends the lines; when every
line's fate is known it prints `{"event": "quiet", …}` and keeps its connections; a second
SIGTERM ends it.
"""

# ruff: noqa: E402 — gevent patches first
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent

from lab.drill import lives
from lab.drill.load import clients, ghosts, guests
from lab.drill.load.crowd import Crowd
from lab.drill.scenario import Load
from lab.fleet.ports import split
from loadtest import session_connection
from loadtest import session_events as events
from loadtest.entrances import Entrances, parse
from loadtest.history import HistoryFile
from loadtest.session import Dialogue
from loadtest.session_requests import Echo

if TYPE_CHECKING:
    from loadtest.session_events import ErrorLine, Event
    from loadtest.session_requests import Hello, Request

# From the last line to the last answer: the longest fault, and what it left behind.
FINISH_S_MAX = 40.0
# Greenlets that leave when they are told to.
LEAVE_S_MAX = 5.0

_HALF = re.compile(rb"(PREV|ECHO) ([1-9][0-9]{0,18}) (.*)", re.DOTALL)


class Witness(Dialogue):
    """A `Dialogue` that has no opinion on numbers, texts and errors: the checker has.

    In a drill a wrong reply has to be in the history, and the load has to go on. What has no
    right form at all is still refused.
    """

    def _begin_welcome(self, head: Hello, words: tuple[bytes, ...]) -> Event | None:  # noqa: ARG002
        token, epoch, seq, ttl_s = words[0], *map(int, words[1:])
        welcome = events.Welcome(token, epoch, seq, ttl_s, None)
        if not seq:
            return self._opened(welcome)
        self._welcome = welcome
        return None

    def _echo(self, head: Echo, line: bytes) -> Event | None:
        found = _HALF.fullmatch(line)
        if found is None:
            return super()._echo(head, line)  # which says what is wrong with it
        if found[1] == b"PREV":
            self._prev = found[3]
            return None
        answered = events.Answered(int(found[2]), self._prev, found[3])
        self._prev = None
        self._due.popleft()
        return answered

    def _may_refuse(self, head: Request | None, error: ErrorLine) -> bool:
        return isinstance(head, Echo) or super()._may_refuse(head, error)


def main() -> int:
    """See the module."""
    args = _arguments()
    session_connection.Dialogue = Witness  # type: ignore[attr-defined]
    with HistoryFile(args.history) as history:
        load = Load(**json.loads(args.load))
        crowd = Crowd(args.session, args.plain, args.direct, load, history)
        gevent.signal_handler(signal.SIGTERM, crowd.next_stage)
        everyone = [*clients.everyone(crowd), *ghosts.everyone(crowd)]
        if crowd.load.factor:
            short = lives.shorten(crowd.load.factor)
            everyone += guests.everyone(crowd, short, args.memory, args.idle)
            everyone += [
                clients.Plain(crowd, f"pm{n}", args.memory_plain) for n in range(crowd.load.plain)
            ]
        greenlets = [gevent.spawn(one.run) for one in everyone]
        expected = {one.name for one in everyone if one.expected}
        while not expected <= crowd.served and not crowd.finishing:
            gevent.sleep(0.02)
        _say("ready", clients=len(everyone), t=time.monotonic())
        while not crowd.finishing:
            gevent.sleep(0.05)
        deadline = time.monotonic() + FINISH_S_MAX
        while crowd.busy and time.monotonic() < deadline:
            gevent.sleep(0.05)
        _say("quiet", unknown=len(crowd.busy), lines=crowd.lines, t=time.monotonic())
        crowd.leaving.wait()
        gevent.joinall(greenlets, timeout=LEAVE_S_MAX)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.drill.load", description=__doc__)
    place: dict[str, Any] = {"type": _entrances, "metavar": "HOST:PORT,…"}
    parser.add_argument("--session", required=True, help="where sessions are served", **place)
    parser.add_argument("--plain", required=True, help="where the plain port is", **place)
    parser.add_argument("--memory", help="a daemon with a store of its own", **place)
    parser.add_argument("--memory-plain", help="its plain port", **place)
    parser.add_argument("--idle", help="a daemon on Redis, alone", **place)
    parser.add_argument(
        "--direct", nargs="*", default=[], type=split, metavar="HOST:PORT", help="daemons"
    )
    parser.add_argument("--history", type=Path, required=True, metavar="FILE")
    parser.add_argument("--load", required=True, metavar="JSON", help="of scenario.Load")
    return parser.parse_args()


def _entrances(text: str) -> Entrances:
    """All clients share them, and so what each learns of them."""
    return Entrances(*parse(text))


def _say(event: str, **fields: Any) -> None:  # noqa: ANN401 — JSON
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
