"""store/topology.py: the newest claim wins, whoever says what when; a shard keeps its number."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from echod.store.slots import ALL_SLOTS, SLOTS
from echod.store.topology import SHARDS_MAX, Address, NodeView, Topology, parse_nodes

SHARDS, REPLICAS, BLOCKS = 4, 2, 16
# Slots move in blocks: what is decided of one is decided of each.
BLOCK = SLOTS // BLOCKS
HOST = "h"


def ranges(blocks: set[int]) -> tuple[range, ...]:
    """Of blocks of slots."""
    return tuple(range(block * BLOCK, (block + 1) * BLOCK) for block in sorted(blocks))


class Cluster:
    """Nodes that fail over and hand slots over, and each of which knows the others as of some time."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.epoch = SHARDS
        self.family: dict[str, int] = {}
        self.master: dict[str, str] = {}
        self.epochs: dict[str, int] = {}
        self.blocks: dict[str, set[int]] = {}
        for shard in range(SHARDS):
            names = [f"n{shard}{letter}" for letter in "abc"[: REPLICAS + 1]]
            for name in names:
                self.family[name] = shard
                self.master[name] = "" if name == names[0] else names[0]
                self.epochs[name] = shard + 1
                self.blocks[name] = set()
            each = BLOCKS // SHARDS
            self.blocks[names[0]] = set(range(shard * each, (shard + 1) * each))
        self.known = {name: self.truth() for name in self.family}

    def truth(self) -> dict[str, NodeView]:
        """Every node as it is."""
        return {
            name: NodeView(
                *(name, Address(HOST, 1000 + at), self.master[name]),
                self.epochs[self.master[name] or name],
                ranges(self.blocks[name]),
            )
            for at, name in enumerate(self.family)
        }

    def view(self, name: str) -> list[NodeView]:
        """What a node says, in any order."""
        nodes = list(self.known[name].values())
        self.dice.shuffle(nodes)
        return [replace(node, itself=node.id == name) for node in nodes]

    def masters(self) -> list[str]:
        """Those there are."""
        return [name for name, master in self.master.items() if not master]

    def step(self) -> None:
        """Something happens; only who has a part in it knows at once."""
        dice = self.dice
        what = dice.choice(("failover", "move", "gossip", "gossip"))
        if what == "gossip":
            self.known[dice.choice(list(self.family))] = self.truth()
            return
        self.epoch += 1
        old = dice.choice(self.masters())
        if what == "failover":
            new = dice.choice([name for name in self.family if self.master[name] == old])
            for name, master in self.master.items():
                if master == old:
                    self.master[name] = new
            self.master[old], self.master[new] = new, ""
            self.blocks[new], self.blocks[old] = self.blocks[old], set()
            self.known[new] = self.truth()
        else:
            new = dice.choice([name for name in self.masters() if name != old])
            moved = set(dice.sample(sorted(self.blocks[old]), min(2, len(self.blocks[old]))))
            self.blocks[old] -= moved
            self.blocks[new] |= moved
        self.epochs[new] = self.epoch
        if what == "move":
            self.known[old] = self.known[new] = self.truth()
        else:
            self.known[new] = self.truth()


class Oracle:
    """The newest claim of each block that was ever seen."""

    def __init__(self) -> None:
        self.claims: list[tuple[int, str]] = [(0, "")] * BLOCKS

    def see(self, views: list[list[NodeView]]) -> None:
        """As `Topology.see`, over all time."""
        for node in (node for view in views for node in view):
            for slots in node.slots:
                for block in range(slots.start // BLOCK, slots.stop // BLOCK):
                    self.claims[block] = max(self.claims[block], (node.epoch, node.id))

    def owners(self) -> dict[str, set[int]]:
        """Blocks by who has them."""
        found: dict[str, set[int]] = {}
        for block, (_, name) in enumerate(self.claims):
            found.setdefault(name, set()).add(block)
        return found


def slots_of(topology: Topology) -> dict[str, list[int]]:
    """By master, of those that have any."""
    return {shard.master_id: list(shard.slots) for shard in topology.shards if shard.slots}


def agree(topology: Topology, oracle: Oracle, cluster: Cluster) -> None:
    """The newest claims are followed, each slot is in one shard, and numbers stay."""
    owners = oracle.owners()
    assert slots_of(topology) == {
        name: [slot for slots in ranges(blocks) for slot in slots]
        for name, blocks in owners.items()
    }
    taken = [slot for shard in topology.shards for slot in shard.slots]
    assert len(taken) == len(set(taken))
    assert [shard.number for shard in topology.shards] == list(range(SHARDS))
    for shard in topology.shards:
        if shard.slots:
            assert cluster.family[shard.master_id] == shard.number
            assert shard.master == cluster.truth()[shard.master_id].address
    for one, other in pairwise(topology.shards):
        assert not one.nodes & other.nodes


@pytest.mark.parametrize("seed", range(12))
def test_the_newest_claim_wins(seed: int) -> None:
    """However old the views are that come later, and however few: nothing goes back."""
    dice = random.Random(seed)
    cluster, topology, oracle = Cluster(dice), Topology(), Oracle()
    version = topology.version
    for _ in range(40):
        asked = dice.sample(list(cluster.family), dice.choice((1, 1, 2, 5)))
        views = [cluster.view(name) for name in asked]
        before = [(shard.master, list(shard.slots), shard.nodes) for shard in topology.shards]
        changed = topology.see(views)
        oracle.see(views)
        agree(topology, oracle, cluster)
        now = [(shard.master, list(shard.slots), shard.nodes) for shard in topology.shards]
        assert changed == (now != before) == (topology.version != version)
        version = topology.version
        cluster.step()


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_views_says_nothing(seed: int) -> None:
    """Who answers first is chance."""
    dice = random.Random(seed)
    cluster = Cluster(dice)
    one, other = Topology(), Topology()
    for _ in range(20):
        for _ in range(dice.randrange(4)):
            cluster.step()
        views = [cluster.view(name) for name in dice.sample(list(cluster.family), 4)]
        one.see(views)
        dice.shuffle(views)
        other.see(views)
        assert slots_of(one) == slots_of(other)
        assert [shard.nodes for shard in one.shards] == [shard.nodes for shard in other.shards]


def node(name: str, epoch: int, *slots: range, master: str = "") -> NodeView:
    """At an address of its own."""
    return NodeView(name, Address(name, 1), master, epoch, slots)


HALF = SLOTS // 2
LOW, HIGH = range(HALF), range(HALF, SLOTS)


def test_a_master_that_was_cut_off_is_not_followed_back() -> None:
    """It alone answers, and still claims what its replica has since."""
    topology = Topology()
    topology.see([[node("a", 1, LOW), node("b", 2, HIGH), node("r", 1, master="a")]])
    topology.see([[node("a", 1), node("b", 2, HIGH), node("r", 3, LOW)]])
    assert topology.shards[0].master_id == "r"
    assert not topology.see([[node("a", 1, LOW), node("b", 2, HIGH), node("r", 1, master="a")]])
    assert topology.shards[0].master_id == "r"


def test_a_cluster_that_was_made_anew_is_followed() -> None:
    """Its epochs begin at 1 again, and it knows nobody of the one before."""
    topology = Topology()
    topology.see([[node("a", 7, *(LOW, HIGH))]])
    topology.see([[node("x", 1, LOW), node("y", 2, HIGH)]])
    assert slots_of(topology) == {"x": list(LOW), "y": list(HIGH)}


def test_a_former_replica_with_slots_of_its_own_is_another_shard() -> None:
    """It was made a master of none, and then given slots: its shard keeps the number with most."""
    topology = Topology()
    topology.see([[node("a", 1, LOW, HIGH), node("r", 1, master="a")]])
    topology.see([[node("a", 1, LOW, HIGH), node("r", 2)]])
    for cut in (1000, 2000):
        topology.see([[node("a", 1, range(cut, SLOTS)), node("r", 3, range(cut))]])
        assert slots_of(topology) == {"a": list(range(cut, SLOTS)), "r": list(range(cut))}
        assert topology.shards[0].master_id == "a"


def test_a_replica_that_changes_sides_takes_its_new_number() -> None:
    """Promoted there, it is the shard that it copied last."""
    topology = Topology()
    topology.see([[node("a", 1, LOW), node("b", 2, HIGH), node("r", 1, master="a")]])
    topology.see([[node("a", 1, LOW), node("b", 2, HIGH), node("r", 2, master="b")]])
    topology.see([[node("a", 1, LOW), node("b", 2, master="r"), node("r", 3, HIGH)]])
    assert [shard.master_id for shard in topology.shards] == ["a", "r"]


def test_before_anything_was_seen() -> None:
    """One shard has everything, and nobody serves it; a node that has not joined changes nothing."""
    topology = Topology()
    assert not topology.see([[node("a", 0)]])
    assert not topology.see([])
    (shard,) = topology.shards
    assert (list(shard.slots), shard.master) == (list(ALL_SLOTS), None)


def test_shards_are_bounded() -> None:
    """More are not met."""
    topology = Topology()
    topology.see([[node(f"n{n:03}", n + 1, range(n, n + 1)) for n in range(SHARDS_MAX + 5)]])
    assert len(topology.shards) == SHARDS_MAX


NODES = """\
07c3 10.0.0.1:7001@17001,one slave e7d1 0 1426238317239 4 connected
67ed :7002@17002,two master - 0 1426238316232 2 connected 5461-10922 [93-<-e7d1] 16383
e7d1 10.0.0.3:0@17003 myself,master,fail - 0 0 1 connected 0-5460
6ec2 [::1]:7004@17004,,shard-id=9 master,noaddr - 0 0 3 disconnected
"""


@pytest.mark.parametrize("by_name", [False, True])
def test_cluster_nodes_is_read(*, by_name: bool) -> None:
    """Replicas, hosts without a name or without an address, slots on their way, failed nodes."""
    one, two, three, four = parse_nodes(NODES, by_name=by_name)
    assert one.address == Address("one" if by_name else "10.0.0.1", 7001)
    assert (one.master_id, one.slots, one.reachable, one.itself) == ("e7d1", (), True, False)
    assert two.address == Address("two" if by_name else "", 7002)
    assert two.slots == (range(5461, 10923), range(16383, 16384))
    assert (three.itself, three.reachable, three.epoch) == (True, False, 1)
    assert (four.address, four.reachable) == (Address("::1", 7004), False)


@pytest.mark.parametrize("line", ["a b c", f"{'x ' * 7}x 0-16384", f"{'x ' * 7}x 5-4"])
def test_what_is_no_reply_to_cluster_nodes(line: str) -> None:
    """Refused, whatever answers there."""
    with pytest.raises(ValueError, match=r"."):
        parse_nodes(line.replace("x x x x x x x", "a h:1@2 master - 0 0 1"))
