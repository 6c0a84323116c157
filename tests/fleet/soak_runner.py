"""Plays the soak once, on the daemon as it is or on one that forgets a life, and says what came.

    python -m tests.fleet.soak_runner none|NAME [SECONDS]

NAME is of tests/mutants/forgets_lives.py; with SECONDS it ends so soon, without the faults that
come later. Prints one line of JSON: rules that are broken, how often, and the first in words.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

from lab.drill.drills import soak
from lab.drill.report import verdicts
from lab.drill.run import play
from lab.drill.stage.local import LocalStage

NONE = "none"
# From the last fault that is made to the end.
CALM_S = 15.0


def main() -> int:
    """See the module; the exit status is 1 if something was found."""
    name = sys.argv[1]
    drill = soak.soak()
    if len(sys.argv) > 2:
        seconds = float(sys.argv[2])
        steps = [step for step in drill.steps if step.at_s < seconds - CALM_S]
        drill = dataclasses.replace(drill, seconds=seconds, steps=steps)
    program = ["-m", "echod"]
    if name != NONE:
        os.environ["FORGETS"] = name
        program = ["-m", "tests.mutants.forgets_lives"]
    with tempfile.TemporaryDirectory() as directory:
        factor = drill.load.factor
        with LocalStage(Path(directory), drill.links, factor=factor, program=program) as stage:
            outcome = play(drill, stage, Path(directory))
    failed = [one for one in verdicts(drill, outcome) if not one.passed]
    found = outcome.facts["soak"]
    rules = {**found.wrongs, **outcome.counts, **dict.fromkeys((one.question for one in failed), 1)}
    said = {"rules": rules, "first": found.wrong[:3], "said": [one.text for one in failed]}
    print(json.dumps(said))  # noqa: T201 — what it is for
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
