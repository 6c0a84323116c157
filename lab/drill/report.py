"""What a drill came to, as a page in the reports' style, and as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill import plots as drill_plots
from lab.drill.judge.expectations import ALWAYS
from lab.drill.judge.figures import PARTS, rank
from lab.drill.judge.outcome import Verdict
from lab.drill.judge.violations import RULES
from lab.report import page, plots
from lab.report.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.drill.judge.outcome import Outcome
    from lab.drill.scenario import Drill

PASS, FAIL = "PASS", "FAIL"

METHOD = (
    """Clients of the session port (`loadtest/session_client.py`) send lines at their rates and
    record what they see: what they sent, what was answered, every WELCOME and every error.
    Beside them, `ghosts` go on asking on connections that they have left, `claimants` take
    sessions from each other, and clients of the plain port compare every byte.""",
    """After the last line everybody waits until the fate of every line is known. Then connections
    in the daemons' metrics are compared with those in the kernel, and the history is held to
    the rules (`lab/drill/judge/checker.py`), by itself: the checker knows nothing of the fault, but
    whether it may have lost data.""",
    """A break is a client's time without service: from the first line that went unanswered to
    the first answer on the connection that took its place. `detect` is the time until its
    connection ended, `reconnect` until the next one stood, `resume` until WELCOME, `catch up`
    until the first answer.""",
)

RULE_NOTE = "Each is proven by a daemon with a bug that it catches: docs/drills.md."


def verdicts(drill: Drill, outcome: Outcome) -> list[Verdict]:
    """Of everything that is expected."""
    found = [expect(outcome) for expect in (*ALWAYS, *drill.expects)]
    bugs = outcome.facts.get("tracebacks") or []
    if bugs:
        text = f"Tracebacks in the logs of {', '.join(bugs)}."
        found.append(Verdict("Is there no bug in a log?", passed=False, text=text))
    return found


def build(  # noqa: PLR0913 — all that a reader gets
    directory: Path,
    drill: Drill,
    outcome: Outcome,
    found: Sequence[Verdict],
    *,
    machine: Sequence[tuple[str, str]],
    command: str,
    date: str,
    warnings: Sequence[str] = (),
) -> page.Report:
    """The report; its picture is written to `directory`."""
    passed = all(verdict.passed for verdict in found)
    with plots.look():
        figure = drill_plots.timeline(outcome)
        label = f"Lines answered and errors over time in the drill {drill.name}"
        svg = plots.save(figure, directory, "timeline", label)
    steps = [f"{mark.t - outcome.began:.1f} s: {mark.text}" for mark in outcome.marks]
    return page.Report(
        title=f"Drill {drill.name}: {PASS if passed else FAIL}",
        question=drill.what,
        lead=lead(drill, found),
        answers=[
            Answer(verdict.question, PASS if verdict.passed else FAIL, verdict.text)
            for verdict in found
        ],
        plots=[
            page.Plot(
                "timeline",
                "Before, during and after",
                "A solid line is a fault, a dotted one its healing. " + "; ".join(steps[:12]) + ".",
                svg,
            )
        ],
        tables=list(_tables(outcome)),
        method=METHOD,
        machine=machine,
        commands=[command],
        files=[
            ("history.jsonl.gz", "what every client saw, one event a line (loadtest/history.py)"),
            ("timeline.png, .svg", "the picture"),
            ("run.json", "the verdicts"),
        ],
        date=date,
        warnings=warnings,
        reading="Every answer must be PASS.",
    )


def lead(drill: Drill, found: Sequence[Verdict]) -> str:
    """One paragraph."""
    failed = [verdict for verdict in found if not verdict.passed]
    if failed:
        return f"{drill.what} It fails: " + " ".join(verdict.text for verdict in failed)
    return f"{drill.what} " + " ".join(
        verdict.text for verdict in found if verdict.text != "Nobody was cut."
    )


def line(drill: Drill, outcome: Outcome, found: Sequence[Verdict]) -> str:
    """One row of what `fleet drill` prints at its end."""
    passed = PASS if all(verdict.passed for verdict in found) else FAIL
    took = [one.took_s for one in outcome.breaks if one.over]
    again = f"p50 {rank(took, 0.5):5.2f} s  p99 {rank(took, 0.99):5.2f} s" if took else ""
    violations = sum(outcome.counts.values())
    return (
        f"{passed}  {drill.name:<22} {outcome.figures.answered:>9,} answered"
        f"  {violations:>3} violations  {len(took):>4} breaks  {again}"
    )


def _tables(outcome: Outcome) -> list[page.Table]:
    figures = outcome.figures
    tables = [
        page.Table(
            "Lines",
            "Each line counts once, however often it was sent.",
            ("", "lines"),
            [
                ("sent", f"{figures.sent:,}"),
                ("answered", f"{figures.answered:,}"),
                ("answer lost, told by WELCOME", f"{figures.told:,}"),
                ("not committed, sent again or given up", f"{figures.withdrawn:,}"),
                ("waiting when their session was lost or rolled back", f"{figures.lost:,}"),
                ("sent again", f"{figures.repeated:,}"),
                ("without a fate", f"{figures.unknown:,}"),
                ("answered on the plain port", f"{figures.plain_answered:,}"),
            ],
        ),
        _breaks(outcome),
        page.Table(
            "What clients heard",
            "Errors by code, ends of connections, and what the plain port's clients noticed.",
            ("", "times"),
            [
                *((f"ERR {code}", f"{n:,}") for code, n in figures.codes.most_common()),
                *((f"closed: {how}", f"{n:,}") for how, n in figures.ends.most_common()),
                *((f"plain: {how}", f"{n:,}") for how, n in figures.plain_errors.most_common()),
            ],
        ),
        page.Table(
            "Rules",
            RULE_NOTE,
            ("", "violations", "what it says"),
            [(rule, f"{outcome.counts.get(rule, 0):,}", text) for rule, text in RULES.items()],
        ),
    ]
    if outcome.violations:
        rows = [(one.rule, one.session, one.text) for one in outcome.violations[:20]]
        tables.insert(0, page.Table("Violations", "The first.", ("", "session", "what"), rows))
    return tables


def _breaks(outcome: Outcome) -> page.Table:
    over = [one for one in outcome.breaks if one.over]
    columns = {"in all": [one.took_s for one in over]}
    for at, name in enumerate(PARTS):
        columns[name] = [one.parts_s[at] for one in over]
    rows = [
        (
            name,
            *(f"{rank(times, share):.3f} s" if times else "none" for share in (0.5, 0.9, 0.99, 1)),
        )
        for name, times in columns.items()
    ]
    caption = f"{len(over)} breaks of service since the first fault; each part has its own order."
    return page.Table("Without service", caption, ("", "p50", "p90", "p99", "longest"), rows)
