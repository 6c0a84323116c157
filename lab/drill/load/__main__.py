"""The load's process: all clients as greenlets, their ready line, their two stages.

    python -m lab.drill.load --session HOST:PORT --history FILE --load JSON …

    steady     s…   a session each, lines at a rate, several in flight
    quitters   q…   as they, but a session ends after a few lines, and another begins
    claimants  x…   two hold one token, and take the session from each other
    ghosts     g…   `ghosts.py`
    plain      p…   the plain port's
    members    m…   `members.py`
    soak       L…   `guests.py`, if lives are shortened

It prints a ready line when all are served. SIGTERM, or the load's own end, ends the lines; when every
line's fate is known it prints `{"event": "quiet", …}` and keeps its connections; a second
SIGTERM ends it.
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
from pathlib import Path
from typing import Any

import gevent

from lab.drill import lives
from lab.drill.load import guests, members, witness
from lab.drill.load.crowd import Client, Crowd
from lab.drill.load.ghosts import Ghost
from lab.drill.load.plain import Plain
from lab.drill.load.sessions import Claimant, Steady
from lab.drill.scenario import Load
from lab.fleet.ports import split
from loadtest.history import HistoryFile

# From the last line to the last answer: the longest fault, and what it left behind.
FINISH_S_MAX = 40.0
# Greenlets that leave when they are told to.
LEAVE_S_MAX = 5.0

Anyone = Client | Plain | Ghost


def everyone(crowd: Crowd) -> list[Anyone]:
    """All clients that the load asks for, but those of a soak."""
    load = crowd.load
    clients: list[Anyone] = [
        *(Steady(crowd, f"s{number}") for number in range(load.clients)),
        *(Steady(crowd, f"q{number}", quits=True) for number in range(load.quitters)),
    ]
    for number in range(load.claimants):
        first = Claimant(crowd, f"x{number}a")
        clients += [first, Claimant(crowd, f"x{number}b", first)]
    clients += [Plain(crowd, f"p{number}") for number in range(load.plain)]
    clients += members.everyone(crowd)
    if crowd.direct:
        clients += [Ghost(crowd, f"g{number}") for number in range(load.ghosts)]
    return clients


def main() -> int:
    """See the module."""
    args = _arguments()
    # The checker judges, not the client.
    witness.install()
    with HistoryFile(args.history) as history:
        load = Load(**json.loads(args.load))
        crowd = Crowd(
            args.session, args.plain, args.direct, load, history,
            random.Random(load.seed), load.lines, load.deliveries,
        )  # fmt: skip
        gevent.signal_handler(signal.SIGTERM, crowd.next_stage)
        clients = everyone(crowd)
        if crowd.load.factor:
            short = lives.shorten(crowd.load.factor)
            clients += guests.everyone(crowd, short, args.memory, args.idle)
            clients += [
                Plain(crowd, f"pm{number}", args.memory_plain) for number in range(crowd.load.plain)
            ]
        greenlets = [gevent.spawn(client.run) for client in clients]
        expected = {client.name for client in clients if client.expected}
        while not expected <= crowd.served and not crowd.finishing:
            gevent.sleep(0.02)
        _say("ready", clients=len(clients), t=time.monotonic())
        while not crowd.finishing:
            gevent.sleep(0.05)
        left = _await_quiet(crowd)
        _say("quiet", unknown=left, lines=crowd.lines, t=time.monotonic())
        crowd.leaving.wait()
        gevent.joinall(greenlets, timeout=LEAVE_S_MAX)
    return 0


def _await_quiet(crowd: Crowd) -> int:
    """Wait until every line's fate is known; how many clients have lines without one."""
    deadline = time.monotonic() + FINISH_S_MAX
    while crowd.busy and time.monotonic() < deadline:
        gevent.sleep(0.05)
    return len(crowd.busy)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.drill.load", description=__doc__)
    for flag, needed, what in (
        ("--session", True, "where sessions are served"),
        ("--plain", True, "where the plain port is"),
        ("--memory", False, "a daemon with a store of its own"),
        ("--memory-plain", False, "its plain port"),
        ("--idle", False, "a daemon on Redis, alone"),
    ):
        parser.add_argument(flag, type=split, required=needed, metavar="HOST:PORT", help=what)
    parser.add_argument(
        "--direct", type=split, nargs="*", default=[], metavar="HOST:PORT", help="daemons"
    )
    parser.add_argument("--history", type=Path, required=True, metavar="FILE")
    parser.add_argument("--load", required=True, metavar="JSON", help="of scenario.Load")
    return parser.parse_args()


def _say(event: str, **fields: Any) -> None:  # noqa: ANN401 — JSON
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
