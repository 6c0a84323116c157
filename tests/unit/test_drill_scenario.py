"""The list of drills, their expectations, the mixture by chance, and what the command refuses."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, cast

import pytest

from lab.cli import main
from lab.drill import drills
from lab.drill.drills import mixture, network, parts
from lab.drill.judge import expectations
from lab.drill.judge.checker import Checker
from lab.drill.judge.figures import Break, Figures
from lab.drill.judge.outcome import Mark, Outcome
from lab.drill.judge.violations import Violation

if TYPE_CHECKING:
    from lab.drill.scenario import Drill, Step
    from loadtest.history import Event


def outcome(*breaks: Break, figures: Figures | None = None, **fields: object) -> Outcome:
    """Of a drill that began at 100 s, with a fault at 103 s."""
    figures = figures or Figures()
    figures.breaks = list(breaks)
    known = {
        "began": 100.0, "ended": 120.0, "marks": [Mark(103.0, 103.5, "kill", heals=False, loses=False)],
        "figures": figures, "checker": Checker(), **fields,
    }  # fmt: skip
    return Outcome(**known)  # type: ignore[arg-type]


def broken(closed: float, took_s: float = 1.0, why: str = "end of stream") -> Break:
    """A client's break; without an end if it takes for ever."""
    begin = closed - took_s / 4
    if math.isinf(took_s):
        return Break(f"s{closed}", closed, closed, why)
    return Break(
        f"s{closed}", begin, closed, why, begin + took_s / 2, begin + took_s * 0.75,
        begin + took_s,
    )  # fmt: skip


@pytest.mark.parametrize("drill", drills.ALL, ids=lambda drill: drill.name)
def test_every_drill_heals_what_it_breaks(drill: Drill) -> None:
    """Its steps are in the order of time, within its time, and no fault is left at the end."""
    steps = list(drill.steps)
    open_faults = 0
    for before, after in itertools.pairwise(steps):
        assert before.at_s <= after.at_s
    for step in steps:
        assert 0 < step.at_s < drill.seconds
        open_faults += -step.heals if step.heals else step.lasts
    assert open_faults <= 0
    assert drill.what.endswith(".")


def test_every_drill_has_a_name_of_its_own() -> None:
    """And the list has all that issue 4 asks for."""
    names = [drill.name for drill in drills.ALL]

    assert len(set(names)) == len(names)
    assert {
        "kill-daemon", "freeze-daemon-1", "freeze-daemon-10", "freeze-daemon-60",
        "terminate-daemon", "roll", "fill-files", "kill-redis", "freeze-redis", "restart-redis",
        "redis-truncate", "redis-empty", "redis-restore", "cut-redis-both", "cut-redis-out",
        "cut-redis-in", "cut-haproxy-daemon", "kill-haproxy", "reload-haproxy", "storm",
        "claimants", "cut-reply", "mix",
    } <= set(names)  # fmt: skip


def test_no_drill_is_content_with_one_client() -> None:
    """A fault whose reach is left to chance proves little."""
    lone = outcome(broken(103.5))
    verdicts = {
        (drill.name, verdict.question): verdict.passed
        for drill in (*parts.ALL, *network.ALL)
        for verdict in (expect(lone) for expect in drill.expects)
    }  # fmt: skip
    reached = {name: passed for (name, what), passed in verdicts.items() if "reach" in what}

    assert not any(reached.values()), reached
    assert "break-redis" in reached


def shown(steps: list[Step]) -> list[tuple[float, str, bool]]:
    """Steps without their functions, which are made anew each time."""
    return [(step.at_s, step.text, step.heals) for step in steps]


@pytest.mark.parametrize("seed", range(20))
def test_a_mixture_is_its_seeds(seed: int) -> None:
    """The same each time; each fault is healed before the next round; two are on two things."""
    faults = mixture.faults()
    steps = list(mixture.Mixture(seed, 200, faults))
    healing = {fault.text: fault.undone for fault in faults}
    owed: list[str] = []

    assert shown(steps) == shown(list(mixture.Mixture(seed, 200, mixture.faults())))
    assert shown(steps) != shown(list(mixture.Mixture(seed + 1, 200, faults)))
    for step in steps:
        if step.heals:
            owed.remove(step.text)
        elif step.lasts:
            owed.append(healing[step.text])
        assert len(owed) <= 2
    assert not owed


def test_a_mixture_goes_on_without_end() -> None:
    """Until its lines are sent: nobody knows how long that takes."""
    begun = list(itertools.islice(mixture.Mixture(1, math.inf, mixture.faults()), 300))

    assert begun[-1].at_s > 300


def test_breaks_before_the_fault_do_not_count() -> None:
    """What happened before is not its doing."""
    assert not expectations.bites()(outcome(broken(102.0))).passed
    assert expectations.bites()(outcome(broken(103.5))).passed
    assert not expectations.bites(2)(outcome(broken(103.5))).passed


def test_served_again() -> None:
    """The worst of a hundred may be late; one that never is fails."""
    many = [broken(104 + n / 100, 0.5) for n in range(199)]

    assert expectations.served_again(2)(outcome(*many, broken(104, 9))).passed
    assert not expectations.served_again(2)(outcome(*many[:10], broken(104, 9))).passed
    assert expectations.served_again(2, 0.9)(outcome(*many[:10], broken(104, 9))).passed
    assert not expectations.served_again(2)(outcome(broken(104, math.inf))).passed
    text = expectations.served_again(2)(outcome(broken(104, 1))).text
    assert "detect 0.25 s, reconnect 0.25 s, resume 0.25 s, catch up 0.25 s" in text


def test_served_since() -> None:
    """From the moment at which the last step was done: how long that took is not the fleet's."""
    assert expectations.served_since(2)(outcome(broken(104, 2))).passed
    assert not expectations.served_since(2)(outcome(broken(104, 3))).passed
    assert not expectations.served_since(2)(outcome(broken(104, math.inf))).passed


def test_spares() -> None:
    """Only those that obey DRAIN may have gone."""
    assert expectations.spares()(outcome(broken(104, why="DRAIN"))).passed
    assert not expectations.spares()(outcome(broken(104))).passed


def test_all_served() -> None:
    """A break that lasts, or a fleet that answered nothing, is none."""
    figures = Figures()
    figures.answered = 1
    assert expectations.all_served(outcome(broken(104), figures=figures)).passed
    assert not expectations.all_served(outcome(broken(104, math.inf), figures=figures)).passed
    assert not expectations.all_served(outcome()).passed


def test_the_longest_gap() -> None:
    """Between two answers while clients were sending."""
    figures = Figures()
    for t in (100.0, 101.0, 106.0, 119.9):
        for kind in ("sent", "answered"):
            event = {"t": t, "c": "s1", "k": 1, "e": kind, "n": int(t), "text": "", "previous": ""}
            figures.feed(cast("Event", event))

    assert "13.9 s" in expectations.goes_on(5)(outcome(figures=figures)).text
    assert not expectations.goes_on(13.5)(outcome(figures=figures)).passed
    assert expectations.goes_on(14)(outcome(figures=figures)).passed


def test_violations_fail() -> None:
    """The sentence names the rules and the first proof."""
    one = Violation("owner", "s", "answered late", ())
    checker = Checker()
    checker.violations, checker.counts = [one], Counter(owner=3)
    found = expectations.no_violation(outcome(checker=checker))

    assert not found.passed
    assert "`owner` 3" in found.text
    assert "answered late" in found.text


@pytest.mark.parametrize(
    "argv, complaint",
    [
        (["kill-everything"], "no drill kill-everything"),
        (["mix", "--compose"], "not on containers: mix"),
        (["storm", "--lines", "10"], "--lines is of `mix` alone"),
        (["storm", "--rate", "0"], "--rate 0: must be above 0, and 1000 at most"),
    ],
)
def test_what_the_command_refuses(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    assert main(["drill", *argv]) == 1
    assert complaint in capsys.readouterr().err


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with a sentence, and where it can't be made."""
    assert main(["drill", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == len(drills.ALL)
    assert any(line.startswith("mix") and "not --compose" in line for line in lines)
