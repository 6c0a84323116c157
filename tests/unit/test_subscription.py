"""rooms/subscription.py apart from Redis: what is asked of it while it takes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from echod.rooms.subscription import RedisSubscription

if TYPE_CHECKING:
    from echod.store.redis.link import Link


class Stuck:
    """A connection to a Redis that takes nothing."""

    resets = 0

    def reset(self) -> None:
        """Counted."""
        self.resets += 1


def test_what_is_asked_is_bounded() -> None:
    """Channels that come and go faster than they are asked for: at twice all of them it begins anew."""
    subscription = RedisSubscription(cast("Any", None), channels_max=10)
    stuck = Stuck()
    subscription._link = cast("Link", stuck)  # noqa: SLF001 — as `_connect` leaves it
    subscription.connected = True
    for n in range(1000):
        subscription.subscribe(b"c:{room-%d}" % n)
        subscription.unsubscribe(b"c:{room-%d}" % n)
        assert len(subscription._asked) <= 21  # noqa: SLF001
    assert stuck.resets == 1
    assert not subscription.connected
