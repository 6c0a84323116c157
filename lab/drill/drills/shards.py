"""The drills on a cluster's nodes: one shard is hit, its sessions wait for a moment, others do not.

`SHARD` is the shard that is hit. A node that is killed starts again, so that every drill ends
with the cluster whole.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.drill.drills.faults import (
    OF_A_DAEMON,
    OF_A_SHARD,
    cut,
    freeze,
    half_open,
    hand_over,
    in_order,
    isolate,
    kill,
    lose,
    restart_at_once,
)
from lab.drill.drills.rooms import LOAD as MEMBERS
from lab.drill.judge.expectations import (
    bites,
    clocks_seen,
    goes_on,
    heard,
    nothing_lost,
    nothing_silent,
    others_go_on,
    shard_serves,
    spares,
    told_of_loss,
)
from lab.drill.scenario import Drill, Load, Step
from lab.drill.stage.base import AT_HOME, FIRST, NODE, REDIS, SHARD
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.drill.drills.faults import Fault
    from lab.drill.judge.outcome import Expectation
    from lab.drill.stage.base import Stage

MASTER, REPLICA, REPLICAS = (
    f"{what} of shard {SHARD}" for what in ("master", "replica", "replicas")
)

# One daemon's links to that shard's nodes, and to the one that is its master at first.
TO_SHARD = f"redis:{AT_HOME}/{SHARD}"
TO_MASTER = f"{TO_SHARD}/redis-{SHARD}-0"

# From the fault on until the shard's sessions are served: two node timeouts and an election.
KILLED_S, FROZEN_S = 4.0, 5.0
# A replica that has gone is waited for by nobody, a shard is handed over in a tenth of a second.
UNNOTICED_S, HANDED_OVER_S = 1.0, 2.0
# Before the first fault: what is usual is known then.
BEGIN_S = 5.0
# So many shards take turns to lose a node.
SHARDS = 3
# Of a node's clock: a session's life, so that each has expired there.
AHEAD_S = 300
# The daemon has a heartbeat to send at least.
HELD_S_MAX = 5.0
# The daemons look at the clocks every 5 s, at most of the nodes.
SEEN_S_MAX = 20.0
# So many slots are half-moved.
HALF_SLOTS = 4
# So many slots move before the master is killed, and so many after it.
SLOTS = 6

CLIENTS = Load(quitters=6)
# Sessions and rooms, which a load of one kind alone would leave untried.
ALL_KINDS = Load(clients=40, members=MEMBERS.members, posts_rate=0.5, quitters=4)


def on_a_node(
    name: str, what: str, steps: Sequence[Step], serves_s: float, *more: Expectation
) -> Drill:
    """One shard's nodes have a fault; it is served again in time, and the others go on."""
    return Drill(
        name,
        what,
        steps,
        seconds=steps[-1].at_s + 5,
        expects=[shard_serves(serves_s), others_go_on(), goes_on(1.0), *more],
        load=CLIENTS,
        needs_shards=True,
        only_local="the containers have one Redis",
    )


def on_a_link(name: str, what: str, steps: Sequence[Step], *cut: Expectation) -> Drill:
    """A daemon waits for one shard; nobody is cut, unless `cut` says of whom more."""
    return Drill(
        name,
        what,
        steps,
        seconds=steps[-1].at_s + 4,
        expects=[nothing_lost, goes_on(1.0), *(cut or [spares()])],
        links=frozenset({REDIS}),
        load=ALL_KINDS,
        needs_shards=True,
        only_local="the containers have one Redis",
    )


def _hold_next_batch(stage: Stage) -> None:
    link = stage.link(TO_MASTER)
    link.hold("out")
    link.release("in")
    until(lambda: link.count()["held"]["out"], HELD_S_MAX, "a batch to be on its way")


def _hand_back(stage: Stage) -> None:
    stage.await_whole()
    stage.hand_over(SHARD)
    stage.link(TO_MASTER).heal()  # before the daemon has looked who is master now


def stale_replica() -> Drill:
    """What is beyond the promise is told (docs/adr/0023)."""
    return Drill(
        "stale-replica",
        "A replica that was away is made master when both others are dead: what it lacks is told.",
        [
            replace(kill(REPLICA).steps(3)[0], lasts=False),
            kill(MASTER, REPLICAS, loses=True).steps(6)[0],
            Step(
                7, "start the first replica, make it master by force; start the others",
                lambda stage: stage.succeed(SHARD), heals=True, of=MASTER,
            ),
        ],
        seconds=13,
        expects=[bites(OF_A_SHARD), heard("rolled-back", OF_A_SHARD), goes_on(1.0)],
        load=CLIENTS,
        needs_shards=True,
        only_local="the containers have one Redis",
    )  # fmt: skip


def lone_master() -> Drill:
    """A master without its replicas may answer nothing: all that it took is lost then."""
    # One room, on the shard that is hit, and as many posts as make it likely that one is in a batch
    # that the master took alone.
    members = Load(clients=30, members=12, rooms=1, rooms_each=1, posts_rate=20.0)
    gone, back = kill("echod1", "echod2", "echod3").steps(6.4, 8)
    return Drill(
        "lone-master",
        "A shard's replicas are killed; then its master, disk and all, and a replica takes over:"
        " what the master took alone was answered to nobody, and heard by nobody.",
        [
            # `succeed` undoes all of it.
            replace(kill(REPLICA).steps(3)[0], lasts=False),
            # The last one has whatever was answered since the first one's death.
            replace(kill(REPLICA).steps(4)[0], lasts=False),
            # What these have posted is posted again later, behind what others post.
            gone,
            *lose(MASTER).steps(6.5, 0)[:1],
            Step(
                7, "start the last replica, make it master by force; start the others",
                lambda stage: stage.succeed(SHARD), heals=True, of=MASTER,
            ),
            back,
        ],
        seconds=12,
        expects=[nothing_silent, goes_on(1.0)],
        load=members,
        needs_shards=True,
        only_local="the containers have one Redis",
    )  # fmt: skip


def clock_ahead() -> Drill:
    """Sessions live shorter than was promised (docs/alerts.md, ClocksApart): that is told."""

    def clocks(stage: Stage) -> dict[str, object]:
        apart_s: dict[str, float] = {}

        def seen() -> bool:
            apart_s.update(
                (name, stage.samples(name).get("echod_clocks_apart_seconds") or 0.0)
                for name in stage.daemons
            )
            return min(apart_s.values()) >= AHEAD_S - 1

        with contextlib.suppress(TimeoutError):  # then the drill fails
            until(seen, SEEN_S_MAX, "the daemons to see it")
        return {"clocks_apart_s": apart_s}

    early, back = hand_over(SHARD).steps(4)[0], hand_over(SHARD).steps(8)[0]
    return Drill(
        "clock-ahead",
        f"A replica's clock is {AHEAD_S} s ahead, and it becomes master: sessions expire early, and"
        " are told; nothing else is lost.",
        [
            Step(
                3, f"start {REPLICA} again with its clock {AHEAD_S} s ahead",
                lambda stage: stage.set_clock(REPLICA, AHEAD_S), lasts=False,
            ),
            replace(early, expires=True),
            back,
        ],
        seconds=11,
        expects=[
            told_of_loss(OF_A_SHARD), bites(OF_A_SHARD), nothing_lost, goes_on(1.0),
            clocks_seen(AHEAD_S - 1),
        ],
        load=ALL_KINDS,
        afterwards=clocks,
        needs_shards=True,
        preloads=True,
        only_local="the containers have one Redis",
    )  # fmt: skip


def isolate_master(name: str, what: str, *daemons: str) -> Drill:
    """The first node is master at first. It may take lines, and answers none: no replica has them."""
    served: list[Expectation] = (
        [bites(OF_A_DAEMON), heard("unavailable", OF_A_DAEMON)]
        if daemons
        else [shard_serves(FROZEN_S), others_go_on()]
    )
    return Drill(
        name,
        what,
        isolate(FIRST, *daemons).steps(BEGIN_S, BEGIN_S + 8),
        seconds=BEGIN_S + 13,
        expects=[nothing_lost, goes_on(1.0), *served],
        links=frozenset({NODE, REDIS} if daemons else {NODE}),
        load=ALL_KINDS,
        needs_shards=True,
        preloads=True,
        only_local="the containers have one Redis",
    )


def lose_node(times: int = 3) -> Drill:
    """One node after the other, of each shard in turn."""
    faults: list[Fault] = [lose(f"node of shard {n % SHARDS}") for n in range(times)]
    # At once: the step before ends when the cluster is whole.
    steps = in_order(*(one.steps(3 + n, 3.5 + n) for n, one in enumerate(faults)))
    return Drill(
        "lose-node",
        f"A node is killed, its disk deleted, and it joins again; {times} in turn, under load.",
        steps,
        seconds=steps[-1].at_s + 3,
        expects=[nothing_lost, goes_on(1.0)],
        load=ALL_KINDS,
        needs_shards=True,
        only_local="the containers have one Redis",
    )


def shards_move(times: int = 1, slots: int = SLOTS) -> Drill:
    """Slots go from one shard to another and back; between two of them their master is killed."""

    def move(at_s: float, count: int, *way: int, whole: bool = True) -> Step:
        def act(stage: Stage) -> None:
            if whole:
                stage.await_whole()
            stage.move(count, *way)

        text = "move {} slots from shard {} to shard {}".format(count, *way)
        return Step(at_s, text, act, lasts=False)

    there = (SHARD, (SHARD + 1) % SHARDS)
    steps: list[Step] = []
    for n in range(times):
        at_s = 3.0 + 4 * n
        dead, again = kill(MASTER).steps(at_s + 0.1, at_s + 1)
        steps += [
            move(at_s, slots, *there),
            dead,
            move(at_s + 0.2, slots, *there, whole=False),
            again,
            move(at_s + 2, 2 * slots, *there[::-1]),
        ]
    return Drill(
        "shards-move",
        "Slots with sessions and rooms move to another shard and back, under load; the shard's"
        f" master is killed in the middle; {times} in turn.",
        steps,
        seconds=steps[-1].at_s + 3,
        expects=[nothing_lost, goes_on(1.0)],
        load=ALL_KINDS,
        needs_shards=True,
        only_local="the containers have one Redis",
    )


def half_moved(name: str, what: str, victim: str, *, loses: bool) -> Drill:
    """Slots are half-way from one shard to another when one of the two masters dies.

    `loses`: a replica of Redis 7 does not know that they are on their way (docs/shards.md).
    """
    there = (SHARD + 1) % SHARDS
    of = MASTER if victim == "source" else f"master of shard {there}"
    dead, again = kill(of, loses=loses).steps(4, 9.5)
    return Drill(
        name,
        what,
        [
            Step(
                3, f"half-move {HALF_SLOTS} slots from shard {SHARD} to shard {there}",
                lambda stage: stage.half_move(HALF_SLOTS, SHARD, there),
            ),
            dead,
            Step(
                9 if loses else 5, "`fleet shards` finishes what is half-moved",
                lambda stage: stage.finish_moves(), heals=True,
            ),
            again,
        ],
        seconds=14,
        expects=[goes_on(1.0), *([] if loses else [nothing_lost])],
        load=ALL_KINDS,
        needs_shards=True,
        only_local="the containers have one Redis",
    )  # fmt: skip


ALL = (
    on_a_link(
        "cut-shard",
        "One daemon's links to one shard stand still for 3 s; then all of it comes late.",
        cut(TO_SHARD).steps(3, 6),
    ),
    on_a_link(
        "half-open-shard",
        "One daemon's links to one shard are half open: the shard's ends are reset.",
        half_open(TO_SHARD, "far").steps(3),
    ),
    on_a_link(
        "late-shard",
        "A batch stays on its way while its shard is handed over and back; then it comes.",
        [
            Step(3, f"cut {TO_MASTER}, in", lambda stage: stage.link(TO_MASTER).hold("in")),
            Step(3.4, "let it go, hold the batch that has gathered", _hold_next_batch, lasts=False),
            *hand_over(SHARD).steps(3.7),
            Step(6, "hand it back, and the batch comes", _hand_back, heals=True),
        ],
    ),
    on_a_node(
        "kill-master",
        "A shard's master is killed: a replica takes its place, nothing answered is lost.",
        kill(MASTER).steps(BEGIN_S, BEGIN_S + 6),
        KILLED_S,
    ),
    on_a_node(
        "freeze-master",
        "A shard's master stands still: a replica takes its place, and what it held comes late.",
        freeze(MASTER).steps(BEGIN_S, BEGIN_S + 8),
        FROZEN_S,
    ),
    on_a_node(
        "restart-master",
        "A shard's master is killed, and started at once: it is master again, or a replica is.",
        restart_at_once(MASTER).steps(BEGIN_S),
        KILLED_S,
    ),
    on_a_node(
        "kill-replica",
        "One of two replicas is killed: nobody notices.",
        kill(REPLICA).steps(BEGIN_S, BEGIN_S + 4),
        UNNOTICED_S,
        spares(),
    ),
    on_a_node(
        "kill-replicas",
        "All replicas of a shard are killed: nothing is answered until one is back.",
        kill(REPLICAS).steps(BEGIN_S, BEGIN_S + 2),
        2 + KILLED_S,
    ),
    on_a_node(
        "kill-master-and-replica",
        "A master and a replica are killed together: the other one is master, and waits for one.",
        # The other replica need not have what these two have acknowledged (docs/adr/0023).
        kill(MASTER, REPLICA, loses=True).steps(BEGIN_S, BEGIN_S + 3),
        3 + KILLED_S,
    ),
    on_a_node(
        "hand-over",
        "A shard is handed over to a replica, and to another: no line fails, none is lost.",
        in_order(hand_over(SHARD).steps(BEGIN_S), hand_over(SHARD).steps(BEGIN_S + 3)),
        HANDED_OVER_S,
        spares(),
    ),
    isolate_master(
        "isolate-master",
        "A shard's master is cut off from all other nodes; every daemon still reaches it.",
    ),
    isolate_master(
        "isolate-master-and-daemon",
        "A shard's master and a daemon are cut off together from all other nodes.",
        "echod1",
    ),
    clock_ahead(),
    stale_replica(),
    lone_master(),
    lose_node(),
    Drill(
        "restart-nodes-elsewhere",
        "Every node of the cluster starts again with another address, one after the other.",
        [
            Step(
                3,
                "kill each node, start it on other ports",
                lambda s: s.restart_elsewhere(),
                lasts=False,
            ),
        ],
        seconds=7,
        expects=[nothing_lost, goes_on(1.0)],
        load=ALL_KINDS,
        needs_shards=True,
        only_local="the containers have one Redis",
    ),
    shards_move(),
    half_moved(
        "half-moved-target",
        "Some keys of slots have gone to another shard when its master dies; then the move goes on.",
        "target",
        loses=False,
    ),
    half_moved(
        "half-moved-source",
        "Some keys of slots have gone to another shard when their own's master dies.",
        "source",
        loses=True,
    ),
)
