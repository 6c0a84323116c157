"""What a drill is: steps at their times, and what must come of them. Pure.

    Drill ──steps──▶ Stage (local_stage, compose_stage)
      └──expects──▶ Outcome (what the histories said) ──▶ Verdict, a sentence with figures

`drills.py` is the list of them, `expectations.py` what can be expected; `run.py` plays one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lab.drill.errors import DrillError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lab.drill.figures import Break, Figures
    from lab.drill.violations import Violation


class CannotError(DrillError):
    """This stage can't make this fault; the text says why."""


class Stage(Protocol):
    """The fleet that a drill breaks. A name is `echod1` …, `redis` or `haproxy`.

    What can't be done on a stage raises `CannotError`.
    """

    @property
    def daemons(self) -> Sequence[str]:
        """Their names."""

    def kill(self, name: str) -> None:
        """SIGKILL."""

    def freeze(self, name: str) -> None:
        """It stands still, and its kernel goes on for it."""

    def thaw(self, name: str) -> None:
        """It goes on."""

    def terminate(self, name: str) -> None:
        """SIGTERM; returns at once."""

    def await_end(self, name: str, end_s_max: float) -> None:
        """Wait until it has ended."""

    def start_again(self, name: str) -> None:
        """A part that has ended comes back, at the same addresses; returns when it is ready."""

    def await_up(self, name: str) -> None:
        """Wait until a daemon is in the balance."""

    def reload(self) -> None:
        """HAProxy begins afresh with the same configuration; connections that are finish."""

    def fill_files(self, name: str) -> None:
        """It can open no more files."""

    def free_files(self, name: str) -> None:
        """It can again."""

    def copy_data(self) -> None:
        """Keep a copy of Redis's data."""

    def lose_data(self, how: str) -> None:
        """While Redis is down: `truncate` its file, `empty` it, or `restore` the copy."""

    def cut(self, link: str, *ways: str) -> None:
        """Let a link stand still: `redis:echod1`, `daemon:echod1` or `clients`."""

    def heal(self, link: str) -> None:
        """It goes on, and what was on the way comes late."""

    def release(self, link: str, way: str) -> None:
        """One direction of it goes on, the other stands still."""

    def reset(self, link: str) -> int:
        """Reset every connection of it, and lose what is on the way; returns how many."""

    def refuse(self, link: str) -> None:
        """Refuse new connections on it until `heal`."""

    def strand(self, link: str) -> None:
        """Reset the near ends; what they have sent comes with `heal`, new connections pass."""

    def half_open(self, link: str, end: str) -> None:
        """Reset one end (`near`: who connected) of every connection; the other hears nothing."""

    def deafen(self, link: str, *, lasting: bool) -> None:
        """A subscription's connection stands still; `lasting`: its successors too, until `heal`."""

    def metric(self, name: str, sample: str) -> float:
        """A sample of a daemon's /metrics, by its name and labels."""

    def keys(self) -> Mapping[str, int]:
        """What the stores keep: keys of Redis by their prefix, `memory:…` by its kinds."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something done to the stage.

    Attributes:
        at_s: When, in seconds from the moment at which all clients are served.
        text: What, for the picture and the report.
        act: Does it.
        heals: It undoes a fault, rather than making one.
        lasts: The fault is there until a step heals it.
        loses: It loses data that Redis had acknowledged.
    """

    at_s: float
    text: str
    act: Callable[[Stage], object]
    heals: bool = False
    loses: bool = False
    lasts: bool = True


@dataclass(frozen=True, slots=True)
class Load:
    """Who is there while it happens. Rates are lines a second, of one client."""

    clients: int = 60
    rate: float = 10.0
    inflight: int = 4
    reply_s_max: float = 2.5
    """Patience of a client: above the daemon's commit_s_max of 2 s, `unavailable` is heard."""
    claimants: int = 0
    """Pairs that hold one token each, and take their sessions from each other."""
    quitters: int = 0
    """Clients whose sessions end after a few lines, and that begin others."""
    ghosts: int = 2
    """`ghosts.py`: they go on asking on connections that they have left."""
    plain: int = 8
    text_bytes: int = 60
    members: int = 0
    """`room_load.py`: they post in rooms, each in `rooms_each` of `rooms`."""
    rooms: int = 6
    rooms_each: int = 3
    posts_rate: float = 1.0
    """Posts a second of each member, over its rooms."""
    pause_s: float = 0.0
    """So long one member stops reading, from two seconds on; 0: none."""
    factor: float = 0.0
    """The daemons' lives are shortened by it (`lives.py`), and those of `soak_load.py` are there;
    0: neither."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A step that was done: begun at `t`, and there at `done`; as the step, for the rest."""

    t: float
    done: float
    text: str
    heals: bool
    loses: bool
    lasts: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known at the end of a drill; times are on the history's clock."""

    began: float
    ended: float
    marks: Sequence[Mark]
    figures: Figures
    violations: Sequence[Violation]
    counts: dict[str, int]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def first_fault(self) -> float:
        """When the first fault was made."""
        return min((mark.t for mark in self.marks if not mark.heals), default=self.began)

    @property
    def breaks(self) -> list[Break]:
        """Those that ended at the first fault or later."""
        return [one for one in self.figures.breaks if not one.closed < self.first_fault]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one expectation."""

    question: str
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Drill:
    """One of the list.

    Attributes:
        name: On the command line.
        what: One sentence.
        steps: In the order of time.
        seconds: How long clients send, from the moment at which all are served.
        expects: Beside `ALWAYS`.
        links: Which links are there to be cut: `redis`, `daemon`, `clients`.
        afterwards: What is looked at when all clients have left; into `Outcome.facts`.
        only_local: Why it can't be made on containers; empty if it can.
    """

    name: str
    what: str
    steps: Iterable[Step]
    seconds: float
    expects: Sequence[Callable[[Outcome], Verdict]] = ()
    links: frozenset[str] = frozenset()
    load: Load = field(default_factory=Load)
    afterwards: Callable[[Stage], dict[str, Any]] = lambda _: {}
    only_local: str = ""
