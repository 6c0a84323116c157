"""What the measuring commands share: numbers as flags, with a default and a smoke run's value."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from lab.fleet.redis_server import Appendfsync
from lab.measure.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Number = TypeVar("Number", int, float)
One = TypeVar("One")

# More of any is a mistake: it would run for hours.
REPEATS_MAX, DAEMONS_MAX, SHARDS_MAX, SECONDS_MAX = 100, 64, 8, 60.0


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag, and what it is when it is not given."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    quick: Any
    """With --quick."""
    help: str
    metavar: str = "N"
    shown: str = ""
    """The default in words; else it is shown itself."""


def add_flags(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    """Add these, and --quick, which chooses their other value."""
    parser.set_defaults(flags=flags)
    for flag in flags:
        parser.add_argument(
            flag.name,
            type=flag.parse,
            metavar=flag.metavar,
            help=f"{flag.help} [{flag.shown or flag.default}]",
        )
    quick = "a smoke run; its figures mean nothing"
    parser.add_argument("--quick", action="store_true", help=quick)


def add_common(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    """Add `flags`, and what every experiment has."""
    add_flags(parser, flags)
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="folder [%(default)s]"
    )


def add_appendfsync(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add --appendfsync."""
    parser.add_argument(
        "--appendfsync",
        choices=get_args(Appendfsync),
        default="always",
        help=f"setting of {whose} [%(default)s, as shipped]",
    )


def fill_in(args: argparse.Namespace) -> None:
    """Give each flag that was not given its default, or its quick value."""
    for flag in args.flags:
        name = flag.name.removeprefix("--").replace("-", "_")
        if getattr(args, name) is None:
            setattr(args, name, flag.quick if args.quick else flag.default)


def typed() -> str:
    """What was typed, as anybody would type it."""
    return " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])  # noqa: PTH119 — no path is meant


def between(kind: type[Number], least: Number, most: Number) -> Callable[[str], Number]:
    """A flag's number, within these limits."""

    def parse(text: str) -> Number:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}: must be {least:g} to {most:g}")
        return value

    parse.__name__ = kind.__name__  # argparse names it in its error
    return parse


def sizes(text: str) -> tuple[int, ...]:
    """`1,2,4` → (1, 2, 4), each once, by rising size."""
    found = tuple(sorted({int(part) for part in text.split(",")}))
    if not 1 <= found[0] <= found[-1] <= DAEMONS_MAX:
        raise argparse.ArgumentTypeError(f"{text}: numbers of daemons are 1 to {DAEMONS_MAX}")
    return found


def shards(text: str) -> tuple[int, ...]:
    """`1,2,4` → (2, 4), each once, by rising size: one shard is one Redis, which is always there."""
    found = sorted({int(part) for part in text.split(",")})
    if not 1 <= found[0] <= found[-1] <= SHARDS_MAX:
        raise argparse.ArgumentTypeError(f"{text}: numbers of shards are 1 to {SHARDS_MAX}")
    return tuple(count for count in found if count > 1)


def names(text: str) -> list[str]:
    """`a,b*` → the two."""
    return text.split(",")


def choose(flag: str, what: str, patterns: Sequence[str], known: Mapping[str, One]) -> list[One]:
    """Of the `known`, by name, those that fit any of the patterns (`*`, `?`), in their own order.

    Raises:
        MeasureError: A pattern fits no `what`.
    """
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise MeasureError(f"{flag} {pattern}: fits no {what}; there are {', '.join(known)}")
    fitting = {name for pattern in patterns for name in fnmatch.filter(known, pattern)}
    return [one for name, one in known.items() if name in fitting]
