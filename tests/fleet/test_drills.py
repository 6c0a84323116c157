"""Drills end to end, and the proof of their checker: daemons with a bug are caught, by name."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.drill import drills
from lab.drill.drills import mixture
from lab.drill.drills.shards import shards_move
from lab.drill.judge import violations as rules
from lab.drill.judge.expectations import all_served, nothing_lost
from lab.drill.report import verdicts
from lab.drill.run import play
from lab.drill.stage.local import LocalStage
from lab.fleet import preload
from loadtest import room_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from lab.drill.judge.outcome import Outcome
    from lab.drill.scenario import Drill

ECHOD = ("-m", "echod")

# A drill, with the drill's own time; on a busy machine its fleet takes long to come up.
DRILL_S_MAX = 240

# The first fault is made so soon: clients have a state to lose by then.
FIRST_S = 1.0

SHARDS = 3

# A bug that shows only in what is on its way when the fault comes gets so many chances.
TURNS = 3


def short(name: str, seconds: float = 0) -> Drill:
    """A drill of the list, begun sooner, and ended after `seconds` if that is said."""
    (drill,) = (drill for drill in drills.ALL if drill.name == name)
    return soon(drill, seconds)


def soon(drill: Drill, seconds: float = 0) -> Drill:
    """It, begun sooner."""
    steps = list(drill.steps)
    sooner_s = max(0.0, steps[0].at_s - FIRST_S) if steps else 0.0
    return dataclasses.replace(
        drill,
        steps=[dataclasses.replace(step, at_s=step.at_s - sooner_s) for step in steps],
        seconds=seconds or drill.seconds - sooner_s,
    )


def played(drill: Drill, directory: Path, program: tuple[str, ...] = ECHOD) -> Outcome:
    """What comes of it; of a drill that needs shards, on a cluster."""
    shards = SHARDS if drill.needs_shards else 1
    with LocalStage(directory, drill.links, program=program, shards=shards) as stage:
        return play(drill.on(shards), stage, directory)


CLAIMANTS = short("claimants", 4)
LONE_MASTER = short("lone-master")
# So many that a session with a line on its way is among them.
SHARDS_MOVE = soon(shards_move(slots=40))
STALE_REPLICA = short("stale-replica")
# So many posts that a batch without an answer has some; in so many rooms that none of them is
# trimmed before a member is back that was cut.
LATE_ANSWERS = dataclasses.replace(
    short("cut-redis-in"),
    name="late-answers",
    load=dataclasses.replace(LONE_MASTER.load, rooms=6),
    expects=[nothing_lost],
)


# The bug, the drill that shows it, the rule that catches it.
#
# With `<acked>` in every HELLO, a store that has less than was answered says so itself: a lost
# answer shows as `rolled-back` where no data was lost, which is the rule `lost`.
MUTANTS = [
    ("answers_before_commit", short("break-redis"), rules.LOST),
    ("answers_a_broken_batch", short("break-redis"), rules.LOST),
    ("ignores_the_nil", CLAIMANTS, rules.OWNER),
    ("keeps_its_old_connection", short("late-batch"), rules.LOST),
    ("forgets_repeated_lines", CLAIMANTS, rules.REFUSED),
    ("keeps_the_epoch", CLAIMANTS, rules.EPOCH),
    ("ends_without_the_fence", CLAIMANTS, rules.LOST),
    ("ignores_the_fence", short("rooms-ghosts", 8), rules.FENCE),
    ("answers_without_replicas", LONE_MASTER, rules.LOST),
    # A daemon finds that its members heard what the store lacks.
    ("publishes_at_once", LONE_MASTER, rules.LOST),
    ("overtakes_on_a_move", SHARDS_MOVE, rules.REPLY),
    # What comes late sets the marker back.
    ("forgets_its_former_link", short("late-shard"), rules.LOST),
    ("takes_a_move_for_a_loss", SHARDS_MOVE, rules.LOST),
]

# As above, and what becomes of messages (`loadtest.room_ledger`).
MUTANTS_OF_ROOMS = [
    ("skips_what_it_missed", short("rooms-deaf"), room_ledger.LOST),
    ("posts_again", LATE_ANSWERS, room_ledger.DUPLICATED),
]


@pytest.mark.parametrize("name, drill, rule", MUTANTS, ids=[name for name, _, _ in MUTANTS])
def test_every_mutant_is_caught(name: str, drill: Drill, rule: str, tmp_path: Path) -> None:
    """The checker, which sees only what clients saw, finds the bug by the rule it breaks."""
    for turn in range(TURNS):
        outcome = played(drill, tmp_path / str(turn), ("-m", f"tests.mutants.{name}"))
        if rule in outcome.counts:
            break

    assert rule in outcome.counts
    proof = next(one for one in outcome.violations if one.rule == rule)
    assert proof.events


@pytest.mark.parametrize(
    "name, drill, fate", MUTANTS_OF_ROOMS, ids=[name for name, _, _ in MUTANTS_OF_ROOMS]
)
def test_every_mutant_of_rooms_is_caught(
    name: str, drill: Drill, fate: str, tmp_path: Path
) -> None:
    """The ledger finds messages that have the fate which the bug makes."""
    for turn in range(TURNS):
        outcome = played(drill, tmp_path / str(turn), ("-m", f"tests.mutants.{name}"))
        ledger = outcome.checker.rooms.ledger
        if ledger.counts[fate]:
            break

    assert ledger.counts[fate]
    assert any(fault.fate == fate for fault in ledger.faults)


def test_a_loss_that_is_not_told_is_caught(tmp_path: Path) -> None:
    """No rule is broken: whoever is connected writes its line anew. But they must be told (§5)."""
    program = ("-m", "tests.mutants.takes_a_loss_for_a_move")
    outcome = played(STALE_REPLICA, tmp_path, program)
    failed = [one.question for one in verdicts(STALE_REPLICA, outcome) if not one.passed]

    assert "Are clients told `rolled-back`?" in failed


DRILLS = [drill for _, drill, _ in (*MUTANTS, *MUTANTS_OF_ROOMS)] + [STALE_REPLICA]


@pytest.mark.parametrize(
    "drill",
    {drill.name: drill for drill in DRILLS}.values(),
    ids=lambda drill: drill.name,
)
def test_the_daemon_passes_what_the_mutants_fail(drill: Drill, tmp_path: Path) -> None:
    """The same drills on the daemon as it is: nothing to complain of."""
    outcome = played(drill, tmp_path)

    assert outcome.violations == []
    assert [one.text for one in verdicts(drill, outcome) if not one.passed] == []


# A few kills, and two seeds: with the mutants above this is what a cluster costs CI.
ON_A_CLUSTER = [
    short("kill-master"),
    short("freeze-master"),
    SHARDS_MOVE,
    short("late-shard"),
    short("half-moved-target"),
    short("isolate-master"),
    short("clock-ahead"),
    short("redis-truncate"),
    *(mixture.mix(seed, 20.0, shards=SHARDS) for seed in (1, 2)),
]


@pytest.mark.parametrize(
    "drill", ON_A_CLUSTER, ids=[f"{drill.name}-{n}" for n, drill in enumerate(ON_A_CLUSTER)]
)
def test_a_cluster_keeps_the_rules(drill: Drill, tmp_path: Path) -> None:
    """Whatever happens to its nodes; how long it takes is for `fleet drill` to say."""
    if drill.preloads and preload.why_not():
        pytest.skip(preload.why_not())
    outcome = played(dataclasses.replace(drill, needs_shards=True), tmp_path)

    assert outcome.violations == []
    assert all_served(outcome).passed
    assert not outcome.checker.rooms.ledger.broken
    assert not outcome.facts["tracebacks"]


def test_redis_comes_back_with_all_that_scripts_wrote(tmp_path: Path) -> None:
    """Killed and started on its append-only file: not with less because of who may do what."""
    drill = short("kill-redis")
    outcome = played(drill, tmp_path)

    assert [one.text for one in verdicts(drill, outcome) if not one.passed] == []
    assert "NOPERM" not in (tmp_path / "fleet" / "redis" / "redis.log").read_text()


def test_the_command(tmp_path: Path) -> None:
    """A drill from the command line: PASS, a report, a picture, a history; nothing is left."""
    results = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", "drill", "storm", "--clients=40", f"--results={results}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=DRILL_S_MAX,
    )

    # 40 clients can't be 50 that were cut: the drill says so, and fails.
    assert done.returncode == 1, done.stderr
    assert "FAIL  Did the fault reach clients? 40 of the clients were cut" in done.stdout
    assert "PASS  Does what clients saw keep every rule?" in done.stdout
    (directory,) = results.glob("drill-storm-*")
    written = {path.name for path in directory.iterdir()}
    assert {"history.jsonl.gz", "report.html", "run.json", "timeline.png"} <= written
    run = json.loads((directory / "run.json").read_text())
    assert run["failed"]
    assert "reset every client" in (directory / "report.html").read_text()
    assert "drill-storm" in (results / "index.html").read_text()
