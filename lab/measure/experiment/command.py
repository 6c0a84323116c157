"""What the commands of `fleet experiment` share: flags, cautions, and the end of each run."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lab.measure.experiment.calm import Calm
from lab.measure.experiment.samples import REPEATS_MIN
from lab.report import results

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.report.page import Report

Number = TypeVar("Number", int, float)

# More of any is a mistake: it would run for hours.
REPEATS_MAX, DAEMONS_MAX, SECONDS_MAX = 100, 64, 60.0


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every experiment has."""
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say nothing")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="[%(default)s]"
    )


def calm(args: argparse.Namespace, repeats: int) -> Calm:
    """A smoke run does not wait for a quiet machine."""
    return Calm(repeats, extra_s=0.0) if args.quick else Calm(repeats)


def cautions(args: argparse.Namespace, repeats: int) -> list[str]:
    """Why the answers of so small a run must not be trusted."""
    if args.quick:
        return ["This was a smoke run (--quick): it shows that it works, and no figure."]
    if repeats < REPEATS_MIN:
        return [f"With fewer than {REPEATS_MIN} repeats no comparison is decided."]
    return []


def finish(root: Path, directory: Path, report: Report, *, failed: bool) -> int:
    """Write and tell; the exit status."""
    name = directory.name.split("-")[0]
    agreement = results.against_the_last(root, typed(), report.answers)
    report = replace(report, agreement=f"This run {agreement}." if agreement else "")
    results.write_run(directory, report, name, typed(), failed=failed)
    index = results.write_index(root)
    print(f"{report.title}\n\n{report.lead}")
    for answer in report.answers:
        print(f"\n{answer.question}  [{answer.verdict}]\n  {answer.text}")
    for text in report.warnings:
        print(f"\nNOTE {text}")
    if report.agreement:
        print(f"\n{report.agreement}")
    print(f"\nreport: {directory / 'report.html'}\nall runs: {index}")
    return 1 if failed else 0


def typed() -> str:
    """What was typed, as anybody would type it."""
    return " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])  # noqa: PTH119 — no path is meant


def between(kind: Callable[[str], Number], least: Number, most: Number) -> Callable[[str], Number]:
    """A flag's number, within these limits."""

    def parse(text: str) -> Number:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}: must be {least:g} to {most:g}")
        return value

    parse.__name__ = getattr(kind, "__name__", "number")  # argparse names it in its error
    return parse


def sizes(text: str) -> tuple[int, ...]:
    """`1,2,4` → (1, 2, 4), each once, by rising size."""
    found = tuple(sorted({int(part) for part in text.split(",")}))
    if not 1 <= found[0] <= found[-1] <= DAEMONS_MAX:
        raise argparse.ArgumentTypeError(f"{text}: numbers of daemons are 1 to {DAEMONS_MAX}")
    return found
