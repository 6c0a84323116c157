"""What a soak says of lives, from histories made by hand; and how far lives are shortened."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.config import Config, flag_of, parse
from echod.store.base import Lives
from lab.drill import lives
from lab.drill.judge import violations as rules
from lab.drill.judge.checker import Checker
from lab.drill.judge.expectations import remains
from lab.drill.judge.outcome import Mark
from lab.drill.judge.signs import EXPIRES, SLOW
from lab.drill.run import troubled
from loadtest.room_ledger import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.history import Event

SHORT = lives.shorten()
IDLE_S, LIVES = SHORT.idle_s, SHORT.lives
CLIENT = "Lr-say0.1"


class Story:
    """A history, told from second 100 on."""

    def __init__(self, troubled: Sequence[tuple[float, float]] = ()) -> None:
        self.checker = Checker((), SHORT, troubled)
        self.figures = self.checker.signs
        self.rooms = self.checker.rooms
        self.t = 100.0

    def tell(self, kind: str, after_s: float = 0.0, c: str = CLIENT, **fields: Any) -> Story:  # noqa: ANN401 — JSON
        """Something happens to `c`, so much later than what was told before."""
        self.t += after_s
        event = cast("Event", {"t": self.t, "c": c, "k": 1, "e": kind, **fields})
        self.checker.feed(event)
        return self

    def open(self, c: str = CLIENT, after_s: float = 0.0) -> Story:
        """A new session, named after its client."""
        self.tell("connect", after_s, c).tell("hello", 0, c, name="", acked=None)
        return self.tell("welcome", 0, c, name=name(c), epoch=1, seq=0, text=None)

    def close(self, c: str = CLIENT, after_s: float = 0.0) -> Story:
        """Its connection ends."""
        return self.tell("closed", after_s, c, how="by client")

    def hello(self, after_s: float, c: str = CLIENT) -> Story:
        """Asks for the session that it had."""
        self.tell("connect", after_s, c)
        return self.tell("hello", 0, c, name=name(c), acked=0)

    def sign(self, after_s: float = 0.0, c: str = CLIENT) -> Story:
        """PING and PONG."""
        return self.tell("ping", after_s, c, text="").tell("pong", 0, c, text="")

    def lost(self, after_s: float = 0.0, c: str = CLIENT) -> Story:
        """Hears that there is no such session."""
        return self.tell("error", after_s, c, code="unknown-session", text="")

    def join(
        self,
        room: str = "r-home",
        c: str = CLIENT,
        after_s: float = 0.0,
        **how: Any,  # noqa: ANN401 — as `tell`
    ) -> Story:
        """JOIN and JOINED, of a history `1` unless told otherwise."""
        told = {"life": "1", "offset": 0, "how": "fresh", **how}
        asked = {"life": None, "offset": None}
        if told["how"] != "fresh":
            asked = {"life": how.get("of", "1"), "offset": told["offset"]}
        told.pop("of", None)
        return self.tell("join", after_s, c, room=room, **asked).tell(
            "joined", 0, c, room=room, **told
        )

    @property
    def wrong(self) -> list[str]:
        """The rules that are broken, at the end."""
        self.checker.finish()
        return sorted(self.checker.counts)


def name(client: str) -> str:
    """The public name of a client's session."""
    return f"name-{client}"


# How far lives are shortened.


def test_ten_lives_of_everything_in_two_minutes() -> None:
    """Each of them fits ten times; none is left out; none is longer than without."""
    assert SHORT.soak_s < 110
    assert min(SHORT.soak_s / life_s for life_s in SHORT.named.values()) >= lives.LIVES
    named = set(SHORT.named.values())
    of_lives = {
        getattr(LIVES, field.name)
        for field in dataclasses.fields(Lives)
        if field.name.endswith("_s")
    }
    assert of_lives <= named
    assert all(
        getattr(LIVES, field.name) <= getattr(Lives.of(Config(name="x")), field.name)
        for field in dataclasses.fields(Lives)
        if field.name.endswith("_s")
    )


def test_every_life_is_renewed_often_enough() -> None:
    """As without: what renews it comes at least twice in a life, in the daemon's ticks of 0.1 s."""
    tick_s = 0.1
    assert LIVES.renewal_s + tick_s < LIVES.record_s / 2
    assert 3 * (LIVES.audit_s + tick_s) < LIVES.announcement_s / 2
    assert LIVES.beat_s + tick_s < LIVES.lease_s / 2
    assert SHORT.settings["room_linger_s"] < LIVES.unused_room_s / 2


@given(st.floats(1.0, 60.0))
def test_a_daemon_takes_the_settings(factor: float) -> None:
    """As flags, for any factor; and makes the same lives of them."""
    short = lives.shorten(factor)
    flags = [f"{flag_of(name)}={value}" for name, value in short.settings.items()]
    assert Lives.of(parse(["--name=x", *flags], {})) == short.lives


# Sessions.


def test_in_time_and_served() -> None:
    """Signs of life, an absence shorter than a life, a resume."""
    story = Story().open().sign(IDLE_S / 2).close(after_s=0.1)
    story.hello(LIVES.state_s - 1).tell("welcome", 0, name=name(CLIENT), epoch=2, seq=0, text=None)

    assert story.wrong == []
    assert story.figures.given["r", "say"] == 1
    assert story.figures.times["resumed", "r"] == [pytest.approx(LIVES.state_s - 0.9)]


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_lost(*, used: bool, late: bool) -> None:
    """Before its life is over that is wrong; after it, its own fault, which the checker learns."""
    story = Story().open()
    if used:
        story.sign(0.5)
    life_s = LIVES.state_s if used else LIVES.unused_s
    story.close().hello(life_s + (0.5 if late else -0.5)).lost()

    assert story.wrong == ([] if late else [rules.LOST])
    assert story.figures.excused["say", "unknown-session"] == late
    assert story.checker.counts["lost"] == (not late)


def test_a_sign_counts_from_when_it_was_sent_and_only_if_answered() -> None:
    """What was asked and not answered has perhaps not come."""
    story = Story().open().sign(0.5).tell("ping", LIVES.state_s - 1, text="")
    story.close().hello(2.0).lost()

    assert story.wrong == []
    assert sum(story.figures.excused.values()) == 1


def test_a_slow_reader_is_kept_while_it_asks() -> None:
    """It is not read, so it is not answered: what it sent is enough, as long as it is connected."""
    slow = f"Lm-{SLOW}0.1"
    story = Story().open(slow).sign(0.5, slow)
    for _ in range(20):
        story.tell("ping", IDLE_S / 2, slow, text="")

    assert story.lost(0.1, slow).wrong == [rules.LOST]


@pytest.mark.parametrize("store, wrong", [("r", []), ("m", [rules.LOST])])
def test_a_slow_reader_finds_the_end_late(store: str, wrong: list[str]) -> None:
    """Behind all that was still on its way: its daemon was killed, and nobody kept its session.

    Where none is killed, nobody had a reason not to.
    """
    slow = f"L{store}-{SLOW}0.1"
    story = Story().open(slow).sign(0.5, slow)
    for _ in range(20):
        story.tell("ping", IDLE_S / 2, slow, text="")

    assert story.close(slow).hello(0.1, slow).lost(0.1, slow).wrong == wrong


@pytest.mark.parametrize("late", [True, False])
def test_idle(*, late: bool) -> None:
    """Whoever has sent something in time is not idle."""
    story = Story().open().sign(0.5).sign(IDLE_S + 0.1 if late else IDLE_S / 2)
    story.tell("error", 0.1, code="idle-timeout", text="")

    assert story.wrong == ([] if late else [rules.IDLE])


@pytest.mark.parametrize("ended", [True, False])
def test_back_from_the_dead(*, ended: bool) -> None:
    """What has ended, or is over, is not resumed."""
    story = Story().open().sign(0.5)
    if ended:
        story.tell("quit", 0.1).tell("bye", 0)
    story.close().hello(0.1 if ended else LIVES.state_s + 2)
    story.tell("welcome", 0, name=name(CLIENT), epoch=2, seq=0, text=None)

    assert story.wrong == [rules.ENDED]


def test_what_has_ended_is_unknown() -> None:
    """By QUIT, or by its life, and counted as each."""
    expires = f"Lr-{next(iter(EXPIRES))}0.1"
    story = Story().open().tell("quit", 0.1).tell("bye", 0).close().hello(0.1).lost()
    story.open(expires).sign(0.1, expires).close(expires).hello(LIVES.state_s, expires)
    story.lost(0.5, expires)

    assert story.wrong == []
    assert (story.figures.counts["ended", "r"], story.figures.counts["expired", "r"]) == (1, 1)
    assert not story.figures.excused


def test_an_error_is_no_answer_that_anybody_deserves() -> None:
    """`conflict` for a post that is the same, `not-in-room` for a member, and the like."""
    story = Story().open().tell("say", 0.1, room="r-home", id=1, text="x")
    assert story.tell("error", 0, code="conflict", text="").wrong == [rules.REFUSED]
    assert Story().open().tell("error", 1, code="rolled-back", text="").wrong == [rules.LOST]


# TELL.


def told(story: Story, how: str, after_s: float = 0.0) -> Story:
    """Somebody TELLs `CLIENT`."""
    caller = "Lr-tell0.1"
    story.open(caller, 2.0).tell("tell", 0.1, caller, name=name(CLIENT), text="x")
    return story.tell("told", after_s, caller, name=name(CLIENT), how=how)


def test_absent_though_there() -> None:
    """Connected all the time; not, if it left in that moment, or a fault was there."""
    assert told(Story().open(), "absent").wrong == [rules.ABSENT]
    assert told(Story().open(), "absent").close(after_s=0.2).wrong == []
    assert told(Story([(100.0, 103.0)]).open(), "absent").wrong == []
    assert told(Story().open().close(), "absent").wrong == []
    late = told(Story().open(), "absent", 1.0)
    assert late.wrong == []
    assert late.figures.counts["slow", "r"] == 1


def test_delivered() -> None:
    """To who is there; who has been away for long can't have got it."""
    story = told(Story().open(), "delivered")
    assert (story.wrong, story.figures.counts["told", "r"]) == ([], 1)
    assert told(Story().open().close().tell("connected", 5), "delivered").wrong == [rules.NOBODY]


def test_faults_last_until_they_are_healed() -> None:
    """And a while longer; one that is over when it is made is none."""
    marks = [
        Mark(10, 11, "kill", heals=False, loses=False),
        Mark(20, 21, "start", heals=True, loses=False),
        Mark(30, 40, "roll", heals=False, loses=False, lasts=False),
    ]
    ((since_s, until_s),) = troubled(marks)
    assert since_s == 10
    assert 21 < until_s < 30


# Rooms.


def test_a_quiet_room_lives() -> None:
    """Another history while somebody was in it, or soon after, is wrong; later it is not."""
    other = "Lr-quiet1.1"
    assert Story().open().open(other).join().join(c=other, after_s=60, life="2").wrong == [
        rules.ROOM
    ]
    for after_s, wrong in ((1, [rules.ROOM]), (60, [])):
        story = Story().open().join().close().open(other, after_s)
        assert story.join(c=other, life="2").wrong == wrong


def test_a_room_that_begins_anew_unasked() -> None:
    """Or that says what it misses."""
    lost: dict[str, Any] = {"room": "r-home", "life": "2", "offset": 0, "how": "lost"}
    story = Story().open().join().tell("joined", 1, **lost)
    assert story.wrong == [rules.ANEW]


def test_what_a_member_missed_is_in_the_ledger() -> None:
    """GAP, or JOINED `lost`: declared missing, and a soak declares nothing missing."""
    gap: dict[str, Any] = {"room": "r-home", "first": 1, "last": 2}
    story = Story().open().join().tell("gap", 1, **gap)
    assert story.rooms.ledger.counts[MISSING] == 2
    story = Story().open().join().tell("part", 0, room="r-home").join(how="lost", offset=3)
    assert story.rooms.ledger.counts[MISSING] == 3


def test_known_again() -> None:
    """A post has one place, whenever it is sent again."""
    said: dict[str, Any] = {"room": "r-home", "id": 1, "offset": 7}
    asked: dict[str, Any] = {"room": "r-home", "id": 1, "text": "x"}
    story = Story().open().join()
    for after_s in (0.1, 30.0):
        story.tell("say", after_s, **asked).tell("said", 0, **said)
    assert story.figures.times["repeats", "r"] == [30.0]
    assert story.wrong == []
    story.tell("say", 1, **asked).tell("said", 0, **{**said, "offset": 8})
    assert story.wrong == [rules.TWICE]


@pytest.mark.parametrize("members, wrong", [(2, False), (1, True), (3, True)])
def test_who_counts_where_all_is_calm(members: int, *, wrong: bool) -> None:
    """Right, long after the last one came, and nobody goes right then."""
    other = "Lr-who0.1"
    story = Story().open().join().open(other).join(c=other)
    story.tell("who", LIVES.lease_s + 2, other, room="r-home")
    story.tell("members", 0, other, room="r-home", members=members, daemons=2)

    assert story.wrong == ([rules.COUNT] if wrong else [])
    assert story.figures.counts["counted", "r"] == (not wrong)


@pytest.mark.parametrize("settled_s, leaves_s", [(1.0, 9.0), (LIVES.lease_s + 2, 0.1)])
def test_who_is_not_judged_where_members_come_and_go(settled_s: float, leaves_s: float) -> None:
    """Soon after one has come, or as one goes."""
    other = "Lr-who0.1"
    story = Story().open().join().open(other).join(c=other)
    story.tell("who", settled_s, other, room="r-home")
    story.tell("members", 0, other, room="r-home", members=9, daemons=2)

    assert story.close(after_s=leaves_s).wrong == []


# What is left.


def test_what_may_remain() -> None:
    """The leases, of each daemon a marker, and the slots' generations."""
    well = {"l": 1, "d": 5, "g": 16_384, "memory:room": 0}
    assert remains(well, 5) == {}
    assert remains({**well, "d": 6, "i": 1, "memory:room": 2}, 5) == {
        "d": 6, "i": 1, "memory:room": 2,
    }  # fmt: skip


def test_who_is_there_all_the_time() -> None:
    """Has to answer the roll call; who comes and goes has not."""
    story = Story().open().open("Lr-quit0.1").open("Lr-call0.1")
    story.tell("tell", 1, "Lr-call0.1", name=name(CLIENT), text="x")
    story.tell("told", 0, "Lr-call0.1", name=name(CLIENT), how="delivered")
    assert story.figures.steady == story.figures.present == {"r": {"Lr-say0"}}
