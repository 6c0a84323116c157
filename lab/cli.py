"""The `fleet` command: parse, call one of the commands below, turn its errors into text.

A command is a module with `add_parser(subparsers)` and `run(args) -> exit status`.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lab.chat import cli as chat
from lab.drill import cli as drill
from lab.errors import LabError
from lab.fleet import secret_files
from lab.fleet import up as local_up
from lab.fleet.shards import cli as shards
from lab.measure import experiments as experiment
from lab.measure.bench import cli as bench
from lab.measure.plan import cli as plan
from lab.top import cli as top

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "up": local_up,
    "top": top,
    "shards": shards,
    "chat": chat,
    "drill": drill,
    "experiment": experiment,
    "bench": bench,
    "plan": plan,
    "secrets": secret_files,
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `fleet`, with every command's own below it."""
    parser = argparse.ArgumentParser(
        prog="fleet",
        description="Run the echo fleet without containers, watch it, break it, measure it.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS.values():
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fleet` with `argv`; returns the exit status, 1 for a `LabError`."""
    args = build_parser().parse_args(argv)
    try:
        status: int = COMMANDS[args.command].run(args)
    except LabError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
