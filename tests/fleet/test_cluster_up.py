"""`fleet up --shards`: daemons on a real cluster, which is broken and mended with the keys."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

from lab.fleet import control
from lab.fleet.control import ControlError
from lab.top import words
from lab.top.model import State
from lab.wait import until
from loadtest.client import PlainClient
from tests.fleet.fleet_process import controlled
from tests.fleet.watch import SEEN_S_MAX, Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.top.model import Row, View
    from tests.fleet.fleet_process import FleetUp

# For a reply while a shard has no master: beyond the daemons' own deadline.
PATIENCE_S = 30.0

# As many as it takes for both daemons to have some.
CLIENTS = 10


@pytest.fixture
def fleet(
    fleet_up: Callable[..., FleetUp],
    programs: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> FleetUp:
    """Two daemons on three shards with a replica each."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    flags = ("--daemons=2", "--no-load", "--shards=3", "--shard-replicas=1")
    return controlled(fleet_up(*flags, env=programs))


def talk_on(fleet: FleetUp, done: threading.Event) -> int:
    """One client until it is done; how many of its lines were answered."""
    with PlainClient(*fleet.address, reply_s_max=PATIENCE_S) as client:
        for number in itertools.count():
            if done.is_set():
                return number
            client.ask(b"line %d\n" % number)
    return 0


def talk(fleet: FleetUp) -> None:
    """Clients, one after the other."""
    for _ in range(CLIENTS):
        with PlainClient(*fleet.address, reply_s_max=PATIENCE_S) as client:
            for number in range(5):
                client.ask(b"line %d\n" % number)


def of(view: View, name: str) -> Row:
    """The row of a node."""
    return next(row for row in view.nodes if row["name"] == name)


def whole(view: View) -> bool:
    """Whether every node is up, and every replica has what its master has."""
    masters = [row for row in view.nodes if row["role"] == "master"]
    return view.redis["state"] is State.UP and all(row["in_step"] == 1 for row in masters)


def test_the_ready_line_has_every_node(fleet: FleetUp) -> None:
    """Its process, address, shard and role; the daemons serve, and the end leaves nothing."""
    redis = fleet.ready["redis"]

    assert redis["url"].startswith("redis+cluster://echod@127.0.0.1:")
    assert [(node["name"], node["shard"], node["role"]) for node in redis["nodes"]] == [
        (f"redis-{shard}-{number}", shard, role)
        for shard in range(3)
        for number, role in enumerate(("master", "replica"))
    ]
    assert {node["pid"] for node in redis["nodes"]} <= {process.pid for process in fleet.below}
    assert all(node["address"] in redis["url"] for node in redis["nodes"])
    assert fleet.says("shard 2, replica")
    talk(fleet)
    assert fleet.end(signal.SIGTERM) == 0


def test_a_node_may_die(fleet: FleetUp) -> None:
    """A master's death is told, its replica has the shard, and it comes back as a replica."""
    watch = Watch()
    watch.until(whole, "the whole cluster")
    talk(fleet)

    os.kill(fleet.pid_of("redis-1-0"), signal.SIGKILL)
    until(lambda: fleet.says("redis-1-0 (pid"), SEEN_S_MAX, "the report of its death")
    view = watch.until(lambda view: of(view, "redis-1-1")["role"] == "master", "the new master")
    row = of(view, "redis-1-0")
    assert (row["state"], row["role"], row["link"]) == (State.DOWN, "replica", "away")
    assert words.replication(of(view, "redis-1-1")) == "0 of 1 in step"
    assert view.redis["state"] is State.DEGRADED
    assert fleet.process.alive
    with pytest.raises(ControlError, match="redis-1-0: it does not run"):
        watch.source.act("freeze", "redis-1-0")
    with pytest.raises(ControlError, match="redis-1-1: shard 1 has no replica that answers"):
        watch.source.act("hand-over", "redis-1-1")

    said = watch.source.act("start", "redis-1-0")
    view = watch.until(whole, "its return")
    assert said == f"redis-1-0: started, {of(view, 'redis-1-0')['where']}"
    assert of(view, "redis-1-0")["role"] == "replica"
    talk(fleet)
    again = control.ask(control.find(), {"do": "look"})["fleet"]["redis"]["nodes"]
    before = fleet.ready["redis"]["nodes"]
    assert [node["address"] for node in again] == [node["address"] for node in before]


def test_a_node_is_frozen_and_a_master_handed_over(fleet: FleetUp) -> None:
    """By the keys' actions: on the master or on the replica that is to have the shard."""
    watch = Watch()
    watch.until(whole, "the whole cluster")

    watch.source.act("freeze", "redis-0-1")
    view = watch.until(lambda view: of(view, "redis-0-1")["link"] == "behind", "the freeze")
    assert of(view, "redis-0-1")["state"] is State.FROZEN
    assert of(view, "redis-0-1")["operations"] is None
    with pytest.raises(ControlError, match="redis-0-1: it is frozen"):
        watch.source.act("hand-over", "redis-0-1")
    watch.source.act("thaw", "redis-0-1")
    watch.until(whole, "the thaw")

    done = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        talks = [pool.submit(talk_on, fleet, done) for _ in range(CLIENTS)]
        try:
            for named, heir in (("redis-0-0", "redis-0-1"), ("redis-0-0", "redis-0-0")):
                said = watch.source.act("hand-over", named)
                assert said == f"{named}: {heir} is the master of shard 0 now"
                view = watch.until(whole, "everybody in step")
                assert of(view, heir)["role"] == "master"
        finally:
            done.set()
    # None was told an error, or given a wrong reply: that would be raised here.
    assert all(talk.result() for talk in talks)
    with pytest.raises(ControlError, match="redis-0-0: only a daemon can be drained"):
        watch.source.act("drain", "redis-0-0")
    assert not [name for name in fleet.left() if name.status() == psutil.STATUS_STOPPED]


def test_without_replicas_daemons_wait_for_none(fleet_up: Callable[..., FleetUp]) -> None:
    """Their default with a cluster is one, which would never acknowledge."""
    fleet = fleet_up("--daemons=1", "--no-load", "--shards=3", "--shard-replicas=0")

    assert {node["role"] for node in fleet.ready["redis"]["nodes"]} == {"master"}
    talk(fleet)
