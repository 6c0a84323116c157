"""What a drill came to, as a page in the reports' style, and as lines for a terminal."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from lab.drill.judge.expectations import ALWAYS
from lab.drill.judge.figures import PARTS, rank
from lab.drill.judge.outcome import Verdict
from lab.drill.judge.violations import RULES
from lab.report import page, plots, results
from lab.report.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

    from lab.drill.judge.outcome import Outcome
    from lab.drill.scenario import Drill
    from lab.report.machine import Machine

PASS, FAIL = "PASS", "FAIL"

METHOD = Path(__file__).with_name("method.jinja")

HEIGHT_INCHES = 5.4
# Steps that follow each other are named at other heights; more names would lie on each other.
LABEL_ROWS = 3
LABELS_MAX = 12
# A picture of 20 s is 800 pixels wide: a quarter of that many columns can be told apart; and a
# drill of an hour is drawn no finer than one of a minute.
COLUMN_S_MIN = 0.1
COLUMNS_MAX = 600


def verdicts(drill: Drill, outcome: Outcome) -> list[Verdict]:
    """Of everything that is expected."""
    found = [expect(outcome) for expect in (*ALWAYS, *drill.expects)]
    bugs = outcome.facts.get("tracebacks") or []
    if bugs:
        text = f"Tracebacks in the logs of {', '.join(bugs)}."
        found.append(Verdict("Is there no bug in a log?", passed=False, text=text))
    return found


def word(found: Iterable[Verdict]) -> str:
    """The result of some verdicts."""
    return PASS if all(verdict.passed for verdict in found) else FAIL


def line(drill: Drill, outcome: Outcome, found: Sequence[Verdict]) -> str:
    """One row of what `fleet drill` prints at its end."""
    took = [one.took_s for one in outcome.breaks if one.over]
    again = f"p50 {rank(took, 0.5):5.2f} s  p99 {rank(took, 0.99):5.2f} s" if took else ""
    violations = sum(outcome.counts.values())
    return (
        f"{word(found)}  {drill.name:<22} {outcome.figures.answered:>9,} answered"
        f"  {violations:>3} violations  {len(took):>4} breaks  {again}"
    )


def write(  # noqa: PLR0913 — all that a reader gets
    directory: Path,
    drill: Drill,
    outcome: Outcome,
    found: Sequence[Verdict],
    *,
    machine: Machine,
    command: str,
    started: datetime,
) -> None:
    """Write the report with its picture, and `run.json`, to `directory`; and the list of all."""
    steps = [f"{mark.t - outcome.began:.1f} s: {mark.text}" for mark in outcome.marks[:LABELS_MAX]]
    timeline = plots.plot(
        directory,
        "timeline",
        "Before, during and after",
        "A solid line is a fault, a dotted one its healing. " + "; ".join(steps) + ".",
        lambda: _timeline(outcome),
    )
    failed = [verdict for verdict in found if not verdict.passed]
    said = failed or [verdict for verdict in found if verdict.text != "Nobody was cut."]
    texts = " ".join(verdict.text for verdict in said)
    report = page.Report(
        title=f"Drill {drill.name}: {word(found)}",
        question=drill.what,
        lead=f"{drill.what} {'It fails: ' if failed else ''}{texts}",
        answers=[Answer(verdict.question, word([verdict]), verdict.text) for verdict in found],
        plots=[timeline],
        tables=_tables(outcome),
        method=page.paragraphs(METHOD),
        machine=machine.rows,
        commands=[command],
        files=[
            ("history.jsonl.gz", "what every client saw, one event a line (loadtest/history.py)"),
            ("timeline.png, .svg", "the picture"),
            ("run.json", "the verdicts"),
        ],
        date=f"{started:%Y-%m-%d %H:%M:%S %z}",
        warnings=machine.warnings,
        reading="Every answer must be PASS.",
    )
    results.write_run(directory, report, "drill", command, failed=bool(failed))
    results.write_index(directory.parent)


def _tables(outcome: Outcome) -> list[page.Table]:
    figures = outcome.figures
    lines = {
        "sent": figures.sent,
        "answered": figures.answered,
        "answer lost, told by WELCOME": figures.told,
        "not committed, sent again or given up": figures.withdrawn,
        "waiting when their session was lost or rolled back": figures.lost,
        "sent again": figures.repeated,
        "without a fate": figures.unknown,
        "answered on the plain port": figures.plain_answered,
    }
    over = [one for one in outcome.breaks if one.over]
    took = {"in all": [one.took_s for one in over]}
    took |= {name: [one.parts_s[at] for one in over] for at, name in enumerate(PARTS)}
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "longest": 1.0}
    kinds = {"ERR ": figures.codes, "closed: ": figures.ends, "plain: ": figures.plain_errors}
    violations = [(one.rule, one.session, one.text) for one in outcome.violations[:20]]
    tables = [
        page.Table("Violations", "The first.", ("", "session", "what"), violations),
        page.Table(
            "Lines",
            "Each line counts once, however often it was sent.",
            ("", "lines"),
            [(name, f"{count:,}") for name, count in lines.items()],
        ),
        page.Table(
            "Without service",
            f"{len(over)} breaks of service since the first fault; each part has its own order.",
            ("", *shares),
            [
                (name, *(f"{rank(s, share):.3f} s" if s else "none" for share in shares.values()))
                for name, s in took.items()
            ],
        ),
        page.Table(
            "What clients heard",
            "Errors by code, ends of connections, and what the plain port's clients noticed.",
            ("", "times"),
            [(kind + what, f"{n:,}") for kind in kinds for what, n in kinds[kind].most_common()],
        ),
        page.Table(
            "Rules",
            "Each is proven by a daemon with a bug that it catches: docs/drills.md.",
            ("", "violations", "what it says"),
            [(rule, f"{outcome.counts.get(rule, 0):,}", text) for rule, text in RULES.items()],
        ),
    ]
    return tables if violations else tables[1:]


def _timeline(outcome: Outcome) -> Figure:
    """What was answered, and what broke, over one time, which is 0 when all clients are served."""
    figure = Figure(figsize=(plots.WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figures = outcome.figures
    span_s = max(COLUMN_S_MIN, figures.end - outcome.began)
    columns = min(COLUMNS_MAX, math.ceil(span_s / COLUMN_S_MIN))
    edges = np.linspace(0, span_s, columns + 1)

    def count(moments: Sequence[float]) -> Any:  # noqa: ANN401 — numpy's
        return np.histogram(np.asarray(moments) - outcome.began, edges)[0]

    width_s = span_s / columns
    above.stairs(count(figures.answered_at) / width_s, edges, color=plots.BLUE, label="sessions",
                 linewidth=1.4)  # fmt: skip
    above.stairs(count(figures.plain_at) / width_s, edges, color=plots.GREEN, label="plain port",
                 linewidth=1.4, linestyle="--")  # fmt: skip
    above.set_ylabel("lines answered a second")
    below.stairs(count(figures.faults_at), edges, fill=True, color=plots.RED,
                 label="errors heard, connections cut")  # fmt: skip
    below.step(*_without(outcome), where="post", color=plots.INK, linewidth=1.4,
               label="clients without service")  # fmt: skip
    below.set_ylabel(f"in {width_s:.2g} s")
    below.set_xlabel("seconds since all clients were served")
    for panel in (above, below):
        panel.set_ylim(bottom=0)
    _mark(outcome, above, below)
    above.legend(loc="center right")
    below.legend(loc="upper right")
    return figure


def _without(outcome: Outcome) -> tuple[list[float], list[int]]:
    """Moments, and how many clients are without service from each on."""
    changes = [(0.0, 0), (outcome.figures.end - outcome.began, 0)]
    for one in outcome.figures.breaks:
        changes.append((one.begin - outcome.began, 1))
        if one.over:
            changes.append((one.answered - outcome.began, -1))
    changes.sort()
    moments, steps = zip(*changes, strict=True)
    return list(moments), list(itertools.accumulate(steps))


def _mark(outcome: Outcome, *panels: Axes) -> None:
    """A line for each step, solid where a fault begins, dotted where one is healed."""
    for number, mark in enumerate(outcome.marks):
        at_s = mark.t - outcome.began
        colour, style = (plots.INK, ":") if mark.heals else (plots.RED, "-")
        for panel in panels:
            panel.axvline(at_s, color=colour, linestyle=style, linewidth=1)
        if len(outcome.marks) <= LABELS_MAX:
            panels[0].annotate(
                mark.text, (at_s, 1), xycoords=("data", "axes fraction"),
                xytext=(3, 4 + 12 * (number % LABEL_ROWS)), textcoords="offset points", fontsize=8.5,
            )  # fmt: skip
