"""Slots move between shards that serve, by CLUSTER commands (docs/adr/0026).

    level: look ─▶ finish what is half-moved ─▶ plan ─▶ batch after batch ─▶ look again …

    a batch:  both shards' replicas in step
              target IMPORTING, source MIGRATING        half-moved from here …
              the keys, by MIGRATE
              the target's replicas have them
              target NODE                               … to here
              the target's replicas know it
              source NODE

While a slot is half-moved its source makes no new key in it, so that none is left behind, and
the daemons hold its lines back ("not now"). A death in the middle is no end: it is waited for
until the shards have masters and replicas again, and what is half-moved is finished.

Not by the servers' atomic moves (Redis 8.4, Valkey 9): those give the source's slot up before a
replica of the target has it, and a death then loses it (docs/adr/0026).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis as redis_py

from lab.fleet.shards import plan
from lab.fleet.shards.cluster import ClusterError, place
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from lab.fleet.shards.cluster import Cluster, Mark, Picture, Shard
    from lab.fleet.shards.plan import Move

# From one batch to the next, whatever happens: a master's death and its replica's election take
# three seconds, on a busy machine ten; a node that is started again copies its data.
PATIENCE_S = 60.0
# A replica is some milliseconds behind; one that copies everything takes seconds.
IN_STEP_S_MAX = 5.0
# After it the nodes have heard of a batch: it is told them at once.
HEARD_S_MAX = 5.0
# All nodes, of the last batch.
AGREED_S_MAX = 15.0
# Between a fault and the next try.
AGAIN_S = 0.2

MIGRATE_MS_MAX = 5000

# Valkey 8 and newer answer SETSLOT when the replicas have it. On Valkey 9.1.2, 12 nodes on a busy
# two-core machine, a fourth shard took 75 s with one connection and 3 s with so many (one run each).
LANES = 64
REPLICATED_SINCE = 8


class FaultError(Exception):
    """A node did not do its part, and may do it soon."""


class StoppedError(Exception):
    """Who watches wants no further batch."""


@dataclass(slots=True)
class Figures:
    """What has been moved.

    Attributes:
        half_moved_s_max: the longest time that a slot was half-moved.
        faults: how often something failed, and was done again.
    """

    slots: int = 0
    keys: int = 0
    half_moved_s_max: float = 0.0
    faults: int = 0


class Mover:
    """Makes shards even; used once.

    Args:
        cluster: Whose slots move.
        note: Told of what is out of the ordinary.
        step: Told of the slots that are done, and of all of this plan; before each batch it may
            raise `StoppedError`.
    """

    def __init__(
        self,
        cluster: Cluster,
        note: Callable[[str], None] = lambda _: None,
        step: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        self.figures = Figures()
        self._cluster = cluster
        self._note = note
        self._step = step
        self._half_moved_since_s: dict[int, float] = {}
        self._lanes: dict[str, int] = {}
        """By the nodes' addresses."""

    def level(self, *, leaving: Collection[str] = (), empty: Collection[str] = ()) -> Picture:
        """Move slots until the shards that stay have as many each, and none is half-moved.

        Args:
            leaving: Names of shards that are to have none.
            empty: As `Cluster.look`.

        Returns:
            The cluster as it is then; all nodes agree about it.

        Raises:
            ClusterError: A fault that did not pass; run again, what is half-moved is finished.
            StoppedError: As `step` raised it: between two batches, with nothing half-moved.
        """
        progressed_s = time.monotonic()
        while True:
            done = self.figures.slots
            try:
                picture = self._cluster.look(empty)
                for shard in picture.shards.values():
                    self._await_in_step(shard)
                if picture.half_moved:
                    self._finish(picture)
                    continue
                planned = plan.moves(
                    {name: shard.slots for name, shard in picture.shards.items()}, leaving
                )
                if not planned:
                    self._await_agreed(picture)
                    return picture
                self._move_all(picture, planned)
            except (FaultError, redis_py.RedisError) as error:
                if self.figures.slots > done:
                    progressed_s = time.monotonic()
                if time.monotonic() > progressed_s + PATIENCE_S:
                    raise ClusterError(
                        f"{error}\nNo slot has moved for {PATIENCE_S:.0f} s. Run the command again"
                        " when that is mended: what is half-moved is finished first"
                    ) from None
                self.figures.faults += 1
                self._note(f"again: {error}")
                time.sleep(AGAIN_S)

    def _move_all(self, picture: Picture, planned: Sequence[Move]) -> None:
        counts = self._key_counts(picture, planned)
        done = 0
        for batch in plan.batches(planned, counts):
            self._step(done, len(planned))
            source, target = (picture.shards[name] for name in batch[0][1:])
            self._move([move.slot for move in batch], source, target)
            done += len(batch)
        self._step(done, len(planned))

    def _key_counts(self, picture: Picture, planned: Iterable[Move]) -> dict[int, int]:
        slots_of: dict[str, list[int]] = {}
        for move in planned:
            slots_of.setdefault(move.source, []).append(move.slot)
        counts: dict[int, int] = {}
        for name, slots in slots_of.items():
            told = self._ask_all(picture.shards[name], "COUNTKEYSINSLOT", slots)
            counts |= dict(zip(slots, told, strict=True))
        return counts

    def _move(self, slots: Sequence[int], source: Shard, target: Shard) -> None:
        """Move slots of one shard to one other; see the module."""
        for shard in (source, target):
            self._await_in_step(shard)
        source_id, target_id = source.master.id, target.master.id
        self._see_served(slots, source_id, target)
        # Those with keys are told when these come. Of the others the first makes the target's
        # claims newer than the source's, and the last has all nodes told: Redis tells them anew
        # for each slot that was imported.
        ends = sorted({slots[0], slots[-1]})
        self._ask_all(target, "SETSLOT", ends, "IMPORTING", source_id)
        began_s = time.monotonic()
        for slot in slots:
            self._half_moved_since_s.setdefault(slot, began_s)
        self._ask_all(source, "SETSLOT", slots, "MIGRATING", target_id)
        if self._move_keys(slots, source, target):
            self._await_in_step(target)
        for part in (slots[:1], slots[1:-1], slots[1:][-1:]):
            self._ask_all(target, "SETSLOT", part, "NODE", target_id)
        ended_s = time.monotonic()
        for slot in slots:
            took_s = ended_s - self._half_moved_since_s.pop(slot)
            self.figures.half_moved_s_max = max(self.figures.half_moved_s_max, took_s)
        self._await_heard(slots, target)
        self.figures.slots += len(slots)
        self._ask_all(source, "SETSLOT", slots, "NODE", target_id)

    def _see_served(self, slots: Sequence[int], source_id: str, target: Shard) -> None:
        """Have a target that knows nobody with a slot know that its source has it.

        While a slot comes to it a node hears nothing of who has it: when the source's master has
        been replaced, and is back as a replica, nobody has the slot as far as the target knows,
        and it takes no key (reproduced on Redis 7.0.15).
        """
        view = self._cluster.view(place(target.master))
        served = {slot for node in view for span in node.slots for slot in span}
        self._ask_all(target, "SETSLOT", sorted({*slots} - served), "NODE", source_id)

    def _move_keys(self, slots: Sequence[int], source: Shard, target: Shard) -> int:
        """All keys of these slots; returns how many."""
        moved = 0
        while True:
            held = self._ask_all(source, "GETKEYSINSLOT", slots, plan.KEYS_TOGETHER)
            full = [slot for slot, keys in zip(slots, held, strict=True) if keys]
            if not full:
                return moved
            self._ask_all(target, "SETSLOT", full, "IMPORTING", source.master.id)
            commands = [self._migrate(target, keys) for keys in held if keys]
            self._sent(source, self._cluster.ask_all(place(source.master), commands))
            moved += sum(map(len, held))
            self.figures.keys += sum(map(len, held))

    def _migrate(self, target: Shard, keys: Sequence[bytes]) -> list[object]:
        # What a move that was stopped has left at the target is older.
        address = target.master.address
        words: list[object] = ["MIGRATE", address.host, address.port, "", 0, MIGRATE_MS_MAX]
        words.append("REPLACE")
        login = self._cluster.login
        if login.username:
            words += ["AUTH2", login.username, login.password or ""]
        elif login.password:
            words += ["AUTH", login.password]
        return [*words, "KEYS", *keys]

    def _finish(self, picture: Picture) -> None:
        """Finish what is half-moved, or take it back where nobody knows the other end."""
        half_moved = picture.half_moved
        slots = sorted(half_moved)
        self._note(f"{_count(len(slots), 'slot')} half-moved: finishing")
        counts = {
            name: dict(zip(slots, self._ask_all(shard, "COUNTKEYSINSLOT", slots), strict=True))
            for name, shard in picture.shards.items()
        }
        left: list[Move] = []
        held: dict[int, int] = {}
        for slot, marks in half_moved.items():
            owner = picture.owner(slot)
            if owner is None:
                raise FaultError(f"nobody has slot {slot}")
            others = [shard for shard in picture.shards.values() if shard is not owner]
            with_keys = [shard for shard in others if counts[shard.name][slot]]
            # Who has keys of it says more than marks do: a new master has none in Redis 7, and
            # an old one may have been forgotten.
            target = next(iter(with_keys), None) or _marked(picture, owner, marks)
            held[slot] = counts[owner.name][slot]
            if target:
                left.append(plan.Move(slot, owner.name, target.name))
        for batch in plan.batches(left, held):
            source, target = (picture.shards[name] for name in batch[0][1:])
            self._move([move.slot for move in batch], source, target)
        # Marks that a node has kept of a move that is over, or that has no other end.
        for shard in picture.shards.values():
            kept = {mark.slot for mark in picture.marks if mark.at == shard.master.id}
            self._ask_all(shard, "SETSLOT", sorted(kept), "STABLE")

    def _ask_all(self, shard: Shard, word: str, slots: Sequence[int], *more: object) -> list[Any]:
        """`CLUSTER word slot more …` of a master, for each slot, in any order."""
        address = place(shard.master)
        commands = [("CLUSTER", word, slot, *more) for slot in slots]
        lanes = self._lanes_of(address) if word == "SETSLOT" else 1
        return self._sent(shard, self._cluster.ask_all(address, commands, lanes))

    def _lanes_of(self, address: str) -> int:
        if address not in self._lanes:
            version = self._cluster.info(address).get("valkey_version", "0")
            replicated = int(version.split(".")[0]) >= REPLICATED_SINCE
            self._lanes[address] = LANES if replicated else 1
        return self._lanes[address]

    @staticmethod
    def _sent(shard: Shard, answers: list[Any]) -> list[Any]:
        for answer in answers:
            if isinstance(answer, Exception):
                raise FaultError(f"{place(shard.master)}, master of shard {shard.name}: {answer}")
        return answers

    def _await_in_step(self, shard: Shard) -> None:
        missing = ""

        def in_step() -> bool:
            nonlocal missing
            missing = self._cluster.behind(shard)
            return not missing

        try:
            until(in_step, IN_STEP_S_MAX, "replicas in step")
        except TimeoutError:
            raise FaultError(missing) from None

    def _await_heard(self, slots: Sequence[int], target: Shard) -> None:
        """Until the target's replicas know: one that is elected next claims what it has heard."""
        wanted = set(slots)
        asked = [place(node) for node in target.replicas if node.reachable]

        def heard() -> bool:
            return all(wanted <= self._heard(address, target.master.id) for address in asked)

        self._await(heard, HEARD_S_MAX, f"shard {target.name}'s replicas to hear of its slots")

    def _heard(self, address: str, master_id: str) -> set[int]:
        """The slots of a master, as another node has it."""
        for node in self._cluster.view(address):
            if node.id == master_id:
                return {slot for slots in node.slots for slot in slots}
        return set()

    def _await_agreed(self, picture: Picture) -> None:
        """Until every node that answers has heard the last of it."""
        masters = {shard.master.id: set(shard.slots) for shard in picture.shards.values()}

        def agreed() -> bool:
            return all(
                self._heard(place(node), master_id) == slots
                for node in picture.nodes.values()
                if node.reachable
                for master_id, slots in masters.items()
            )

        self._await(agreed, AGREED_S_MAX, "all nodes to agree about the slots")

    @staticmethod
    def _await(condition: Callable[[], bool], wait_s_max: float, what: str) -> None:
        try:
            until(condition, wait_s_max, what)
        except TimeoutError as error:
            raise FaultError(str(error)) from None


def _marked(picture: Picture, owner: Shard, marks: Sequence[Mark]) -> Shard | None:
    """Where a slot was going to, as its owner or the other end says; None if nobody does."""
    for mark in marks:
        going = not mark.comes and mark.at == owner.master.id
        shard = picture.shard_of(mark.other if going else mark.at)
        if shard and shard is not owner and (going or mark.comes):
            return shard
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
