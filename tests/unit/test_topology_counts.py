"""What the shards' metrics are made of: failovers, replicas and slots that move, as nodes say them."""

from __future__ import annotations

from echod.store.slots import SLOTS
from echod.store.topology import Topology, parse_nodes

HALF = SLOTS // 2


def line(
    node: str, *slots: str, of: str = "-", epoch: int = 1, flags: str = "", itself: bool = False
) -> str:
    """One of CLUSTER NODES; a replica is `of` its master."""
    role = "master" if of == "-" else "slave"
    words = ",".join(word for word in ("myself" if itself else "", role, flags) if word)
    address = f"10.0.0.1:700{node[1:]}@1700{node[1:]}"
    return " ".join((node, address, words, of, "0", "0", str(epoch), "connected", *slots))


def see(topology: Topology, *views: list[str]) -> None:
    """Let so many nodes say what they say."""
    topology.see([parse_nodes("\n".join(view)) for view in views])


def two_shards(topology: Topology) -> None:
    """Each half of the slots has a master with one replica."""
    nodes = [line("n1", f"0-{HALF - 1}"), line("n2", f"{HALF}-{SLOTS - 1}", epoch=2)]
    see(topology, [*nodes, line("n3", of="n1"), line("n4", of="n2", epoch=2)])


def test_the_first_look_is_no_change() -> None:
    """Nothing has failed over, and nothing has moved, when shards are seen first."""
    topology = Topology()
    two_shards(topology)
    assert [(each.failovers, each.replicas) for each in topology.shards] == [(0, 1), (0, 1)]
    assert topology.slots_moved == topology.slots_moving == 0
    two_shards(topology)
    assert [each.failovers for each in topology.shards] == [0, 0]


def test_another_master_is_a_failover_of_its_shard() -> None:
    """It counts once, however often it is seen; no slot has moved; the dead one is no replica."""
    topology = Topology()
    two_shards(topology)
    for _ in range(2):
        see(
            topology,
            [
                line("n1", flags="fail"),
                line("n3", f"0-{HALF - 1}", epoch=3),
                line("n2", f"{HALF}-{SLOTS - 1}", epoch=2),
                line("n4", of="n2", epoch=2, flags="fail"),
            ],
        )
    assert [(each.failovers, each.replicas) for each in topology.shards] == [(1, 0), (0, 0)]
    assert topology.slots_moved == 0


def test_slots_that_come_to_a_shard_count() -> None:
    """To one that is there, and to a new one, which is no failover."""
    topology = Topology()
    two_shards(topology)
    see(topology, [line("n1", f"10-{HALF}", epoch=4), line("n2", f"{HALF + 1}-{SLOTS - 1}"),
                   line("n5", "0-9", epoch=5)])  # fmt: skip
    assert topology.slots_moved == 1 + 10
    assert [each.failovers for each in topology.shards] == [0, 0, 0]


def test_a_slot_on_its_way_is_one_for_both_its_ends() -> None:
    """It is until neither end says so; who was not asked has changed nothing."""
    topology = Topology()
    one, two = f"0-{HALF - 1}", f"{HALF}-{SLOTS - 1}"
    source = [line("n1", one, "[7->-n2]", "[8->-n2]", itself=True), line("n2", two)]
    target = [line("n1", one), line("n2", two, "[7-<-n1]", itself=True)]
    see(topology, source, target)
    assert topology.slots_moving == 2
    see(topology, target)
    assert topology.slots_moving == 2
    see(topology, [line("n1", one, itself=True), line("n2", two)])
    assert topology.slots_moving == 1
    see(topology, [line("n1", one), line("n2", two, itself=True)])
    assert topology.slots_moving == 0


def test_who_gives_a_slot_up_is_believed() -> None:
    """Of its own accord, whoever has the newer epoch; what others still say of it is not."""
    topology = Topology()
    see(topology, [line("n1", f"0-{SLOTS - 1}", epoch=9, itself=True), line("n2", epoch=3)])
    given = [line("n1", f"0-{HALF}", epoch=9), line("n2", f"{HALF + 1}-{SLOTS - 1}", epoch=3)]
    see(topology, given)
    assert [len(each.slots) for each in topology.shards] == [SLOTS]
    see(topology, [line("n1", f"0-{HALF}", epoch=9, itself=True), given[1]])
    assert [len(each.slots) for each in topology.shards] == [HALF + 1, SLOTS - HALF - 1]
