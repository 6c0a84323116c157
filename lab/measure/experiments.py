"""`fleet experiment models|scaling|fanout`: measure, write `results/NAME-DATE/`, say what it means.

stdout gets the answers and where the report is, stderr the progress. The exit status is 1 if
a reply was wrong or a system could not be measured; the report is written all the same.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab.measure import command
from lab.measure.errors import MeasureError
from lab.measure.fanout import cli as fanout
from lab.measure.models import cli as models
from lab.measure.scaling import cli as scaling

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `experiment` and its commands."""
    what = "measure, and write a report that answers questions"
    description = "Measure, and write a report that a person can read and pass on."
    parser = subparsers.add_parser("experiment", help=what, description=description)
    commands = parser.add_subparsers(dest="experiment", required=True)
    for experiment in (models, scaling, fanout):
        experiment.add_parser(commands)


def run(args: argparse.Namespace) -> int:
    """Run the experiment that was asked for; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    if sys.platform != "linux":
        raise MeasureError("fleet experiment needs Linux: CPU clocks and /proc")
    command.fill_in(args)
    status: int = args.run_experiment(args)
    return status
