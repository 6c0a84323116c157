"""`fleet top`: find the fleet, then show it, on a screen or in words."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.fleet import control
from lab.top import words
from lab.top.model import Model
from lab.top.sources import ComposeSource, LocalSource

if TYPE_CHECKING:
    from lab.top.sources import Source

# Between two looks. Each costs the machine some 30 ms of CPU, and every part a scrape.
EVERY_S = 1.0
EVERY_S_LIMITS = (0.2, 60.0)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `top` and its flags."""
    parser = subparsers.add_parser(
        "top",
        help="show the running fleet in the terminal, with keys to break and mend it",
        description="Show the running fleet: `fleet up` of this user, or the containers.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--dir", type=Path, metavar="DIR", help="folder of the `fleet up`, if several run"
    )
    where.add_argument("--compose", action="store_true", help="show the containers")
    parser.add_argument(
        "--project",
        default="echofleet",
        metavar="NAME",
        help="Compose project of the containers [%(default)s]",
    )
    parser.add_argument(
        "--prometheus",
        default=f"http://127.0.0.1:{os.environ.get('PROMETHEUS_PORT') or 9090}",
        metavar="URL",
        help="Prometheus that scrapes the containers [PROMETHEUS_PORT, default %(default)s]",
    )
    parser.add_argument(
        "--every",
        type=_every_s,
        default=EVERY_S,
        metavar="S",
        help="seconds between two looks [default %(default)g]",
    )
    parser.add_argument("--once", action="store_true", help="print one look, and end")
    parser.add_argument("--json", action="store_true", help="with --once: print JSON for scripts")
    parser.add_argument(
        "--do",
        nargs=2,
        metavar=("ACTION", "PART"),
        help=f"do one of {', '.join(control.ACTIONS)} to a daemon or a node of Redis, as the keys"
        " do, and end;"
        " with --svg: halfway through the looks",
    )
    parser.add_argument(
        "--svg", type=Path, metavar="PATH", help="write the screen as a picture, and end"
    )


def run(args: argparse.Namespace) -> int:
    """Show the fleet; returns the exit status.

    Raises:
        LabError: There is none to show, or no way to.
    """
    if args.json and not args.once:
        raise LabError("--json goes with --once")
    if args.compose:
        source: Source = ComposeSource(args.project, args.prometheus)
    else:
        source = LocalSource(control.find(args.dir))
    if args.do and args.do[0] not in control.ACTIONS:
        raise LabError(f"{args.do[0]}: what can be done is {', '.join(control.ACTIONS)}")
    if args.do and not args.svg:
        print(source.act(*args.do))
        return 0
    if args.once:
        model = Model()
        model.take(source.look())
        time.sleep(args.every)  # there are rates from the second look on
        view = model.take(source.look())
        print(words.as_json(view) if args.json else words.text(view))
        return 0
    # Only here: it takes longer to import than all the rest.
    from lab.top import screen  # noqa: PLC0415

    if args.svg:
        drawn = asyncio.run(screen.draw(source, args.every, tuple(args.do or ())))
        try:
            args.svg.parent.mkdir(parents=True, exist_ok=True)
            args.svg.write_text(drawn)
        except OSError as error:
            raise LabError(f"{args.svg}: {error.strerror}") from None
        print(args.svg)
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise LabError("fleet top needs a terminal; --once prints")
    screen.Top(source, args.every).run()
    return 0


def _every_s(text: str) -> float:
    value = float(text)
    least, most = EVERY_S_LIMITS
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text}: must be {least:g} to {most:g}")
    return value
