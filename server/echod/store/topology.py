"""Which shard has which slots, and where its nodes are, from what the nodes say (ADR 20). Pure.

    CLUSTER NODES of several nodes ─▶ claims ─newest epoch wins─▶ `Topology.see` ─▶ shards

Nodes may disagree: one that was cut off or frozen still claims what another has since. Each
claim carries the epoch in which its node was made a master, and the highest one counts: of all
that were ever seen, as long as the node that made it is known.

A shard is a master and its replicas. It keeps its number for as long as one of the nodes that
were seen in it is its master: through failovers, and through slots that come and go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from echod.store.slots import ALL_SLOTS, SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# More are no cluster of ours: each shard costs a daemon two connections.
SHARDS_MAX: Final = 64
# A line of CLUSTER NODES without slots: id, address, flags, master, ping, pong, epoch, link.
FIELDS: Final = 8
# Of a slot that nobody claims.
NOBODY: Final = (-1, "")


@dataclass(frozen=True, slots=True)
class Address:
    """Of a node, for clients: `host` may be "", which is the host that was asked."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeView:
    """What one node says of one node.

    Attributes:
        id: its name in the cluster.
        master_id: whom it copies; "" if it is a master.
        epoch: in which it was made a master.
        slots: that it claims, as ranges; a replica claims none.
        moving: slots that it says are on their way from it or to it; only the node that was
            asked says so.
        itself: it is the node that was asked.
        reachable: nobody says that it has failed, or that its address is not known.
    """

    id: str
    address: Address
    master_id: str
    epoch: int
    slots: tuple[range, ...]
    moving: tuple[int, ...] = ()
    itself: bool = False
    reachable: bool = True


def parse_nodes(text: str, *, by_name: bool = False) -> list[NodeView]:
    """Read the reply to CLUSTER NODES; `by_name` takes hostnames where nodes have them.

    Raises:
        ValueError: it is none.
    """
    return [_node(line, by_name=by_name) for line in text.splitlines() if line.strip()]


def _node(line: str, *, by_name: bool) -> NodeView:
    words = line.split(" ")
    if len(words) < FIELDS:
        raise ValueError(f"no line of CLUSTER NODES: {line!r}")
    node_id, place, flag_text, master_id, _, _, epoch, _ = words[:FIELDS]
    flags = flag_text.split(",")
    address, *names = place.split(",")
    host, _, port = address.partition("@")[0].rpartition(":")
    if by_name and names and names[0]:
        host = names[0]
    return NodeView(
        node_id,
        Address(host.strip("[]"), int(port)),
        "" if master_id == "-" else master_id,
        int(epoch),
        # What is on its way from one node to another stands in brackets: `[93->-…]`, `[93-<-…]`.
        tuple(_range(word) for word in words[FIELDS:] if not word.startswith("[")),
        tuple(int(word[1:].partition("-")[0]) for word in words[FIELDS:] if word.startswith("[")),
        itself="myself" in flags,
        reachable="noaddr" not in flags and "fail" not in flags and int(port) > 0,
    )


def _range(word: str) -> range:
    first, _, last = word.partition("-")
    slots = range(int(first), int(last or first) + 1)
    if not 0 <= slots.start < slots.stop <= SLOTS:
        raise ValueError(f"no slots: {word!r}")
    return slots


@dataclass(eq=False, slots=True)
class Shard:
    """One shard, as it was seen last.

    Attributes:
        number: from 0 on, in the order of the slots in which they were seen first.
        master: where it is served, None while nobody has said so.
        slots: its own, lowest first.
        nodes: the ids of all that were seen in it.
        replicas: of these, how many copy the master and are not said to have failed.
        failovers: how often another one of them was seen to have become the master.
    """

    number: int
    slots: Sequence[int] = ()
    master: Address | None = None
    master_id: str = ""
    nodes: frozenset[str] = field(default_factory=frozenset)
    replicas: int = 0
    failovers: int = 0


class Topology:
    """See the module.

    Attributes:
        version: another one after each change of slots, masters or nodes.
        shards: by number; before anything was seen, one that has all slots and no master.
        addresses: of all nodes that may answer, by their id.
        slots_moved: how many slots have come to another shard since the first were seen.
    """

    def __init__(self) -> None:
        self.version = 0
        self.shards = [Shard(0, ALL_SLOTS)]
        self.addresses: dict[str, Address] = {}
        self.slots_moved = 0
        self._moving: dict[str, tuple[int, ...]] = {}
        # Of each slot the newest claim that was seen.
        self._claims = [NOBODY] * SLOTS

    @property
    def slots_moving(self) -> int:
        """Slots that are on their way, as each node has said last: both ends of a move do."""
        return len({slot for slots in self._moving.values() for slot in slots})

    def see(self, views: Iterable[Sequence[NodeView]]) -> bool:
        """Take what several nodes said at about the same time; whether anything has changed."""
        newest = _newest(views)
        claims = _claims(newest.values())
        if not any(owner for _, owner in claims):
            return False  # a node that has not joined, or is about to
        # Who speaks for itself and claims it no more has given it up.
        silent = {node.id for node in newest.values() if not node.itself}
        self._claims = [
            known if known > claim and known[1] in silent else claim
            for known, claim in zip(self._claims, claims, strict=True)
        ]
        slots_of: dict[str, list[int]] = {}
        for slot, (_, owner) in enumerate(self._claims):
            if owner:
                slots_of.setdefault(owner, []).append(slot)
        before = self._state()
        self._moving |= {node.id: node.moving for node in newest.values() if node.itself}
        self._moving = {id_: slots for id_, slots in self._moving.items() if id_ in newest}
        first = not self.shards[0].nodes
        known = self._known(slots_of)
        for owner, slots in sorted(slots_of.items(), key=lambda item: item[1][0]):
            came = self._settle(newest, owner, slots, known.get(owner))
            self.slots_moved += 0 if first else came
        for shard in self.shards:
            if shard.master_id not in slots_of:
                shard.slots = ()
        self.addresses = {
            node.id: node.address for node in newest.values() if node.reachable
        } or self.addresses
        changed = self._state() != before
        self.version += changed
        return changed

    def _known(self, slots_of: Mapping[str, Sequence[int]]) -> dict[str, Shard]:
        """The shards that owners of slots were seen in, by owner.

        Two may have been seen in one: a replica that was made a master of others' slots. Then
        who has most keeps the number.
        """
        known: dict[str, Shard] = {}
        for shard in self.shards:
            if owners := sorted(shard.nodes.intersection(slots_of)):
                known[max(owners, key=lambda owner: len(slots_of[owner]))] = shard
        return known

    def _settle(
        self,
        newest: Mapping[str, NodeView],
        owner: str,
        slots: Sequence[int],
        shard: Shard | None,
    ) -> int:
        """`owner` has `slots`: say so of its shard, a new one if it was seen in none.

        Returns:
            How many of them the shard did not have.
        """
        replicas = [node for node in newest.values() if node.master_id == owner]
        members = frozenset([owner, *(node.id for node in replicas)])
        shard = shard or self._new_shard()
        if shard is None:
            return 0
        for other in self.shards:
            if other is not shard:
                other.nodes -= members
        came = 0 if slots == shard.slots else len(set(slots).difference(shard.slots))
        shard.failovers += shard.master_id not in ("", owner)
        shard.slots = slots
        shard.master, shard.master_id = newest[owner].address, owner
        shard.nodes |= members
        shard.replicas = sum(node.reachable for node in replicas)
        return came

    def _new_shard(self) -> Shard | None:
        if not self.shards[0].nodes:
            return self.shards[0]
        if len(self.shards) >= SHARDS_MAX:
            return None
        shard = Shard(len(self.shards))
        self.shards.append(shard)
        return shard

    def _state(self) -> list[tuple[object, ...]]:
        return [
            (shard.number, shard.master, tuple(shard.slots), shard.nodes) for shard in self.shards
        ]


def _newest(views: Iterable[Sequence[NodeView]]) -> dict[str, NodeView]:
    """Of each node the newest that is said: by epoch, and of one epoch what it says itself."""
    newest: dict[str, NodeView] = {}
    for node in (node for view in views for node in view):
        known = newest.get(node.id)
        if known is None or (node.epoch, node.itself, node.reachable) > (
            known.epoch,
            known.itself,
            known.reachable,
        ):
            newest[node.id] = node
    return newest


def _claims(nodes: Iterable[NodeView]) -> list[tuple[int, str]]:
    """Of each slot the claim of the highest epoch, and whose it is."""
    claims = [NOBODY] * SLOTS
    for node in sorted(nodes, key=lambda node: (node.epoch, node.id)):
        for slots in node.slots:
            claims[slots.start : slots.stop] = [(node.epoch, node.id)] * len(slots)
    return claims
