"""Where reports lie: `results/NAME-DATE/`, and `results/index.html`, which lists them.

`run.json` in each directory has what the index shows and what the next run of the same
command is held against.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lab.errors import LabError
from lab.report import page
from lab.report.answers import Answer, disagreements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path


def new_directory(root: Path, name: str, started: datetime) -> Path:
    """Make `root/NAME-DATE`, with a number behind it if another run began in the same second.

    Raises:
        LabError: It can't be made.
    """
    stem = f"{name}-{started:%Y-%m-%d-%H%M%S}"
    others = len(list(root.glob(f"{stem}*")))
    directory = root / (f"{stem}-{others}" if others else stem)
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise LabError(f"{root}: {error.strerror}") from None
    return directory


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a row, under a line of the names; what a row does not have is left empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def write_run(
    directory: Path, report: page.Report, name: str, command: str, *, failed: bool
) -> None:
    """Write the report, and `run.json`."""
    (directory / "report.html").write_text(page.render(report))
    run = {
        "name": name,
        "title": report.title,
        "date": report.date,
        "command": command,
        "lead": report.lead,
        "failed": failed,
        "answers": [asdict(answer) for answer in report.answers],
    }
    (directory / "run.json").write_text(json.dumps(run, indent=1) + "\n")


def runs(root: Path) -> list[tuple[str, dict[str, Any]]]:
    """(directory's name, run.json) of every run, the newest first."""
    found = []
    for path in root.glob("*/run.json"):
        try:
            found.append((path.parent.name, json.loads(path.read_text())))
        except (OSError, ValueError):
            continue  # being written by another run, or spoilt: not this run's to judge
    return sorted(found, key=lambda run: str(run[1].get("date")), reverse=True)


def against_the_last(root: Path, command: str, answers: Sequence[Answer]) -> str | None:
    """How `answers` agree with the last run of the same command that did not fail, in words.

    Call it before these answers are written themselves.
    """
    for name, run in runs(root):
        if run["command"] == command and not run["failed"]:
            before = [Answer(**answer) for answer in run["answers"]]
            differ, one_open = disagreements(before, answers)
            said = [
                f"{words} {name}: {' '.join(questions)}"
                for words, questions in (
                    ("answers otherwise than", differ),
                    ("leaves open what was decided, or the reverse, in", one_open),
                )
                if questions
            ]
            return "; and it ".join(said) or f"agrees with {name} in every answer"
    return None


def write_index(root: Path) -> Path:
    """List every run in `root/index.html`; returns its path."""
    path = root / "index.html"
    path.write_text(page.render_index(runs(root)))
    return path
