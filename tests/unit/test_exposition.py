"""What a scrape costs: what does not change is read at the start."""

from __future__ import annotations

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

if TYPE_CHECKING:
    import pytest


LIVES = Lives(60, 30)


def test_versions_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in files; a scrape shows them, and reads none, nor asks the settings for limits."""
    config, clock, metrics = Config(), Clock(0.0), Metrics()
    committer = Committer(
        Alone(MemoryStore(LIVES)), config, LIVES, clock, metrics, on_rollback=lambda _: None
    )
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
    registry = Registry(config, metrics, ports, hub, lambda: False)

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(exposition, "version", fail)
    monkeypatch.setattr("platform.python_version", fail)
    monkeypatch.setattr(Config, "limits", fail)
    for _ in range(2):
        page = generate_latest(registry.prometheus).decode()
        assert 'echod_limit{name="connections_max"} 10000.0' in page
        assert 'gevent="' in page
    capacity.files.close()
