"""What rooms ask of a store, the same of each in stores.py (store/operations.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from echod.protocol.token import Token
from echod.store.base import Lives
from echod.store.batch import NOBODY, Write
from echod.store.keys import (
    NO_SESSION,
    Session,
    generation_key,
    history_key,
    leases_key,
    presence_key,
    stream_key,
)
from echod.store.memory.store import MemoryStore
from echod.store.operations import (
    FENCED,
    Announce,
    Beat,
    Beaten,
    Conflict,
    Drop,
    Enter,
    Find,
    Leases,
    Leave,
    Open,
    Operation,
    Page,
    Post,
    Posted,
    Publish,
    Read,
    Renew,
    Stale,
    Who,
)
from echod.store.redis.operations import RAISE_GENERATION
from echod.store.routes import inbox_channel, inbox_name
from echod.store.slots import slot_of, tag_of
from tests.contract.stores import REDISES, SHARDS, Daemon, Stores

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis as redis_py

MESSAGES_MAX = 100
ROOM_S = 1000
# Redis keeps whole nodes of a stream, of 100 entries unless they are large.
NODE = 100
LIVES = Lives(10 * ROOM_S, 10 * ROOM_S, room_s=ROOM_S, room_messages_max=MESSAGES_MAX)
# On a cluster (stores.py) a sender, a room and the daemon's inbox are on three nodes; the other
# sender and the other room, too, are apart from what they are used with.
ANN, BOB = b"annannanna", b"berthabert"
ROOM, OTHER = b"r", b"elsewhere"
HOME = 2
LEASES = leases_key(HOME)
HERE, ELSEWHERE = inbox_name(HOME, b"d1", b"1"), inbox_name(HOME, b"d2", b"1")


class Subject:
    """A store behind a daemon's committer, whose clock can be put forward, and what it publishes."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.ahead_s = 0.0
        self._published: list[bytes] = []
        self.memory = (
            None
            if stores.nodes
            else MemoryStore(LIVES, self._published.append, lambda: self.ahead_s)
        )
        self.way = Daemon(stores.places(LIVES, self.memory), LIVES)
        channels = [inbox_channel(HERE), b"c:{%b}" % ROOM, b"c:{%b}" % OTHER]
        self._ears = [_Ear(stores.at(channel), channel) for channel in channels if stores.nodes]
        self.sessions = {name: self._open(name) for name in (ANN, BOB)}

    def close(self) -> None:
        """Leave."""
        for ear in self._ears:
            ear.close()
        self.way.stop()

    def _open(self, name: bytes) -> Session:
        token = Token(name, b"k" * 26)
        session = Session(name, (b"inbox", HERE))
        self.way.commit([Write(NOBODY, session, Open(token.digest()))])
        session.own(1)
        return session

    def ask(self, operation: Operation, sender: bytes = ANN) -> object:
        """Its result; None if it was refused."""
        owned = isinstance(operation, (Renew, Drop))
        write = Write(NOBODY, self.sessions[sender] if owned else NO_SESSION, operation)
        return None if self.way.commit([write]) else write.result

    def post(
        self, number: int, text: bytes = b"x", sender: bytes = ANN, room: bytes = ROOM
    ) -> object:
        """`JOIN`, and `SAY`."""
        fence = self.sessions[sender].fence
        assert self.ask(Enter(room, sender, fence))
        return self.say(number, text, sender, fence, room)

    def say(
        self, number: int, text: bytes, sender: bytes, fence: bytes, room: bytes = ROOM
    ) -> object:
        """`SAY` alone; of a post its offset."""
        result = self.ask(Post(room, sender, fence, number, sender + b" " + text))
        return result.offset if isinstance(result, Posted) else result

    def read(self, first: int = 1, most: int = 1000, room: bytes = ROOM) -> Page:
        """A page."""
        page = self.ask(Read(room, first, most))
        assert isinstance(page, Page)
        return page

    def published(self) -> list[bytes]:
        """What was published since the last call."""
        found = [data for ear in self._ears for data in ear.heard()]
        found += self._published
        self._published.clear()
        return found

    def ids_s(self, key: bytes) -> float:
        """How long a sender's ids will still be there; below 0 if they are not."""
        if self.memory is None:
            return self.stores.at(key).pttl(key) / 1000
        ids = self.memory._rooms._ids.get(key)  # noqa: SLF001
        return -1 if ids is None else ids.until_at - self.ahead_s

    def lives_s(self) -> float:
        """How long the room will still be there."""
        key = history_key(ROOM)
        if self.memory is None:
            return self.stores.at(key).ttl(key)
        return self.memory._rooms._rooms[ROOM].until_at - self.ahead_s  # noqa: SLF001

    def age(self, *keys: bytes, left_s: int, ahead_s: int) -> None:
        """Keys have so long to live yet; a store in memory has another clock for that."""
        if self.memory is None:
            for key in keys:
                self.stores.at(key).expire(key, left_s)
        else:
            self.ahead_s = ahead_s


class _Ear:
    """Listens to a channel."""

    def __init__(self, node: redis_py.Redis, channel: bytes) -> None:
        self._node, self._channel = node, channel
        self._pubsub: Any = node.pubsub()  # type: ignore[no-untyped-call] # redis-py leaves it so
        self._pubsub.ssubscribe(channel)
        assert self._pubsub.get_message(timeout=5)

    def heard(self) -> Iterator[bytes]:
        """What was published since the last call; all of it was before this one."""
        self._node.execute_command("SPUBLISH", self._channel, "end")  # type: ignore[no-untyped-call] # as above
        while (got := self._pubsub.get_message(timeout=5)) and got["data"] != b"end":
            yield got["data"]

    def close(self) -> None:
        """Listen no more."""
        self._pubsub.close()


@pytest.fixture
def subject(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    """Each store in turn."""
    it = Subject(stores)
    monkeypatch.setattr(
        "echod.store.redis.operations.time.time", lambda: 1_700_000_000 + it.ahead_s
    )
    yield it
    it.close()


def test_what_is_used_together_is_apart() -> None:
    """Sender, room and inbox are on three nodes of a cluster, or nothing here would see a wrong slot."""
    assert {slot_of(name) % SHARDS for name in (ANN, ROOM, tag_of(HOME))} == {0, 1, 2}
    assert slot_of(BOB) % SHARDS not in {slot_of(ANN) % SHARDS, slot_of(ROOM) % SHARDS}
    assert slot_of(OTHER) % SHARDS not in {slot_of(ANN) % SHARDS, slot_of(ROOM) % SHARDS}


def test_offsets_count_from_one(subject: Subject) -> None:
    """Of all senders together; each post is published with its room's epoch."""
    assert subject.read() == Page(subject.read().epoch, 0, [])
    epoch = subject.read().epoch
    assert [subject.post(5), subject.post(7), subject.post(1, b"\0 \r\xff", BOB)] == [1, 2, 3]
    assert subject.published() == [
        b"m %b 1 r %b x" % (epoch, ANN),
        b"m %b 2 r %b x" % (epoch, ANN),
        b"m %b 3 r %b \0 \r\xff" % (epoch, BOB),
    ]
    messages = [(1, ANN + b" x"), (2, ANN + b" x"), (3, BOB + b" \0 \r\xff")]
    assert subject.read() == Page(epoch, 3, messages)
    assert subject.read(2, 1) == Page(epoch, 3, messages[1:2])
    assert subject.read(4) == Page(epoch, 3, [])


def test_a_room_lives_on_any_shard(subject: Subject) -> None:
    """All that is asked of a room, of one on each: no script touches what is on another's node."""
    fence = subject.sessions[ANN].fence
    by_shard = {slot_of(room) % SHARDS: room for room in (ROOM, b"lobby", OTHER)}
    assert len(by_shard) == SHARDS
    for room in by_shard.values():
        assert subject.ask(Enter(room, ANN, fence)) is True
        assert subject.say(1, b"x", ANN, fence, room) == 1
        assert subject.read(room=room).messages == [(1, ANN + b" x")]
        subject.ask(Announce(room, HERE, 2))
        assert subject.ask(Who(room)) == {HERE: 2}
        subject.ask(Renew(room))
        subject.ask(Leave(room, ANN, fence))
        assert subject.say(2, b"x", ANN, fence, room) is FENCED
        subject.ask(Drop(room))
        assert subject.ids_s(subject.sessions[ANN].ids_key(room)) < 0


def test_an_id_again_is_told_again_and_published_once(subject: Subject) -> None:
    """One of the last 100: its offset. A lower one: the next number. Nothing is published."""
    for number in range(2, 302, 2):
        assert subject.post(number) == number // 2
    subject.published()
    assert subject.post(300) == 150
    assert subject.post(102) == 51
    assert subject.post(100) == Stale(301)
    assert subject.post(201) == Stale(301)
    assert subject.post(1, sender=BOB) == 151
    assert subject.post(300, room=OTHER) == 1
    assert len(subject.published()) == 2


def test_an_id_with_another_text_is_a_conflict(subject: Subject) -> None:
    """It is not posted; with its own text it is told again. Trimmed, it is a lower one (§3)."""
    assert subject.post(1, b"a") == 1
    assert subject.post(1, b"b") == Conflict()
    assert subject.post(1, b"a") == 1
    assert [subject.post(number, b"x") for number in range(2, 102)] == list(range(2, 102))
    assert subject.post(1, b"b") == Stale(102)
    assert subject.post(2, b"b") == Conflict()
    assert subject.read().last == 101


def test_ids_live_with_their_session(subject: Subject) -> None:
    """They are renewed as its record is, and gone when it has ended."""
    key = subject.sessions[ANN].ids_key(ROOM)
    subject.ask(Renew(ROOM))
    subject.post(7)
    assert 0 < subject.ids_s(key) <= LIVES.record_s
    subject.age(key, left_s=1, ahead_s=100)
    subject.ask(Renew(ROOM))
    assert subject.ids_s(key) > LIVES.record_s - 10
    subject.ask(Drop(ROOM))
    subject.ask(Renew(ROOM))
    assert subject.ids_s(key) <= 0
    assert subject.post(7, b"another") == 2


def test_a_room_may_be_read_without_beginning(subject: Subject) -> None:
    """No page then, of one that is not there."""
    assert subject.ask(Read(ROOM, 1, 10, begin=False)) is None
    page = subject.read()
    assert subject.ask(Read(ROOM, 1, 10, begin=False)) == page


def test_the_largest_id(subject: Subject) -> None:
    """All up to 2^53 - 1 are told apart."""
    most = 2**53 - 1
    assert [subject.post(most - 1), subject.post(most), subject.post(most - 1)] == [1, 2, 1]
    assert subject.post(most - 2) == Stale(most + 1)


def test_a_large_text(subject: Subject) -> None:
    """8 KiB of any bytes."""
    text = bytes(set(range(256)) - {10}) * 32
    subject.post(1, text)
    assert subject.read().messages[0] == (1, ANN + b" " + text)
    assert subject.published()[0].endswith(text)


def test_who_has_not_joined_posts_nothing(subject: Subject) -> None:
    """Nor who has left, or whose later owner has joined; an id that is known is told (ADR 22)."""
    early, late, after_loss = b"0:1:aaaaaaaaaa", b"0:10:bbbbbbbbbb", b"1:1:cccccccccc"
    assert subject.say(1, b"x", ANN, early) is FENCED
    assert subject.ask(Enter(ROOM, ANN, early)) is True
    assert subject.say(1, b"x", ANN, early) == 1
    assert subject.ask(Enter(ROOM, ANN, late)) is True
    assert subject.say(2, b"y", ANN, early) is FENCED
    assert subject.say(1, b"x", ANN, early) == 1
    assert subject.ask(Enter(ROOM, ANN, early)) is False
    assert subject.say(2, b"y", ANN, late) == 2
    # Its shard has lost data: epochs are counted anew.
    assert subject.ask(Enter(ROOM, ANN, after_loss)) is True
    assert subject.ask(Enter(ROOM, ANN, late)) is False
    subject.ask(Leave(ROOM, ANN, late))
    assert subject.say(3, b"z", ANN, after_loss) == 3
    subject.ask(Leave(ROOM, ANN, after_loss))
    assert subject.say(4, b"z", ANN, after_loss) is FENCED
    # An earlier owner's JOIN that comes late opens nothing; the last one may come again.
    assert subject.ask(Enter(ROOM, ANN, late)) is False
    assert subject.ask(Enter(ROOM, ANN, after_loss)) is True
    assert subject.read().last == 3
    assert len(subject.published()) == 3


def test_a_hundred_ids_are_kept_beside_the_fence(subject: Subject) -> None:
    """Which they do not push out."""
    fence = subject.sessions[ANN].fence
    for number in range(1, 202):
        assert subject.post(number) == number
    assert subject.say(202, b"x", ANN, fence) == 202
    assert subject.post(103) == 103
    assert subject.post(102) == Stale(203)


def test_a_member_that_said_nothing_leaves_next_to_nothing(subject: Subject) -> None:
    """Whoever goes from room to room does not fill the store: what stays, stays for a moment."""
    session = subject.sessions[ANN]
    subject.ask(Enter(ROOM, ANN, session.fence))
    assert subject.ids_s(session.ids_key(ROOM)) > 0
    subject.ask(Leave(ROOM, ANN, session.fence))
    assert 0 < subject.ids_s(session.ids_key(ROOM)) <= LIVES.tombstone_s


def test_trimmed_by_length(subject: Subject) -> None:
    """At least so many are kept, and few more; offsets go on."""
    for number in range(1, 501):
        subject.post(number)
    page = subject.read()
    assert page.last == 500
    assert MESSAGES_MAX <= len(page.messages) < MESSAGES_MAX + NODE
    offsets = [offset for offset, _ in page.messages]
    assert offsets == list(range(501 - len(offsets), 501))


def test_trimmed_by_age(subject: Subject) -> None:
    """With the posts that follow, messages older than `room_s` go; never a younger one."""
    for number in range(1, 41):
        subject.post(number)
    subject.ahead_s = ROOM_S - 1
    assert subject.post(41) == 41
    assert len(subject.read().messages) == 41
    subject.ahead_s = ROOM_S + 1
    for number in range(42, 46):  # Redis takes a few at a time
        assert subject.post(number) == number
    assert [offset for offset, _ in subject.read().messages] == [41, 42, 43, 44, 45]


def test_a_room_lives_after_its_last_message(subject: Subject) -> None:
    """Unused it is soon gone; a message, or a member where there was one, lengthens its life."""
    subject.read()
    assert subject.lives_s() <= 90
    subject.ask(Announce(ROOM, HERE, 1))
    assert subject.lives_s() <= 90
    subject.post(1)
    assert ROOM_S - 5 <= subject.lives_s() <= ROOM_S


def test_a_member_keeps_a_room(subject: Subject) -> None:
    """An announcement lengthens the life of what was said."""
    subject.post(1)
    subject.age(history_key(ROOM), stream_key(ROOM), left_s=10, ahead_s=ROOM_S - 10)
    subject.ask(Announce(ROOM, HERE, 1))
    assert subject.lives_s() > 10


def test_who_and_announce(subject: Subject) -> None:
    """As last announced; none is nobody."""
    assert subject.ask(Who(ROOM)) == {}
    subject.ask(Announce(ROOM, HERE, 3))
    assert subject.ask(Who(ROOM)) == {HERE: 3}
    subject.ask(Announce(ROOM, HERE, 2))
    assert subject.ask(Who(ROOM)) == {HERE: 2}
    subject.ask(Announce(ROOM, HERE, 0))
    subject.ask(Announce(ROOM, HERE, 0))
    assert subject.ask(Who(ROOM)) == {}


def test_a_beat_is_heard(subject: Subject) -> None:
    """It is written to its inbox, and says whether the lease had held."""
    subject.ask(Beat(HERE, b"b 0 1"))
    assert cast("Beaten", subject.ask(Beat(HERE, b"b 0 2"))).held
    assert subject.published() == [b"b 0 1", b"b 0 2"]


ONLY_REDIS = pytest.mark.parametrize(
    "stores_of_kind", REDISES, indirect=True, ids=lambda kind: kind.id
)
"""A store in one process has one daemon, and no keys."""


@ONLY_REDIS
def test_a_beat_twice_is_no_lease_that_held(subject: Subject) -> None:
    """The first one's answer was lost: the second does not hide that the lease had lapsed."""
    subject.stores.at(LEASES).delete(LEASES)
    assert subject.ask(Beat(HERE, b"b 0 7")) == Beaten(held=False, hearers=1, homes=0, first=b"")
    assert subject.ask(Beat(HERE, b"b 0 7")) == Beaten(held=False, hearers=1, homes=0, first=b"")
    assert subject.ask(Beat(HERE, b"b 0 8")) == Beaten(held=True, hearers=1, homes=0, first=b"")


def test_a_lease_says_who_is_there(subject: Subject) -> None:
    """Of those who have beaten."""
    subject.ask(Beat(HERE, b"b 0 1"))
    assert subject.ask(Leases(HOME)) == {HERE}


@ONLY_REDIS
def test_a_lease_ends(subject: Subject) -> None:
    """Of the dead nothing stays, whoever beats on."""
    subject.ask(Beat(HERE, b"b 0 1"))
    subject.stores.at(LEASES).hset(LEASES, ELSEWHERE, "1000 1 b 0 7")
    assert subject.ask(Leases(HOME)) == {HERE}
    subject.ask(Beat(HERE, b"b 0 2"))
    assert subject.stores.at(LEASES).hkeys(LEASES) == [HERE]
    assert 0 < subject.stores.at(LEASES).pttl(LEASES) <= LIVES.lease_s * 1000


def test_a_store_in_memory_frees_what_has_expired() -> None:
    """Rooms and ids too, when nobody uses any: each batch looks, an idle daemon's as well."""
    subject = Subject(Stores("memory://"))
    store = cast("MemoryStore", subject.memory)
    subject.post(1)
    assert {kind for kind, count in store.kept().items() if count} >= {"room", "ids"}
    subject.ahead_s = max(LIVES.room_s, LIVES.record_s) + LIVES.sweep_s
    store.begin([])
    assert not any(store.kept().values())
    subject.close()


@ONLY_REDIS
def test_a_member_forgets_the_dead(subject: Subject) -> None:
    """Daemons come and go while a room is full: of those that were killed nothing stays."""
    key = presence_key(ROOM)
    for number in range(20):
        subject.stores.at(key).hset(key, f"gone{number}", "5 1000")
    subject.ask(Announce(ROOM, ELSEWHERE, 1))
    subject.ask(Announce(ROOM, HERE, 1))
    assert set(subject.stores.at(key).hkeys(key)) == {HERE, ELSEWHERE}


def test_find(subject: Subject) -> None:
    """The inbox of the daemon where a session is; where nobody listens, nobody is reached."""
    assert subject.ask(Find(BOB)) == HERE
    assert subject.ask(Find(b"zzzzzzzzzz")) is None
    assert subject.ask(Publish(HERE, b"t x")) is True
    assert subject.published() == [b"t x"]
    if subject.stores.nodes:
        assert subject.ask(Publish(ELSEWHERE, b"t x")) is False


@ONLY_REDIS
def test_the_generation_is_part_of_the_epoch(subject: Subject) -> None:
    """Raised, every room has another history, in pages and publications alike."""
    subject.post(1)
    before = subject.read().epoch
    key = generation_key(slot_of(ROOM))
    command = RAISE_GENERATION.command([key], b"0")
    subject.stores.at(key).execute_command(*command)  # type: ignore[no-untyped-call] # redis-py leaves it so
    subject.post(2)
    after = subject.read().epoch
    assert after != before
    assert after.partition(b"-")[2] == before.partition(b"-")[2]
    assert [line.split()[1] for line in subject.published()] == [before, after]


@ONLY_REDIS
def test_an_expired_room_begins_anew(subject: Subject) -> None:
    """With another epoch, at 1; also where only its stream was left behind."""
    subject.post(1)
    subject.post(2)
    before = subject.read().epoch
    key = history_key(ROOM)
    subject.stores.at(key).delete(key)
    assert subject.post(3) == 1
    page = subject.read()
    assert page.epoch != before
    assert page == Page(page.epoch, 1, [(1, ANN + b" x")])
