"""The soak: ten lives of everything, on Redis and in memory; and that it finds what is forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.drill.drills import soak
from lab.drill.report import verdicts
from lab.drill.run import play
from lab.drill.stage.local import LocalStage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.heavy

# What is forgotten (tests/mutants/forgets_lives.py), how soon the soak has seen it, by what.
FORGOTTEN = {
    "submit": (22, "absent though there"),
    "ids": (26, "posted twice"),
    "announced": (16, "miscounted"),
    "beat": (16, "miscounted"),
    "sweep": (8, "Is all gone that has ended?"),
}
# All of them side by side; what never comes to rest is waited for 40 s longer.
FOUND_S_MAX = 240


def test_the_soak(tmp_path: Path) -> None:
    """What lives, lives; what has ended is gone; two minutes."""
    drill = soak.soak()
    with LocalStage(tmp_path, drill.links, factor=drill.load.factor) as stage:
        outcome = play(drill, stage, tmp_path)

    failed = [one for one in verdicts(drill, outcome) if not one.passed]
    assert [f"{one.question} {one.text}" for one in failed] == []


def test_what_is_forgotten_is_found() -> None:
    """A daemon that forgets a life is seen to, by the rule that it breaks; five at once."""
    runs = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.soak_runner", name, str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, (seconds, _) in FORGOTTEN.items()
    }
    try:
        said = {name: run.communicate(timeout=FOUND_S_MAX)[0] for name, run in runs.items()}
    finally:
        for run in runs.values():
            run.kill()

    found = {name: json.loads(one)["rules"] for name, one in said.items()}
    missed = {name: found[name] for name, (_, rule) in FORGOTTEN.items() if rule not in found[name]}
    assert missed == {}
