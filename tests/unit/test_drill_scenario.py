"""The list of drills, their expectations, the mixture by chance, and what the command refuses."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, cast

import pytest

from echod.config import Config
from echod.store.slots import slot_of
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


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("drill", drills.ALL, ids=lambda drill: drill.name)
def test_every_drill_heals_what_it_breaks(drill: Drill, shards: int) -> None:
    """Its steps are in the order of time, within its time, and no fault is left at the end."""
    drill = drill.on(shards)
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
        "claimants", "cut-reply", "mix", "kill-master", "freeze-master", "restart-master",
        "kill-replica", "kill-replicas", "kill-master-and-replica", "hand-over", "lose-node",
        "lone-master", "shards-move", "shards-add-remove", "rooms-ghosts", "stale-replica",
        "cut-shard", "half-open-shard", "late-shard", "restart-nodes-elsewhere", "clock-ahead",
        "isolate-master", "isolate-master-and-daemon", "half-moved-target", "half-moved-source",
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


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("seed", range(20))
def test_a_mixture_is_its_seeds(seed: int, shards: int) -> None:
    """The same each time; each fault is healed before the next round; two are on two things."""
    faults = mixture.faults(shards)
    steps = list(mixture.Mixture(seed, 200, faults))
    healing = {fault.text: fault.undone for fault in faults}
    owed: list[str] = []

    assert shown(steps) == shown(list(mixture.Mixture(seed, 200, mixture.faults(shards))))
    assert shown(steps) != shown(list(mixture.Mixture(seed + 1, 200, faults)))
    for step in steps:
        if step.heals:
            owed.remove(step.text)
        elif step.lasts:
            owed.append(healing[step.text])
        assert len(owed) <= 2
    assert not owed


def test_a_mixture_harms_one_shard_at_a_time_once() -> None:
    """Two of its nodes at once would be another fault than either."""
    on_shards = [fault for fault in mixture.faults(3) if "shard" in fault.thing]

    assert {fault.thing for fault in on_shards} == {"shard 0", "shard 1", "shard 2"}
    assert not any(fault.loses for fault in on_shards)


def test_patience_on_a_cluster() -> None:
    """Longer than its daemons', unless the drill has its own."""
    known = {drill.name: drill for drill in drills.ALL}
    alone, clustered = known["kill-redis"], known["kill-redis"].on(3)

    assert clustered.load.reply_s_max > Config(name="x").commit_s_max > 0
    assert clustered.load.reply_s_max > alone.load.reply_s_max == alone.on(1).load.reply_s_max
    assert known["freeze-daemon-1"].on(3).load.reply_s_max == 1.0


def test_the_shard_that_was_hit_and_the_others() -> None:
    """Each is held to the lines of its own sessions, and the others to what they were before."""
    figures = Figures()
    slots = frozenset(slot_of(name) for name in (b"here",))

    def line(t: float, name: str, waited_s: float, number: int) -> None:
        for at_s, event in (
            (t - waited_s, {"e": "welcome", "name": name, "epoch": 1, "seq": 0, "text": None}),
            (t - waited_s, {"e": "sent", "n": number, "text": "x"}),
            (t, {"e": "answered", "n": number, "text": "x", "previous": None}),
        ):
            figures.feed(cast("Event", {"t": at_s, "c": name, "k": 1, **event}))

    line(102.0, "there", 0.2, 1)
    line(107.0, "here", 3.0, 1)
    line(108.0, "there", 0.3, 2)
    mark = Mark(103.0, 103.5, "kill", heals=False, loses=False, slots=slots)
    found = outcome(figures=figures, marks=[mark])

    assert expectations.shard_serves(3.1)(found).passed
    assert not expectations.shard_serves(2.9)(found).passed
    assert expectations.others_go_on()(found).passed
    line(109.0, "there", 0.5, 3)
    assert not expectations.others_go_on()(found).passed
    assert not expectations.shard_serves(9)(outcome(figures=Figures(), marks=[mark])).passed


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
        (["storm", "--shards", "2"], "one of two is no majority"),
        (["storm", "--shards", "3", "--compose"], "the containers are what they are"),
        (
            ["storm", "--times", "3"],
            "--times is of `lose-node` and `shards-move` and `shards-add-remove` alone",
        ),
        (["kill-master"], "kill-master is about a cluster: --shards 3"),
        (["soak", "--shards", "3"], "not on a cluster: soak"),
    ],
)
def test_what_the_command_refuses(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    assert main(["drill", *argv]) == 1
    assert complaint in capsys.readouterr().err


def test_without_a_compiler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A drill that needs one is named with the reason, and refused; the mixtures do without it."""
    monkeypatch.setenv("CC", "no-such-compiler")

    assert main(["drill", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split()[0] for line in lines if "no C compiler" in line}
    assert named == {"clock-ahead", "isolate-master", "isolate-master-and-daemon"}

    assert main(["drill", "clock-ahead", "--shards", "3"]) == 1
    assert "not here: clock-ahead: no C compiler" in capsys.readouterr().err
    assert "node" not in mixture.mix(shards=3).links


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with a sentence, and where it can't be made."""
    assert main(["drill", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == len(drills.ALL)
    assert any(line.startswith("mix") and "not --compose" in line for line in lines)
