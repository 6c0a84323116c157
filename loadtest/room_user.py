"""The rooms' user: posts in a room, and accounts for every message that it gets there.

In the statistics its requests are of type `room`:

    join     in the room: from the first attempt to connect to JOINED
    say      a post committed: from when it was first sent to SAID, a fault in between included
    heard    the same post back at its sender: through Redis, and the daemon's subscription
    rejoin   in the room again on another connection: from when the fault was noticed

What became of the messages of others is not a time: `locust_room_messages_total{fate}` in
`/metrics` counts each by its fate (room_ledger.py). A fate that may not be is a failure of
`ledger`, so that it is red in the page too, and the run's status is 1.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter, deque
from random import SystemRandom
from time import monotonic
from typing import TYPE_CHECKING, Any

from locust import task
from locust.event import EventHook
from locust.exception import StopTest

from loadtest import session_events as events
from loadtest.errors import ClientError, RolledBack, ServerError, SessionLost, WrongReply
from loadtest.load_user import LoadUser
from loadtest.options import DEFAULT_TARGET, session_entrances
from loadtest.room_ledger import BROKEN, Path
from loadtest.room_member import POSTS_IN_FLIGHT_MAX, GivenUp, Post, RoomMember
from loadtest.session_client import SessionClient
from loadtest.session_requests import Join, Say
from loadtest.session_retry import Patience, Resumed
from loadtest.session_rooms import LedgerRooms

if TYPE_CHECKING:
    from locust.env import Environment

logger = logging.getLogger(__name__)

JITTER = SystemRandom()

# Fired with `fates`, a Counter of what is new: exposition.py gathers it from the workers.
FATES: Any = EventHook()  # type: ignore[no-untyped-call]  # Locust's

# Without a post due it looks up at least so often.
LOOK_S = 1.0


class RoomUser(LoadUser):
    """One member of one of `--rooms` rooms, which posts `--posts-per-s`."""

    host = DEFAULT_TARGET
    request_type = "room"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            self.entrances = session_entrances(
                self.host or DEFAULT_TARGET, self.options.session_host
            )
        except ValueError as error:
            raise StopTest(str(error)) from None
        self.patience = Patience(
            reply_s_max=self.options.reply_s_max, give_up_s=self.options.give_up_s
        )
        self.room = b"room%d" % JITTER.randrange(max(1, int(self.options.rooms)))
        self.path = Path()
        self.told: Counter[str] = Counter()  # of the path's counts, what was reported
        self.began_s = monotonic()
        self.due_s = self.began_s + JITTER.uniform(0, 1 / self.options.posts_per_s)
        self.resumed_s = 0.0  # when the fault was noticed of which `rejoin` is told; 0: none
        self.name, self.posts = secrets.token_hex(4).encode(), 0
        self.saying: deque[tuple[Post, float]] = deque()
        self.hearing: dict[int, float] = {}  # offset of a post that has not come back → when said
        self.member: RoomMember | None = None

    def wait_time(self) -> float:
        """Seconds to the next task: it waits in the task itself, where it hears its server."""
        return 0.0

    @task
    def talk(self) -> None:
        """The post that is due, and what happens until the next one is."""
        try:
            member = self.member or self.enter()
            wait_s = LOOK_S
            if member.rooms[self.room].joined and len(self.saying) < POSTS_IN_FLIGHT_MAX:
                wait_s = self.due_s - monotonic()
                if wait_s <= 0:
                    self.post(member)
            for happened in member.receive(max(0.0, min(wait_s, LOOK_S))):
                self.notice(happened)
        except SessionLost as error:
            self.report("rejoin", None, error=error)
            self.begin_again()
        except RolledBack as error:
            self.report("rejoin", None, error=error)
            if self.member is not None:
                self.member.client.accept_loss()
        except ClientError as error:
            self.report("rejoin" if self.path.life else "join", None, error=error)
        self.report_fates()

    def client(self) -> SessionClient:
        """Another session; what comes of rooms is for the ledger to judge."""
        return SessionClient(entrances=self.entrances, patience=self.patience, rooms=LedgerRooms)

    def enter(self) -> RoomMember:
        """Begin a session that is in the room from its first connection on."""
        self.member = RoomMember(self.client())
        self.member.join(self.room)
        return self.member

    def post(self, member: RoomMember) -> None:
        """A message like no other user's."""
        self.posts += 1
        said = member.say(self.room, b"%b:%d" % (self.name, self.posts))
        self.saying.append((said, monotonic()))
        self.due_s += 1 / self.options.posts_per_s

    def notice(self, happened: object) -> None:
        """Enter what came into the ledger; report what has a time."""
        match happened:
            case Resumed(took_s):
                self.resumed_s = monotonic() - took_s
            case events.Joined(_, life, offset, how):
                self.joined(life, offset, how)
            case events.Msg(_, offset):
                self.path.message(offset)
                said_s = self.hearing.pop(offset, 0.0)
                if said_s:
                    self.report("heard", monotonic() - said_s)
            case events.Gap(_, first, last):
                self.path.gap(first, last)
            case events.Said():
                self.said()
            case GivenUp(Say(_, id_)):
                self.given_up(id_)
            case GivenUp(Join()) if self.member is not None:
                error = ServerError("room-unavailable")
                self.report("rejoin" if self.path.life else "join", None, error=error)
                self.member.join(self.room)

    def joined(self, life: bytes, offset: int, how: str) -> None:
        """In the room, for the first time or again."""
        first = self.path.life is None
        self.path.joined(life, offset, how)
        if how == "lost":
            self.hearing.clear()
        if first:
            self.report("join", monotonic() - self.began_s)
        elif self.resumed_s:
            self.report("rejoin", monotonic() - self.resumed_s)
        self.resumed_s = 0.0

    def said(self) -> None:
        """Report the posts that are answered; nearly always it is the first that waits."""
        waiting, self.saying = self.saying, deque()
        for post, since_s in waiting:
            if post.offset is None:
                self.saying.append((post, since_s))
                continue
            self.report("say", monotonic() - since_s, len(post.text))
            if post.offset > self.path.offset:
                self.hearing[post.offset] = since_s
            else:
                self.report("heard", monotonic() - since_s)  # it came before its answer

    def given_up(self, id_: int) -> None:
        """The room was away for too long, or the post was refused again and again."""
        self.saying = deque(one for one in self.saying if one[0].id != id_)
        self.report("say", None, error=ServerError("room-unavailable"))

    def report_fates(self) -> None:
        """Tell what is new in the ledger; what may not be is a failure."""
        if self.path.counts == self.told:
            return
        new = Counter(self.path.counts)
        new.subtract(self.told)
        self.told = Counter(self.path.counts)
        FATES.fire(fates=new)
        for fate in BROKEN:
            if new[fate] > 0:
                self.report("ledger", None, error=WrongReply(fate))

    def begin_again(self) -> None:
        """Another session with the next task; the position stays."""
        if self.member is not None:
            self.member.client.close()
            self.member.move(self.client())
        self.saying.clear()
        self.hearing.clear()

    def on_stop(self) -> None:
        """Locust's call when this user ends, however it does: its session ends with it."""
        self.report_fates()
        if self.member is not None:
            self.member.client.leave()
