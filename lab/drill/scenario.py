"""What a drill is: steps at their times, under which load, and what must come of them. Pure.

    Drill ──on(shards)──▶ Drill ──steps──▶ Stage (stage/)
                            └──expects──▶ Outcome (what the histories said) ──▶ Verdict

`drills/` has all of them, `judge/expectations.py` what can be expected; `run.py` plays one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lab.drill.judge.outcome import Expectation
    from lab.drill.stage.base import Stage


# A client's patience, above the daemons' `commit_s_max` (2 s; with a cluster 6 s), so that
# `unavailable` is heard.
REPLY_S_MAX: Final = 2.5
CLUSTER_REPLY_S_MAX: Final = 6.5


@dataclass(frozen=True, slots=True)
class Step:
    """Something done to the stage."""

    at_s: float
    """From the moment at which all clients are served."""
    text: str
    """For the picture and the report."""
    act: Callable[[Stage], object]
    heals: bool = False
    """It undoes a fault, rather than making one."""
    loses: bool = False
    """It may lose data that Redis had acknowledged: of the slots of what it is on."""
    expires: bool = False
    """It may let what lives for a time expire early, and loses nothing else: of those slots."""
    of: str = ""
    """What of the store it is on, as `Stage.names` has it; "" for nothing of it."""
    lasts: bool = True
    """The fault is there until a step heals it."""


@dataclass(frozen=True, slots=True)
class Load:
    """Who is there while it happens. Rates are lines a second, of one client."""

    clients: int = 60
    rate: float = 10.0
    inflight: int = 4
    reply_s_max: float = REPLY_S_MAX
    """Patience of a client; as it is, it is longer with a cluster (`Drill.on`)."""
    claimants: int = 0
    """Pairs that hold one token each, and take their sessions from each other."""
    quitters: int = 0
    """Clients whose sessions end after a few lines, and that begin others."""
    ghosts: int = 2
    """`load/ghosts.py`: they go on asking on connections that they have left."""
    plain: int = 8
    text_bytes: int = 60
    members: int = 0
    """`load/clients.py`: they post in rooms, each in `rooms_each` of `rooms`."""
    rooms: int = 6
    rooms_each: int = 3
    posts_rate: float = 1.0
    """Posts a second of each member, over its rooms."""
    pause_s: float = 0.0
    """So long one member stops reading, from two seconds on; 0: none."""
    factor: float = 0.0
    """The daemons' lives are shortened by it (`lives.py`), and those of `load/guests.py` are there;
    0: neither."""
    seed: int = 0
    """Of its texts and times."""
    lines: int = 0
    """It ends when so many are sent in all; 0: after `Drill.seconds`."""
    deliveries: int = 0
    """As `lines`: when members have got so many messages."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One of the list."""

    name: str
    what: str
    """One sentence."""
    steps: Iterable[Step]
    """In the order of time."""
    seconds: float
    """How long clients send, from the moment at which all are served; inf: the load knows."""
    expects: Sequence[Expectation] = ()
    """Beside `ALWAYS`."""
    links: frozenset[str] = frozenset()
    """Which links are there to be cut: `redis`, `daemon`, `clients`, `node`."""
    load: Load = field(default_factory=Load)
    afterwards: Callable[[Stage], dict[str, Any]] = lambda _: {}
    """What is looked at when all clients have left; into `Outcome.facts`."""
    only_local: str = ""
    """Why it can't be made on containers; empty if it can."""
    differs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Fields that are others where the store is a cluster."""
    needs_shards: bool = False
    """It is about what only a cluster has."""
    preloads: bool = False
    """It gives a node another clock, or other ways to others: a C compiler is needed (`preload`)."""
    only_alone: str = ""
    """Why it can't be made with a cluster; empty if it can."""

    def on(self, shards: int) -> Drill:
        """The drill as it is on a store of so many shards."""
        if shards == 1:
            return self
        drill = replace(self, **self.differs)
        if drill.load.reply_s_max != REPLY_S_MAX:
            return drill
        return replace(drill, load=replace(drill.load, reply_s_max=CLUSTER_REPLY_S_MAX))
