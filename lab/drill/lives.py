"""All lives shortened by one factor, so that many of each pass in a minute. Pure.

    echod's defaults ──shorten(factor)──▶ settings of daemons ──▶ Lives

What each life is, and what renews it, is `echod.store.base.Lives`; why some are not simply divided,
docs/adr/0014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from echod.config import Config
from echod.store.base import Lives

if TYPE_CHECKING:
    from collections.abc import Mapping

# A session's longest life, of its record, is 450 s: with this it is 10 s, as the tombstone's.
FACTOR: Final = 45.0
# So many of each life have to pass in a soak.
LIVES: Final = 10
# What is brought down to a session's longest life before it is divided …
LONG: Final = ("room_s_max", "marker_s")
# … and what is divided as it is.
DIVIDED: Final = ("session_idle_s_max", "session_ttl_s", "room_linger_s", "announcement_s")


@dataclass(frozen=True, slots=True)
class Short:
    """Lives shortened by a factor."""

    settings: Mapping[str, float]
    """A daemon's, by their names in `Config`; all others stay."""
    idle_s: float
    """The session port's idle time."""
    lives: Lives
    """What a daemon with these settings has its store keep."""

    @property
    def named(self) -> dict[str, float]:
        """Every life, in seconds, by the name that a report has for it."""
        lives = self.lives
        return {
            "connection without a word": self.idle_s,
            "session until its first line": lives.unused_s,
            "session": lives.state_s,
            "record, ids of posts": lives.record_s,
            "tombstone": lives.tombstone_s,
            "room": lives.room_s,
            "room without a message": lives.unused_room_s,
            "announcement": lives.announcement_s,
            "lease": lives.lease_s,
            "marker": lives.marker_s,
        }

    @property
    def longest_s(self) -> float:
        """The longest life of all."""
        return max(self.named.values())

    @property
    def soak_s(self) -> float:
        """How long a soak lasts in which each life passes `LIVES` times."""
        return LIVES * self.longest_s


def shorten(factor: float = FACTOR) -> Short:
    """The defaults of echod, all lives shorter by `factor`.

    Raises:
        echod.config.ConfigError: a daemon can't serve them.
    """
    defaults = Config(name="soak")
    longest_s = Lives.of(defaults).record_s
    settings = {name: getattr(defaults, name) / factor for name in DIVIDED}
    settings |= {name: min(getattr(defaults, name), longest_s) / factor for name in LONG}
    # What only daemons renew stays above the lease.
    least_s = min(defaults.announcement_s, defaults.lease_s)
    settings["announcement_s"] = max(settings["announcement_s"], least_s)
    config = Config(name="soak", **settings)
    return Short(settings, config.session_idle_s_max, Lives.of(config))
