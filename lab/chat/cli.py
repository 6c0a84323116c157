"""`fleet chat`: find the fleet's session port, then talk."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.fleet import control
from lab.fleet.control import ControlError
from lab.fleet.ports import HOST
from lab.fleet.up import PORT_MAX, whole
from loadtest.entrances import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.entrances import Address

PORT = 1235
# At the end of a host: its own port. An IPv6 host is in brackets.
_PORT = re.compile(r"(?:\]|^[^:\[\]]*):[^:]*$")
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
        "--host", metavar="HOST[:PORT],…",
        help="entrances of the session port; after a fault another is tried"
        f" [{HOST}, or the running `fleet up`]",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=whole(1, PORT_MAX), nargs="+", metavar="PORT",
        help=f"session ports of each host that has none of its own [{PORT}]",
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


def _addresses(args: argparse.Namespace) -> list[Address]:
    """As asked; else the running `fleet up`; else where the containers listen."""
    if args.host or args.port:
        return _asked(args.host or HOST, args.port or [PORT])
    try:
        ready = control.ask(control.find(args.dir), {"do": "look"})["fleet"]
    except ControlError:
        if args.dir is not None:
            raise
        return [(HOST, PORT)]
    return parse(ready["session"])


def _asked(hosts: str, ports: Sequence[int]) -> list[Address]:
    """Each host at its own port, or at each of `ports`."""
    parts = [host.strip() for host in hosts.split(",")]
    whole = [
        address
        for part in parts
        for address in ([part] if _PORT.search(part) else [f"{part}:{port}" for port in ports])
    ]
    try:
        return parse(",".join(whole))
    except ValueError as error:
        raise LabError(f"--host={hosts}: {error}") from None


def _room(text: str) -> str:
    if not ROOM.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text}: 1 to 64 of A-Z a-z 0-9 _ . : -")
    return text
