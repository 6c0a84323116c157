"""rooms/subscription.py apart from Redis: what is asked of it while it takes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from echod.rooms.subscription import RedisSubscription
from echod.store.routes import ROUTES

if TYPE_CHECKING:
    from echod.store.redis.link import Link


class Stuck:
    """A connection to a Redis that takes nothing."""

    resets = 0

    def reset(self) -> None:
        """Counted."""
        self.resets += 1


def test_what_is_asked_is_bounded() -> None:
    """Rooms that come and go faster than they are asked for: at twice all rooms it begins anew."""
    subscription = RedisSubscription(cast("Any", None), ROUTES["room"], b"d:1", rooms_max=10)
    stuck = Stuck()
    subscription._link = cast("Link", stuck)  # noqa: SLF001 — as `_connect` leaves it
    subscription.connected = True
    for n in range(1000):
        subscription.subscribe(b"room-%d" % n)
        subscription.unsubscribe(b"room-%d" % n)
        assert len(subscription._asked) <= 21  # noqa: SLF001
    assert stuck.resets == 1
    assert not subscription.connected
