"""store/redis/cluster.py: several that ask at the same time."""

from __future__ import annotations

import gevent
import pytest

from echod.store.base import StoreError
from echod.store.redis.cluster import Cluster
from echod.values import store_url


@pytest.mark.parametrize("error", [ValueError("a bug"), gevent.GreenletExit()])
def test_who_waits_hears_that_whoever_asked_has_failed(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """By a bug, or killed: the others ask again, and wait for nobody who has gone."""
    cluster = Cluster(store_url.parse("redis+cluster://nowhere.invalid:1"), 1.0)

    def look() -> None:
        gevent.sleep(0)
        raise error

    monkeypatch.setattr(cluster, "_look", look)
    gevent.spawn(cluster.refresh)
    waits = gevent.spawn(cluster.refresh)
    with pytest.raises(StoreError, match="whoever asked"):
        waits.get(timeout=5)
