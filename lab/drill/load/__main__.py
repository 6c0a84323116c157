"""The load's process: all clients as greenlets, their ready line, their two stages.

    python -m lab.drill.load --session HOST:PORT --history FILE --load JSON …

    s… q… x… m… p…   `clients.py`
    g…               `ghosts.py`
    L…               `guests.py`, if lives are shortened

It prints a ready line when all are served. SIGTERM, or `--lines`, ends the lines; when every
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
from lab.drill.load import clients, ghosts, guests, witness
from lab.drill.load.crowd import Crowd
from lab.drill.scenario import Load
from lab.fleet.ports import split
from loadtest.history import HistoryFile

# From the last line to the last answer: the longest fault, and what it left behind.
FINISH_S_MAX = 40.0
# Greenlets that leave when they are told to.
LEAVE_S_MAX = 5.0


def main() -> int:
    """See the module."""
    args = _arguments()
    # The checker judges, not the client.
    witness.install()
    with HistoryFile(args.history) as history:
        crowd = Crowd(
            args.session, args.plain, args.direct, Load(**json.loads(args.load)), history,
            random.Random(args.seed), args.lines, args.deliveries,
        )  # fmt: skip
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
    place: dict[str, Any] = {"type": split, "metavar": "HOST:PORT"}
    parser.add_argument("--session", required=True, help="where sessions are served", **place)
    parser.add_argument("--plain", required=True, help="where the plain port is", **place)
    parser.add_argument("--memory", help="a daemon with a store of its own", **place)
    parser.add_argument("--memory-plain", help="its plain port", **place)
    parser.add_argument("--idle", help="a daemon on Redis, alone", **place)
    parser.add_argument("--direct", nargs="*", default=[], help="daemons", **place)
    parser.add_argument("--history", type=Path, required=True, metavar="FILE")
    parser.add_argument("--load", required=True, metavar="JSON", help="of scenario.Load")
    parser.add_argument("--lines", type=int, default=0, help="then it ends them by itself")
    parser.add_argument("--deliveries", type=int, default=0, help="likewise, of members")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _say(event: str, **fields: Any) -> None:  # noqa: ANN401 — JSON
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
