"""What a look amounts to: states, rates, percentiles, and what is not known."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from lab.fleet.metrics import Reading, from_text
from lab.top import words
from lab.top.model import TREND_LOOKS, Model, Node, Part, State, View, state_of
from tests.unit.top_pages import copy, daemon, haproxy, info, look, node, runs


def one(name: str, *readings: Reading) -> Node:
    """A Redis that runs and said this."""
    return Node(name, State.UP, readings)


def seen(*looks: tuple[Part, ...]) -> View:
    """The view after looks at these daemons, one at each full second."""
    model = Model()
    for at_s, parts in enumerate(looks):
        view = model.take(look(at_s, *parts))
    return view


@pytest.mark.parametrize(
    "seems,said,state",
    [
        (State.UP, {}, State.UP),
        (State.UP, {"degraded": 1.0}, State.DEGRADED),
        (State.UP, {"draining": 1.0}, State.DRAINING),
        (State.UP, {"draining": 1.0, "degraded": 1.0}, State.DRAINING),
        (State.UP, None, State.SILENT),
        (State.FROZEN, None, State.FROZEN),
        (State.DOWN, None, State.DOWN),
        (State.DOWN, {}, State.DOWN),
    ],
)
def test_the_word_for_a_part(seems: State, said: dict[str, float] | None, state: State) -> None:
    """What is known from outside goes before what it says itself."""
    samples = None if said is None else daemon(0, **said).samples
    assert state_of(seems, samples) is state


def test_the_first_look_has_no_rates() -> None:
    """Gauges are known, what needs two readings is not; and not shown as 0."""
    (row,) = seen((runs("echod1", daemon(0, lines=500, echo=7, session=2, errors=4)),)).daemons

    assert (row["echo"], row["session"], row["waiting"], row["memory_bytes"]) == (7, 2, 3, 4.2e7)
    assert (row["lines"], row["reply_p99_s"], row["batch"], row["errors"], row["cpu"]) == (
        None,
    ) * 5


def test_the_second_look_has_them() -> None:
    """By the readings' times; clients that left are no errors."""
    first = daemon(10, lines=100, fast=50, batches=20, errors=1, left=5, cpu=1.0)
    second = daemon(12, lines=300, fast=150, batches=70, errors=4, left=90, cpu=1.5)
    (row,) = seen((runs("echod1", first),), (runs("echod1", second),)).daemons

    assert (row["lines"], row["errors"], row["cpu"], row["batch"]) == (100, 1.5, 0.25, 4)
    assert row["reply_p50_s"] == pytest.approx(0.001)
    assert row["reply_p99_s"] == pytest.approx(0.001 + 0.009 * 0.98)


def test_two_readings_in_one_look_are_enough() -> None:
    """Prometheus has the last two scrapes; the same ones again change nothing."""
    part = runs("echod1", daemon(10, lines=100), daemon(15, lines=600))
    once, twice = seen((part,)), seen((part,), (part,))

    assert once.daemons[0]["lines"] == twice.daemons[0]["lines"] == 100


@pytest.mark.parametrize("away_as", [State.DOWN, State.FROZEN, State.UP])
def test_who_was_away_begins_anew(away_as: State) -> None:
    """No rate is made across an absence, and none of an absent one."""
    away = Part("echod1", away_as)
    before, after = runs("echod1", daemon(0, lines=9)), runs("echod1", daemon(2, lines=1_000))
    gone = seen((before,), (away,)).daemons[0]
    back = seen((before,), (away,), (after,)).daemons[0]

    assert (gone["lines"], gone["echo"], gone["cpu"]) == (None, None, None)
    assert gone["trend"][-1] == 0
    assert (back["state"], back["lines"]) == (State.UP, None)


def test_the_fleet_is_the_sum() -> None:
    """Percentiles of all lines together, not a mean of percentiles; the dead add nothing."""
    parts = [
        (
            runs("echod1", daemon(at, lines=at * 90, fast=at * 90, echo=3)),
            runs("echod2", daemon(at, lines=at * 10, fast=0, session=4, degraded=1)),
            Part("echod3", State.DOWN),
        )
        for at in (0, 1)
    ]
    everything = seen(*parts).all

    assert (everything["up"], everything["daemons"]) == (2, 3)
    assert (everything["lines"], everything["echo"], everything["session"]) == (100, 3, 4)
    assert everything["reply_p50_s"] is not None
    assert everything["reply_p50_s"] < 0.001
    assert everything["reply_p99_s"] == pytest.approx(0.001 + 0.009 * 0.9)


def test_a_trend_is_as_long_as_its_column() -> None:
    """The newest last; a daemon that is new has a short one."""
    looks = [(runs("echod1", daemon(at, lines=at * at)),) for at in range(2 * TREND_LOOKS)]
    trend = seen(*looks).daemons[0]["trend"]

    assert len(trend) == TREND_LOOKS
    assert list(trend) == sorted(trend)
    assert len(seen(*looks, (runs("other"),)).daemons[0]["trend"]) == 1


def test_haproxy_is_read_by_its_backends() -> None:
    """Both backends of a port; its own pages' clients are none; each daemon's standing."""
    model = Model()
    parts = [runs(name, daemon(0)) for name in ("echod1", "echod2", "echod9")]
    model.take(look(0, *parts))
    second = look(2, *parts)
    page = haproxy(2, connects=10, denied=4)
    view = model.take(type(second)(2, "", second.daemons, runs("haproxy", page), second.nodes))

    row = view.haproxy
    assert (row["echo"], row["session"], row["echo_servers"], row["session_servers"]) == (
        42,
        5,
        2,
        1,
    )
    assert (row["connects"], row["denied"], row["busy"]) == (5, 2, 0.25)
    assert [one["balance"] for one in view.daemons] == ["up", "echo up, session down", None]


def test_redis_is_read_from_info_and_from_the_exporter() -> None:
    """Both ways the same figures; an exporter that has lost its Redis is no Redis."""
    said = info(total_commands_processed=50, used_cpu_sys=1.0, used_cpu_user=2.0, maxmemory=8)
    later = info(total_commands_processed=90, used_cpu_sys=1.5, used_cpu_user=2.5, maxmemory=8)
    part = one("redis", Reading(10, said), Reading(20, later))
    row = Model().take(look(20, nodes=(part,))).redis

    assert (row["state"], row["operations"], row["cpu"], row["memory_bytes_max"]) == (
        State.UP,
        4,
        0.1,
        8,
    )
    assert row["aof_failed"] is False

    failed = one("redis", Reading(0, info(aof_last_write_status="err")))
    assert Model().take(look(0, nodes=(failed,))).redis["aof_failed"] is True
    lost = one("redis", Reading(0, from_text("# TYPE redis_up gauge\nredis_up 0\n")))
    assert Model().take(look(0, nodes=(lost,))).redis["state"] is State.SILENT


def test_parts_that_say_nothing_have_no_figures() -> None:
    """HAProxy and Redis as the daemons: a state, and nothing else."""
    quiet = look(0)
    dead = type(quiet)(0, "", (), Part("haproxy", State.DOWN), (Node("redis", State.FROZEN),))
    view = Model().take(dead)

    assert view.haproxy["state"] is State.DOWN
    assert all(view.haproxy[figure.name] is None for figure in words.HAPROXY)
    assert view.redis["state"] is State.FROZEN
    assert view.all["lines"] is None
    assert words.text(view)


def shard_of(number: int, at_s: float, **fields: object) -> tuple[Node, Node]:
    """A master, and a replica that has what it has."""
    replica = node(f"redis-{number}-1", "replica", at_s, **fields)
    return node(f"redis-{number}-0", "master", at_s, replica, **fields), replica


def away(part: Node, state: State) -> Node:
    """The same node, which says nothing."""
    return dataclasses.replace(part, state=state, readings=())


def test_a_cluster_is_its_nodes_and_all_of_them() -> None:
    """A row each, with what it is in its shard; and the sums."""
    model = Model()
    for at_s in (0, 2):
        fields = {"connected_clients": 3, "total_commands_processed": 10 * at_s}
        nodes = (*shard_of(0, at_s, **fields), *shard_of(1, at_s, **fields))
        view = model.take(look(at_s, nodes=nodes))

    assert [(row["name"], row["shard"], row["role"]) for row in view.nodes] == [
        ("redis-0-0", 0, "master"),
        ("redis-0-1", 0, "replica"),
        ("redis-1-0", 1, "master"),
        ("redis-1-1", 1, "replica"),
    ]
    assert view.nodes[0]["operations"] == 10
    assert (view.redis["operations"], view.redis["clients"]) == (40, 12)
    assert (view.redis["state"], view.redis["where"]) == (
        State.UP,
        "4 of 4 nodes up, 2 of 2 masters",
    )
    assert view.redis["aof_failed"] is False


@pytest.mark.parametrize(
    "said,replication",
    [
        ({"state": "online", "lag": 1}, "in step"),
        ({"state": "online", "lag": 2}, "2 s behind"),
        ({"state": "wait_bgsave", "lag": 0}, "copying"),
        ({"state": "send_bulk", "lag": 9}, "copying"),
        (None, "away"),
    ],
)
def test_a_master_says_what_its_replicas_have(
    said: dict[str, Any] | None, replication: str
) -> None:
    """Of the one that is asked for here; the other one has everything."""
    here, other = (node(f"redis-0-{number}", "replica", 0) for number in (1, 2))
    fields = {"slave9": copy(here, **said)} if said else {}
    master = node("redis-0-0", "master", 0, other, **fields)
    rows = Model().take(look(0, nodes=(master, here, other))).nodes

    assert [words.replication(row) for row in rows] == [
        f"{2 if replication == 'in step' else 1} of 2 in step",
        replication,
        "in step",
    ]


def test_nothing_is_known_of_the_replicas_of_a_master_that_is_silent() -> None:
    """Not even that they are away; nor where no node knows the master."""
    master, replica = shard_of(0, 0)
    unknown = dataclasses.replace(replica, role=None)
    for nodes in (
        (away(master, State.DOWN), replica),
        (away(master, State.UP), replica),
        (away(unknown, State.DOWN), unknown),
    ):
        rows = Model().take(look(0, nodes=nodes)).nodes
        assert [words.replication(row) for row in rows] == ["-", "-"]


@pytest.mark.parametrize(
    "away_ones,state",
    [
        ((), State.UP),
        (("redis-0-1",), State.DEGRADED),
        (("redis-0-0",), State.DEGRADED),
        (("redis-0-0", "redis-1-0"), State.DOWN),
    ],
)
def test_the_state_of_all_nodes(away_ones: tuple[str, ...], state: State) -> None:
    """Up is every node, down is no master: a replica alone serves nobody."""
    nodes = tuple(
        away(part, State.FROZEN) if part.name in away_ones else part
        for part in (*shard_of(0, 0), *shard_of(1, 0))
    )
    assert Model().take(look(0, nodes=nodes)).redis["state"] is state


def test_one_failed_file_is_told() -> None:
    """Among the many that are written."""
    nodes = (*shard_of(0, 0), *shard_of(1, 0, aof_last_write_status="err"))
    assert Model().take(look(0, nodes=nodes)).redis["aof_failed"] is True


def test_text_has_every_node_of_redis() -> None:
    """One line a node, below the daemons'."""
    master, replica = shard_of(0, 0, connected_clients=3)
    text = words.text(Model().take(look(0, nodes=(master, away(replica, State.DOWN)))))
    header, up, down = (line.split() for line in text.splitlines()[5:8])

    assert header == " ".join(words.NODE_TITLES).split()
    assert up[:4] == ["redis-0-0", "up", "0", "master"]
    assert down[:5] == ["redis-0-1", "down", "0", "replica", "-"]
    assert up[-1] == "127.0.0.1:7000"


def test_text_has_every_column_of_every_daemon() -> None:
    """One line a daemon, aligned, and a dash for what is not known."""
    text = words.text(seen((runs("echod1", daemon(0, echo=12_345)), Part("echod2", State.DOWN))))
    header, up, down = text.splitlines()[3:6]

    assert all(title in header for title in words.TITLES)
    assert up.split()[:3] == ["echod1", "up", "12,345"]
    assert down.split()[:2] == ["echod2", "down"]
    assert down.split().count("-") == len(words.TITLES) - 3  # name, state, HAProxy's
    assert "1 of 2 up" in text


def test_json_has_the_fields_by_their_names() -> None:
    """A script reads what the view has."""
    view = seen((runs("echod1", daemon(0, lines=5)),), (runs("echod1", daemon(1, lines=9)),))
    said = json.loads(words.as_json(view))

    assert set(said) == {field.name for field in dataclasses.fields(View)}
    assert (said["daemons"][0]["lines"], said["daemons"][0]["state"]) == (4, "up")
    assert said["haproxy"]["echo"] == 42
