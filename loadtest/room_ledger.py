"""Every message of a room on every path, from its sender to each member: what became of it. Pure.

    JOINED, MSG, GAP ─▶ Path (one member in one room) ─┐
    posts, SAID ───────────────────────────────────────┴─▶ Ledger ──settle──▶ counts, faults

    delivered    once, in its place, as it was posted
    missing      declared: in a GAP, or between a position and its JOINED `lost`
    duplicated   an offset that has come already; a post that stands at two offsets
    reordered    it came after a later one
    altered      another sender or text than was posted, or than others got at that offset
    lost         silently: a later one came, or others have it, and nobody was told

The last four must be 0 (PROTOCOL §3). A `Path` alone sees all but a room's end: what comes
after the last message that a member got leaves no hole in what it saw. The `Ledger` has all
members' paths and every post, so it knows the end too.

Called by `room_user` (paths alone: their memory is bounded) and by the drills' judge (the
ledger of a whole history). tests/unit/test_room_ledger.py has a model of a correct room whose
histories never break a rule, and corrupts them in each way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

DELIVERED, MISSING = "delivered", "missing"
DUPLICATED, REORDERED, ALTERED, LOST = "duplicated", "reordered", "altered", "lost"
FATES: Final = (DELIVERED, MISSING, DUPLICATED, REORDERED, ALTERED, LOST)
BROKEN: Final = (DUPLICATED, REORDERED, ALTERED, LOST)

# Silent holes of one path whose end is remembered, so that what comes late is told from what
# comes twice. One is too many; beyond so many, the oldest stay `lost` for good.
HOLES_MAX: Final = 1_000
# Faults that are kept with their text; all are counted.
FAULTS_MAX: Final = 20


class Path:
    """What one member gets of one room.

    Attributes:
        life: the room's history that it is in; None before it joined.
        offset: the position: everything up to it has its fate.
        counts: how many messages had each fate.
    """

    __slots__ = ("_holes", "counts", "life", "offset")

    def __init__(self, counts: Counter[str] | None = None) -> None:
        self.life: str | bytes | None = None
        self.offset = 0
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._holes: dict[int, None] = {}

    def joined(self, life: str | bytes, offset: int, how: str) -> str | None:
        """JOINED, asked or not; returns a fate that it breaks, or None."""
        before, self.life = self.life, life
        position, self.offset = self.offset, offset
        if how == "fresh" or before is None:
            self._holes.clear()
            return None  # what was before is not owed
        if how == "lost":
            self._holes.clear()
            if life == before and offset > position:
                self.counts[MISSING] += offset - position
            return None  # of another life: who has all posts knows how many (`Ledger`)
        if life == before and offset <= position:
            self.offset = position  # what follows and is known already came twice
            return None
        return self._skip(position, offset) if life == before else None

    def message(self, offset: int) -> str:
        """MSG; its fate."""
        if offset <= self.offset:
            fate = DUPLICATED
            if offset in self._holes:
                del self._holes[offset]
                self.counts[LOST] -= 1
                fate = REORDERED
            self.counts[fate] += 1
            return fate
        lost = self._skip(self.offset, offset - 1)
        self.offset = offset
        self.counts[DELIVERED] += 1
        return lost or DELIVERED

    def gap(self, first: int, last: int) -> str:
        """GAP; the fate of what it tells of."""
        lost = self._skip(self.offset, first - 1)
        told = last - max(first - 1, self.offset)
        self.offset = max(self.offset, last)
        self.counts[MISSING] += max(0, told)
        if told <= 0:
            # It takes back what had come, or was told.
            self.counts[DUPLICATED] += 1
            return DUPLICATED
        return lost or MISSING

    def _skip(self, position: int, last: int) -> str | None:
        """Everything after `position` up to `last` has not come."""
        if last <= position:
            return None
        self.counts[LOST] += last - position
        for offset in range(max(position + 1, last - HOLES_MAX + 1), last + 1):
            self._holes[offset] = None
        while len(self._holes) > HOLES_MAX:
            del self._holes[next(iter(self._holes))]
        return LOST


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks the promise: a fate, on whose path, and in words."""

    fate: str
    member: str
    room: str
    text: str


@dataclass(slots=True)
class _Life:
    """One history of a room, over all members."""

    at: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Offset → sender and digest, as first seen."""
    of: dict[tuple[str, int], int] = field(default_factory=dict)
    """The other way round."""


class Ledger:
    """All members of all rooms; see the module. Feed it in the order of time, then `settle`.

    A member is named as its messages' sender is, by the session's public name. Posts of one
    sender in one room must have texts that differ, or two of them are taken for one. SAID
    does not name its history, so where the store lost data only paths can be judged.

    Attributes:
        counts: how many had each fate, over all paths.
        faults: the first of those that may not be.
        posts: SAYs, each once however often it was repeated.
        said: SAIDs.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.posts = self.said = 0
        self._paths: dict[tuple[str, str], Path] = {}
        self._lives: dict[tuple[str, str], _Life] = {}
        self._texts: dict[tuple[str, str], set[int]] = {}
        self._under: dict[tuple[str, str, int], int] = {}  # of posts that were not answered
        self._left: list[tuple[str, str, int]] = []  # positions in lives that a member was told off

    @property
    def broken(self) -> int:
        """How many messages have a fate that may not be."""
        return sum(self.counts[fate] for fate in BROKEN)

    def position(self, member: str, room: str) -> int:
        """How far a member is; -1 where it is no member."""
        path = self._paths.get((member, room))
        return -1 if path is None else path.offset

    def last(self, room: str) -> int:
        """The highest offset known of a room's latest history; 0 for none."""
        return max(
            (self._last(name, life) for name, life in self._lives if name == room), default=0
        )

    def say(self, member: str, room: str, id_: int, text: str) -> None:
        """A post goes out, for the first time or again."""
        texts = self._texts.setdefault((member, room), set())
        digest = hash(text)
        self.posts += digest not in texts
        texts.add(digest)
        self._under[member, room, id_] = digest

    def answered(self, member: str, room: str, id_: int, offset: int) -> None:
        """SAID: the post stands at `offset`, in the history that its sender is in."""
        self.said += 1
        path = self._paths.get((member, room))
        digest = self._under.pop((member, room, id_), None)
        if path is None or digest is None:
            text = f"SAID {id_} {offset} answers nothing that was asked"
            self._break(ALTERED, member, room, text)
        elif fate := self._place(room, str(path.life), offset, (member, digest)):
            text = f"its post {id_} is said to stand at {offset}, and does not, or also elsewhere"
            self._break(fate, member, room, text)

    def joined(self, member: str, room: str, life: str, offset: int, how: str) -> None:
        """JOINED, asked or not."""
        path = self._paths.get((member, room))
        if path is None:
            path = self._paths[member, room] = Path(self.counts)
        elif path.life != life and how == "lost":
            self._left.append((room, str(path.life), path.offset))
        self._lives.setdefault((room, life), _Life())
        position = path.offset
        if fate := path.joined(life, offset, how):
            text = f"JOINED {how} at {offset}, and it was at {position}"
            self._break(fate, member, room, text, counted=True)

    def message(self, member: str, room: str, offset: int, sender: str, text: str) -> None:
        """MSG."""
        path = self._paths.get((member, room))
        if path is None:
            self._break(ALTERED, member, room, f"MSG {offset}, and it is not in the room")
            return
        position, key = path.offset, (sender, hash(text))
        fate = path.message(offset)
        if fate in BROKEN:
            self._break(fate, member, room, f"MSG {offset} after {position}", counted=True)
        wrong = self._place(room, str(path.life), offset, key)
        texts = self._texts.get((sender, room))
        if texts is not None and key[1] not in texts:
            wrong = ALTERED
        if wrong is not None and fate in (DELIVERED, LOST):
            self.counts[DELIVERED] -= 1
            self._break(wrong, member, room, f"MSG {offset} of {sender}: {text[:60]!r}")

    def gap(self, member: str, room: str, first: int, last: int) -> None:
        """GAP."""
        path = self._paths.get((member, room))
        if path is None:
            self._break(ALTERED, member, room, f"GAP {first} {last}, and it is not in the room")
            return
        position, fate = path.offset, path.gap(first, last)
        if fate in BROKEN:
            self._break(fate, member, room, f"GAP {first} {last} after {position}", counted=True)

    def parted(self, member: str, room: str) -> None:
        """PARTED, or a session that ended: nothing more is owed."""
        self._paths.pop((member, room), None)

    def settle(self) -> Counter[str]:
        """At the end, all is quiet and everybody back: what has not come now was lost."""
        for (member, room), path in self._paths.items():
            owed = self._last(room, str(path.life)) - path.offset
            if owed > 0:
                text = f"{owed} messages after {path.offset} never came, and nobody said so"
                self._break(LOST, member, room, text, owed)
                path.offset += owed
        for room, life, offset in self._left:
            self.counts[MISSING] += max(0, self._last(room, life) - offset)
        self._left.clear()
        return self.counts

    def _last(self, room: str, life: str) -> int:
        return max(self._lives[room, life].at, default=0)

    def _place(self, room: str, life: str, offset: int, key: tuple[str, int]) -> str | None:
        """Hold what stands at an offset to what others saw; the fate that it breaks."""
        lived = self._lives.setdefault((room, life), _Life())
        if lived.at.setdefault(offset, key) != key:
            return ALTERED
        return DUPLICATED if lived.of.setdefault(key, offset) != offset else None

    def _break(  # noqa: PLR0913 — a fault's parts, and how it counts
        self, fate: str, member: str, room: str, text: str, count: int = 1, *, counted: bool = False
    ) -> None:
        if not counted:
            self.counts[fate] += count
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(fate, member, room, text))
