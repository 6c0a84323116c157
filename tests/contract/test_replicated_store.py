"""`--store-replicas`: acknowledged is on the master and on k replicas, and heard only then (ADR 23)."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis as redis_py

from echod.store.base import Lives, StoreError
from echod.store.batch import NOBODY, Write
from echod.store.keys import NO_SESSION
from echod.store.operations import Enter, Post, Posted, Publish, Read
from echod.store.routes import inbox_channel, inbox_name
from tests.contract.test_store import commit, redis_store, session, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.fleet.redis_server import RedisServer

LIVES = Lives(state_s=60, unused_s=30)
# A batch waits so long for a replica; one that thaws meanwhile is in time.
TIMEOUT_S = 3.0
THAWS_S = 0.8
ANN, FENCE, INBOX = b"annannanna", b"0:1:0123456789", inbox_name(0, b"d", b"1")


class Replicated:
    """A master, its replica, and a store that waits for it."""

    def __init__(self, master: RedisServer, replica: RedisServer) -> None:
        self.master, self.replica = master, replica
        self.thawed = threading.Event()
        self.client = redis_py.Redis.from_url(master.url)
        self.pubsub: Any = self.client.pubsub()  # type: ignore[no-untyped-call] # redis-py leaves it so
        for channel in (b"c:{r}", inbox_channel(INBOX)):
            self.pubsub.ssubscribe(channel)
            assert self.pubsub.get_message(timeout=5)
        self.store = redis_store(master.url, "d", LIVES, TIMEOUT_S, replicas=1)
        self.store.connect()
        self.ask(Enter(b"r", ANN, FENCE))

    def close(self) -> None:
        """Leave."""
        self.thaw()
        self.store.reset()
        self.client.close()

    def freeze(self) -> None:
        """The replica acknowledges nothing."""
        self.replica.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.thawed.set()
        self.replica.process.signal(signal.SIGCONT)

    def thaw_later(self) -> threading.Timer:
        """In `THAWS_S`."""
        timer = threading.Timer(THAWS_S, self.thaw)
        timer.start()
        return timer

    def ask(self, *operations: Any) -> list[object]:  # noqa: ANN401 — any of them
        """Commit them in one batch; their results."""
        writes = [Write(NOBODY, NO_SESSION, operation) for operation in operations]
        assert commit(self.store, writes) == []
        return [write.result for write in writes]

    def again(self) -> None:
        """What the committer does after an error."""
        self.store.reset()
        assert not self.store.connect()

    def heard(self) -> list[bytes]:
        """All that has been published."""
        self.client.execute_command("SPUBLISH", inbox_channel(INBOX), "end")  # type: ignore[no-untyped-call] # redis-py leaves it so
        found: list[bytes] = []
        while (got := self.pubsub.get_message(timeout=5)) and got["data"] != b"end":
            found.append(got["data"])
        return found


@pytest.fixture
def replicated(own_redis: RedisServer, own_replica: RedisServer) -> Iterator[Replicated]:
    """In step, at first."""
    made = Replicated(own_redis, own_replica)
    yield made
    made.close()


def post(number: int, text: bytes = b"x") -> Post:
    """`SAY`."""
    return Post(b"r", ANN, FENCE, number, ANN + b" " + text)


def test_a_batch_waits_for_the_replica(replicated: Replicated) -> None:
    """Acknowledged when it has it; the replica's own word is taken, not the master's."""
    one = session()
    replicated.freeze()
    timer = replicated.thaw_later()
    assert commit(replicated.store, [write(one, 1, b"", b"a\n")]) == []
    assert replicated.thawed.is_set()
    timer.join()
    with redis_py.Redis.from_url(replicated.replica.url) as replica:
        assert replica.exists(one.state_key) == 1


def test_without_the_replica_nothing_is_acknowledged(replicated: Replicated) -> None:
    """In time it is not there: the batch is in doubt, and goes again."""
    one = session()
    replicated.freeze()
    with pytest.raises(StoreError) as caught:
        commit(replicated.store, [write(one, 1, b"", b"a\n")])
    assert caught.value.kind == "replicas"
    replicated.thaw()
    replicated.again()
    assert commit(replicated.store, [write(one, 1, b"", b"a\n")]) == []


def test_only_the_waiting_is_repeated(replicated: Replicated) -> None:
    """A batch that waits is not sent again: a TELL in it would be heard twice."""
    replicated.freeze()
    timer = replicated.thaw_later()
    replicated.ask(Publish(INBOX, b"t x"))
    timer.join()
    assert replicated.heard() == [b"t x"]


def test_a_post_is_heard_when_the_replica_has_it(replicated: Replicated) -> None:
    """Not before; then once, with the next batch, which leaves by itself."""
    (posted,) = replicated.ask(post(1))
    assert isinstance(posted, Posted)
    assert posted.offset == 1
    assert replicated.store.owes
    assert replicated.heard() == []
    replicated.ask()
    assert not replicated.store.owes
    assert replicated.heard() == [posted.message]
    replicated.ask()
    assert replicated.heard() == []


def test_a_post_in_doubt_is_not_heard(replicated: Replicated) -> None:
    """Its master may die with it. Found by its id, once it is on the replica, it is heard."""
    replicated.freeze()
    with pytest.raises(StoreError):
        replicated.ask(post(1))
    assert replicated.heard() == []
    replicated.thaw()
    replicated.again()
    (posted,) = replicated.ask(post(1))
    replicated.ask()
    assert isinstance(posted, Posted)
    assert replicated.heard() == [posted.message]
    page = replicated.ask(Read(b"r", 1, 10))[0]
    assert page is not None


def test_posts_of_a_batch_are_one_publication(replicated: Replicated) -> None:
    """In order, a line each."""
    posts = replicated.ask(post(1, b"a"), post(2, b"b"), post(3, b"c"))
    replicated.ask()
    messages = [posted.message for posted in posts if isinstance(posted, Posted)]
    assert [message.split()[2] for message in messages] == [b"1", b"2", b"3"]
    assert replicated.heard() == [b"\n".join(messages)]


def test_what_was_not_published_is_published_after_a_fault(replicated: Replicated) -> None:
    """The batch that carried the publication broke: it goes again, with the one after."""
    (posted,) = replicated.ask(post(1))
    replicated.freeze()
    with pytest.raises(StoreError):
        replicated.ask()
    replicated.heard()
    replicated.thaw()
    replicated.again()
    replicated.ask()
    assert isinstance(posted, Posted)
    assert posted.message in replicated.heard()


def test_a_marker_that_is_another_batch_s_acknowledges_nothing(replicated: Replicated) -> None:
    """This Redis was demoted while it waited, and handed back: the batch is gone, and WAIT says 1."""
    (marker,) = cast("list[bytes]", replicated.client.keys("d:*"))
    one = session()
    replicated.freeze()
    before = replicated.client.get(marker)

    def back() -> None:
        assert before is not None
        replicated.client.set(marker, cast("bytes", before))
        replicated.thaw()

    timer = threading.Timer(THAWS_S, back)
    timer.start()
    with pytest.raises(StoreError) as caught:
        commit(replicated.store, [write(one, 1, b"", b"a\n")])
    timer.join()
    assert caught.value.kind == "overwritten"
    replicated.again()
    assert commit(replicated.store, [write(one, 1, b"", b"a\n")]) == []
