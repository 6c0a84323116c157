"""Whole shards come and go by `fleet shards`, under load, and the command is disturbed.

    a round: `fleet shards add`, disturbed ─▶ `fleet shards remove` of the oldest shard, disturbed

After as many rounds as there were shards at first, no node is left that the daemons were told of
at their start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lab.drill.drills.shards import ALL_KINDS
from lab.drill.judge.expectations import goes_on, nothing_lost
from lab.drill.scenario import Drill, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.drill.stage.base import Stage
    from lab.drill.stage.local import LocalStage
    from lab.drill.stage.shards_command import ShardsCommand

    Disturbance = tuple[str, Callable[[Stage], object]]

# When it is disturbed: this share of the slots later in each round, round and round.
LATER = 0.37


def command(stage: Stage) -> ShardsCommand:
    """The stage's own: stages of containers have none (`only_local`)."""
    return cast("LocalStage", stage).shards


def _again(end: Callable[[ShardsCommand], object]) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        end(command(stage))
        command(stage).again()

    return act


def _kill(stage: Stage) -> None:
    """The master of a shard that gives slots: what has just come to a shard may be told as lost."""
    stage.do("kill", f"master of shard {command(stage).giving}")


def _start(*, elected: bool) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        shards = command(stage)
        if elected:
            shards.await_master(shards.giving)
        if shards.giving in shards.shards:  # it may have gone, and its dead node with it
            stage.do("start", f"master of shard {shards.giving}")

    return act


# What is done while slots move, one after the other.
DISTURBANCES: tuple[tuple[Disturbance, ...], ...] = (
    (),
    (
        ("kill the master of a shard that gives slots", _kill),
        ("start it again at once", _start(elected=False)),
    ),
    (("Ctrl-C, and once more", _again(lambda shards: shards.interrupt())),),
    (
        ("kill the master of a shard that gives slots", _kill),
        ("start it again when there is another", _start(elected=True)),
    ),
    (("kill -9 the command, and once more", _again(lambda shards: shards.kill())),),
    (("a second one at the same time", lambda stage: command(stage).refused()),),
)


def _steps(times: int) -> Iterator[Step]:
    at_s = 3.0
    for n in range(times):
        share = LATER * n % 1
        begun: tuple[tuple[str, Callable[[ShardsCommand], object], int], ...] = (
            ("fleet shards add", lambda shards: shards.add(), n),
            ("fleet shards remove, of the oldest", lambda shards: shards.remove(), n + 3),
        )
        for text, begin, turn in begun:

            def act(
                stage: Stage,
                begin: Callable[[ShardsCommand], object] = begin,
                share: float = share,
            ) -> None:
                begin(command(stage))
                command(stage).await_share(share)

            yield Step(at_s, f"{text}; until {share:.0%} of the slots have moved", act, lasts=False)
            disturbance = DISTURBANCES[turn % len(DISTURBANCES)]
            for number, (what, do) in enumerate(disturbance):
                yield Step(at_s, what, do, heals=number > 0, lasts=len(disturbance) > 1)
            yield Step(at_s, "wait for its end", _end, lasts=False)
            at_s += 1.0


def _end(stage: Stage) -> None:
    command(stage).end()
    stage.await_whole()


def shards_add_remove(times: int = 1) -> Drill:
    """The store's shards change `times` times, by the command that an operator runs."""
    steps = list(_steps(times))
    return Drill(
        "shards-add-remove",
        "`fleet shards` adds a shard and removes the oldest one, under load, and is disturbed:"
        f" a master killed, Ctrl-C, kill -9, a second one; {times} in turn.",
        steps,
        seconds=steps[-1].at_s + 3,
        expects=[nothing_lost, goes_on(1.0)],
        load=ALL_KINDS,
        needs_shards=True,
        only_local="the containers are what they are",
    )


ALL = (shards_add_remove(),)
