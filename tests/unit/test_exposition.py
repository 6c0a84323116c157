"""What a scrape shows of shards, and what it costs: what does not change is read at the start."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from echod.admin import exposition
from echod.admin.exposition import Registry
from echod.client.terms import Terms
from echod.config import Config
from echod.limits.capacity import Capacity
from echod.limits.sources import Sources
from echod.limits.unsent import Unsent
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.ports.port import PlainPort
from echod.rooms.hub import Hub
from echod.rooms.subscription import LocalSubscription
from echod.store.base import Alone, Lives
from echod.store.committer import Committer
from echod.store.memory.store import MemoryStore
from echod.store.slots import SLOTS
from lab.fleet.metrics import from_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

    from echod.store.base import Place, Places
    from lab.fleet.metrics import Samples


LIVES = Lives(60, 30)


@contextmanager
def exposed(places: Places) -> Iterator[tuple[Registry, Committer]]:
    """What a daemon shows that has these shards, and its committer."""
    config, clock, metrics = Config(), Clock(0.0), Metrics()
    committer = Committer(places, config, LIVES, clock, metrics, on_rollback=lambda _: None)
    capacity = Capacity(10, clock, metrics)
    terms = Terms.of(
        *(config, 30.0),
        clock=clock,
        committer=committer,
        metrics=metrics,
        capacity=capacity,
        sources=Sources(1_000_000),
        unsent=Unsent(1_000_000, 0, lambda shed: shed(), tuple),
    )
    ports = (PlainPort(terms, config),)
    hub = Hub(
        *(config, clock, committer, metrics, (b"here", b"1")),
        subscription=lambda _: LocalSubscription(),
        deliver=lambda _name, _line: False,
        crowded=lambda: False,
    )
    yield Registry(config, metrics, ports, hub, lambda: False), committer
    capacity.files.close()


def test_versions_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in files; a scrape shows them, and reads none, nor asks the settings for limits."""

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    with exposed(Alone(MemoryStore(LIVES))) as (registry, _):
        monkeypatch.setattr(exposition, "version", fail)
        monkeypatch.setattr("platform.python_version", fail)
        monkeypatch.setattr(Config, "limits", fail)
        for _ in range(2):
            page = generate_latest(registry.prometheus).decode()
            assert 'echod_limit{name="connections_max"} 10000.0' in page
            assert 'gevent="' in page


class OneOfTwo(Alone):
    """A shard of a store that has two, with the half of the slots, or with none any more."""

    def __init__(self, number: int, slots: range) -> None:
        super().__init__(MemoryStore(LIVES), f"10.0.0.{number}:6379")
        self.number, self.slots = number, slots
        self.replicas = 2 - number


class Two(Alone):
    """Both."""

    def __init__(self, *shards: OneOfTwo) -> None:
        super().__init__(shards[0].store)
        self._shards = shards

    def all(self) -> Sequence[Place]:
        """See `Places`."""
        return self._shards


def test_a_shard_without_slots_keeps_its_counters_alone() -> None:
    """Nobody shall miss it, or wait for it; what it has counted does not go back."""
    one, two = OneOfTwo(0, range(SLOTS // 2)), OneOfTwo(1, range(SLOTS // 2, SLOTS))
    with exposed(Two(one, two)) as (registry, committer):
        for shard in committer.shards:
            shard.store.connect()
        committer.shards[1].metrics.connections = 3

        def said() -> Samples:
            return from_text(generate_latest(registry.prometheus).decode())

        masters = {"10.0.0.0:6379", "10.0.0.1:6379"}
        assert said().by_label("echod_shard_serves", "master") == dict.fromkeys(masters, 1)
        assert said().by_label("echod_shard_replicas", "shard") == {"0": 2, "1": 1}
        one.slots, two.slots = range(SLOTS), range(0)
        for name in ("serves", "slots", "replicas", "commit_seconds_count"):
            assert set(said().by_label(f"echod_shard_{name}", "shard")) == {"0"}, name
        assert said().get("echod_shard_slots") == SLOTS
        assert said().by_label("echod_store_connections_total", "shard") == {"0": 0, "1": 3}


def test_a_daemon_knows_no_replicas_of_one_redis() -> None:
    """It says nothing of them; all else that is told by shard it tells of its only one."""
    with exposed(Alone(MemoryStore(LIVES), "redis:6379")) as (registry, committer):
        samples = from_text(generate_latest(registry.prometheus).decode())
        assert "echod_shard_replicas" not in samples.by_name
        assert samples.by_label("echod_home_info", "master") == {"redis:6379": 1}
        assert samples.get("echod_shard_serves") == 0
        committer.shards[0].store.connect()
        samples = from_text(generate_latest(registry.prometheus).decode())
        assert samples.get("echod_shard_serves", shard="0") == 1
