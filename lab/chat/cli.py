"""`fleet chat`: find the fleet's session port, then talk."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from lab.errors import LabError
from lab.fleet import control, ports
from lab.fleet.control import ControlError
from lab.fleet.ports import HOST
from lab.fleet.up import PORT_MAX, whole

PORT = 1235
# PROTOCOL §3.
ROOM = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `chat` and its flags."""
    parser = subparsers.add_parser(
        "chat",
        help="talk in a room; goes on when a daemon dies",
        description="Talk in a room of the running fleet; two terminals make two people.",
    )
    parser.add_argument(
        "--room", type=_room, default="lobby", help="name of the room [%(default)s]"
    )
    parser.add_argument(
        "--host", help=f"address of the session port [{HOST}, or the running `fleet up`]"
    )
    parser.add_argument(
        "--port", type=whole(1, PORT_MAX), nargs="+", metavar="PORT",
        help=f"session ports; after a fault the next one is tried [{PORT}]",
    )  # fmt: skip
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="folder of the `fleet up`, if several run"
    )
    parser.add_argument("--plain", action="store_true", help="no screen: lines on stdin and stdout")


def run(args: argparse.Namespace) -> int:
    """Talk; returns the exit status.

    Raises:
        LabError: There is no terminal to talk in.
    """
    addresses = _addresses(args)
    if args.plain:
        from lab.chat import talk  # noqa: PLC0415 — other commands don't need it

        talk.in_lines(addresses, args.room)
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise LabError("fleet chat needs a terminal; --plain takes lines")
    from lab.chat import screen  # noqa: PLC0415 — as above

    screen.Chat(addresses, args.room).run()
    return 0


def _addresses(args: argparse.Namespace) -> list[tuple[str, int]]:
    """As asked; else the running `fleet up`; else where the containers listen."""
    if args.host or args.port:
        return [(args.host or HOST, port) for port in args.port or [PORT]]
    try:
        ready = control.ask(control.find(args.dir), {"do": "look"})["fleet"]
    except ControlError:
        if args.dir is not None:
            raise
        return [(HOST, PORT)]
    return [ports.split(ready["session"])]


def _room(text: str) -> str:
    if not ROOM.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text}: 1 to 64 of A-Z a-z 0-9 _ . : -")
    return text
