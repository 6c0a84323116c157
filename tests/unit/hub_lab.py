"""A hub and its members between a store and a subscription that do one thing at a time.

    member ─submit─▶ asked ─execute─▶ carried ─answer─▶ member
                               │ published
                               └▶ stream ─deliver─▶ hub          dropped by `fall`

The committer and the store are the daemon's own; the lab says when a batch is carried out, and
when its answer comes. What a subscription brings, and when, is played here.

Every interleaving that two sockets allow can be played: what is published may arrive before
or after the answer to what was asked together with it. `judge` is PROTOCOL §3 for one member,
written anew.
"""

from __future__ import annotations

import math
import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from echod.client.errand import Answer, Answers, Errand
from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.protocol.rooms import Join, Part
from echod.protocol.token import Token
from echod.rooms.audit import LATE_S
from echod.rooms.hub import Hub
from echod.rooms.member import Member
from echod.store.base import Alone, Lives
from echod.store.batch import NOBODY, Write
from echod.store.committer import Committer
from echod.store.keys import Session
from echod.store.memory.store import MemoryStore
from echod.store.operations import Enter, Open, Post
from echod.store.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.rooms.subscription import Subscriber
    from echod.store.batch import Batcher
    from echod.store.operations import Operation

ROOM = b"r"
LINE = re.compile(
    rb"(?:MSG r (?P<msg>\d+) \S+ (?P<text>\S+)|GAP r (?P<first>\d+) (?P<last>\d+)"
    rb"|JOINED r (?P<epoch>\S+) (?P<offset>\d+) (?P<how>fresh|recovered|lost)|PARTED r"
    rb"|ERR room-unavailable [^\n]*)\n"
)


class Connection:
    """What a member needs of its connection; `slow` while its client takes nothing."""

    def __init__(self, lab: Lab, name: bytes, record: tuple[bytes, ...] = ()) -> None:
        token = Token(name, b"k" * 26)
        self.lab = lab
        self.session = Session(token.name, record)
        lab.store.begin([Write(NOBODY, self.session, Open(token.digest()))])
        self.session.own(1)
        self.session.renew_at = math.inf  # renewals are tests/unit/test_committer.py's
        self.gathering: Write | None = None
        self.gone = self.suspended = self.slow = self.failed = False
        self.sent = b""
        self.unsent = 0
        self.unsent_most = 0
        self._answers: Answers | None = None
        self.member = Member(self, self.session, lab.hub, 10)

    def push(self, data: bytes) -> None:
        """As `SessionConversation.push`."""
        if self.gone:
            return
        self.sent += data
        if self.slow:
            self.unsent += len(data)
            self.unsent_most = max(self.unsent_most, self.unsent)

    def owe(self, reply: bytes) -> None:
        """As `SessionConversation.owe`; whose owner it is, is not asked here."""
        if self._answers is None:
            self.push(reply)
        else:
            self._answers.put(Answer(reply, 1, 0.0))

    def ask(
        self, operation: Operation, then: Callable[[Write | None, Callable[[bytes], None]], None]
    ) -> None:
        """As `SessionConversation.ask`."""
        Errand(self, self.lab.committer, self.session, operation, then)

    def await_answer(self, answer: Answer) -> None:
        """As `Connection.await_answer`."""
        if self._answers is None:
            self._answers = Answers(self.lab.committer.home.sums)
        self._answers.put(answer)

    def answered(self, answer: Answer, reply: bytes) -> None:
        """As `Connection.answered`."""
        if self._answers is not None:
            self._answers.make(answer, reply)
            for known, _ in self._answers.known():
                self.push(known)
            if not self._answers:
                self._answers = None

    def acknowledged(self, write: Write, now_s: float) -> None:
        """As `Connection.acknowledged`."""
        del now_s
        if not self.gone and write.then is not None:
            reply = write.then(write)
            if reply is not None:
                self.owe(reply)

    def suspend(self) -> None:
        """As `SessionConversation.suspend`."""
        self.suspended = True

    def go_on(self) -> None:
        """As `SessionConversation.go_on`."""
        self.suspended = False

    def unavailable(self) -> None:
        """As `Connection.unavailable`."""
        self.failed = True
        self.end()

    def broken(self) -> None:
        """As `Connection.broken`; called in an `except`."""
        raise  # noqa: PLE0704 — whatever it was: the test fails by it

    def unsent_bytes(self) -> int:
        """As `Connection.unsent_bytes`."""
        return self.unsent

    def take(self) -> None:
        """The client takes all it was sent."""
        self.slow, self.unsent = False, 0
        if not self.gone:
            self.member.taken()

    def end(self) -> None:
        """The connection ends."""
        if not self.gone:
            self.gone = True
            self.member.leave()

    def join(self, epoch: bytes = b"", offset: int = 0) -> None:
        """`JOIN`."""
        self.member.handle(Join(ROOM, epoch, offset))

    def part(self) -> None:
        """`PART`."""
        self.member.handle(Part(ROOM))


class Stepwise(Committer):
    """The daemon's committer, of one shard, one step at a time."""

    _missing: list[Write]

    @property
    def batcher(self) -> Batcher:
        """Of its only shard."""
        return self.home._batcher  # noqa: SLF001 — it is stepped by hand

    def execute(self, writes_max: int) -> None:
        """The next batch is carried out, if the answer to the one before has come."""
        if self.batcher.flying or not self.batcher.take(writes_max):
            return
        self.home.store.begin(self.batcher.flying)
        self._missing = self.home.store.finish()

    def answer(self) -> None:
        """The answer to it comes."""
        if self.batcher.flying:
            acknowledged = self.batcher.acknowledge(self._missing)
            self.home._deliver(acknowledged, 0.0)  # noqa: SLF001 — as above


class Lab:
    """See the module; it is the hub's subscription."""

    def __init__(
        self, route: str = "room", messages_max: int = 1000, page_bytes_max: int = 0,
        *, remote: bool = False, **settings: Any,  # noqa: ANN401
    ) -> None:  # fmt: skip
        """With `page_bytes_max` pages are smaller than any outbox allows; `remote`: it beats."""
        self.clock = Clock(0.0)
        self.clock.now_s = 100.0
        self.lives = Lives(60, 60, room_messages_max=messages_max, route=route)
        self.route = ROUTES[route]
        self.store = MemoryStore(self.lives, self._published, lambda: self.clock.now_s)
        self.store.connect()
        self.connected, self.remote, self.made = True, remote, 1
        self.crowded = False
        self.told: list[tuple[bytes, bytes]] = []
        self.resets = 0
        self.heard: set[bytes] = set()
        self.stream: deque[tuple[str, bytes, float]] = deque()
        self.metrics = Metrics()
        if settings.get("store_replicas"):
            settings["store"] = "redis://with-replicas"
        config = Config(name="d", room_route=route, room_linger_s=1.0, **settings)
        self.committer = Stepwise(
            *(Alone(self.store), config, self.lives, self.clock, self.metrics),
            on_rollback=lambda _: None,
        )
        self.hub = Hub(
            *(config, self.clock, self.committer, self.metrics, (b"d", b"1")),
            subscription=lambda _: self,
            deliver=self._deliver,
            crowded=lambda: self.crowded,
        )
        if page_bytes_max:
            self.hub.recoveries.page_bytes_max = page_bytes_max
        self.holes: list[Callable[[], object]] = []
        self.hub.catching_up.later = self._later
        (self.feed,) = self.hub.feeds
        self.posted = 0
        self.poster = Connection(self, b"poster2222")

    @property
    def asked(self) -> list[Write]:
        """What waits for the store."""
        return self.committer.batcher.pending

    @property
    def carried(self) -> list[Write]:
        """What the store has done, and the daemon does not know it yet."""
        return self.committer.batcher.flying

    def _later(self, _: float, call: Callable[..., object], *about: object) -> None:
        self.holes.append(partial(call, *about))

    # As the subscription.

    def start(self, subscriber: Subscriber) -> None:
        """The hub is there already."""

    def stop(self) -> None:
        """Nothing to end."""

    def subscribe(self, channel: bytes) -> None:
        """At once; its confirmation comes in the stream, if it is a room's."""
        if self.connected:
            self.heard.add(channel)
            if self.route.room_of(channel):
                self.stream.append(("confirmed", channel, self.clock.now_s))

    def unsubscribe(self, channel: bytes) -> None:
        """At once."""
        self.heard.discard(channel)

    def reset(self) -> None:
        """Counted."""
        self.resets += 1

    def _deliver(self, name: bytes, line: bytes) -> bool:
        """As the directory: every session is here."""
        self.told.append((name, line))
        return True

    def _published(self, written: bytes) -> None:
        reached = {
            "room": self.route.channel(ROOM) in self.heard,
            "directed": ROOM in self.store._rooms._members,  # noqa: SLF001
        }
        if self.connected and reached.get(self.lives.route, True):
            self.stream.append(("message", written, self.clock.now_s))

    # One thing at a time.

    def execute(self, count: int = 1) -> None:
        """The store carries out so much of what was asked first, if it has nothing to answer."""
        if count:
            self.committer.execute(count)

    def answer(self) -> None:
        """The daemon hears what became of it."""
        self.committer.answer()

    def refuse(self) -> None:
        """It takes too long."""
        if self.asked:
            write = self.asked.pop(0)
            write.client.unavailable()

    def deliver(self, count: int = 1) -> None:
        """The subscription brings what came first."""
        for _ in range(min(count, len(self.stream))):
            kind, value, _ = self.stream.popleft()
            if kind == "message":
                self.feed.receive(value)
            else:
                self.feed.confirmed(value)
        self.feed.flush()

    def overtake(self) -> None:
        """Of two publications that are on their way the later one arrives first."""
        if len(self.stream) > 1 and {kind for kind, _, _ in (*self.stream,)[:2]} == {"message"}:
            first, second, *others = self.stream
            self.stream = deque((second, first, *others))

    def hole_over(self) -> None:
        """What was missing has had its moment."""
        holes, self.holes = self.holes, []
        for read in holes:
            read()

    def fall(self) -> None:
        """The subscription breaks, with all that is on its way."""
        self.connected = False
        self.stream.clear()
        self.heard.clear()
        self.feed.down()

    def rise(self) -> None:
        """It is made anew."""
        self.connected = True
        self.feed.up()
        for channel in self.feed.subscribed():
            self.subscribe(channel)

    def post(self, count: int = 1) -> None:
        """Somebody at another daemon posts, so often."""
        for _ in range(count):
            self.post_text(b"x%d" % (self.posted + 1))

    def post_text(self, text: bytes) -> None:
        """The same, with this text."""
        self.posted += 1
        name, fence = self.poster.session.name, self.poster.session.fence
        enter, post = (
            Enter(ROOM, name, fence),
            Post(ROOM, name, fence, self.posted, name + b" " + text),
        )
        self.store.begin([Write(NOBODY, self.poster.session, asked) for asked in (enter, post)])

    def tick(self, s: float = 0.1) -> None:
        """Time passes; what is published and not lost arrives before it counts as lost."""
        while self.stream and self.clock.now_s + s >= self.stream[0][2] + LATE_S:
            self.deliver()
        self.clock.now_s += s
        self.hub.tick()

    def tick_over(self) -> None:
        """What gathered in a tick (`room_tick_s`) leaves; the loop's timer does not run here."""
        self.hub.delivery.tick_over()

    def settle(self) -> None:
        """Until nothing is under way."""
        for _ in range(10_000):
            if not (self.asked or self.carried or self.stream):
                return
            self.execute()
            self.answer()
            self.deliver()
        raise AssertionError("it never settles")

    def room(self) -> Any:  # noqa: ANN401 — its private kind
        """The store's room."""
        return self.store._rooms._room(ROOM)  # noqa: SLF001

    def client(self, number: int, *record: bytes) -> Connection:
        """Another one; `record` as `Session.record`."""
        return Connection(self, b"client%d222" % (number % 6 + 2), record)


def judge(sent: bytes) -> tuple[bytes, int] | None:
    """Where a member's stream has got to; fails at the first thing that must not be.

    Returns:
        Epoch and offset, or None while it is no member.
    """
    position: tuple[bytes, int] | None = None
    at = 0
    while at < len(sent):
        match = LINE.match(sent, at)
        assert match, sent[at : at + 100]
        at = match.end()
        if match["epoch"]:
            position = match["epoch"], int(match["offset"])
        elif match["msg"]:
            assert position, "a message before JOINED"
            assert int(match["msg"]) == position[1] + 1, (position, match[0])
            position = position[0], int(match["msg"])
        elif match["first"]:
            assert position, "a gap before JOINED"
            assert int(match["first"]) == position[1] + 1, (position, match[0])
            position = position[0], int(match["last"])
        else:
            position = None
    return position
