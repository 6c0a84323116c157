"""What all clients of a drill share, and what a client with a session does whatever happens."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from gevent.event import Event

from loadtest.errors import ClientError, RolledBack, SessionLost, WrongReply
from loadtest.room_member import RoomMember
from loadtest.session_client import SessionClient
from loadtest.session_retry import Patience
from loadtest.session_rooms import LedgerRooms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.drill.scenario import Load
    from loadtest.entrances import Entrances
    from loadtest.history import HistoryFile

# A client tries as long as it takes. A connect that is not answered in a second is tried
# anew, elsewhere; so is HELLO (HAProxy finds a frozen daemon within 1.65 s, haproxy.cfg).
CONNECT_S_MAX = 1.0
BACKOFF_S_MAX = 1.0
# A client looks up at least so often.
LOOK_S = 0.25

# Of the lines: most are short, some fill a segment, a few come near `line_bytes_max` (8,192).
LONG_SHARE, LONG_BYTES = 0.01, 2_000
LONGEST_SHARE, LONGEST_BYTES = 0.001, 8_000
MARK_BYTES = 10


@dataclass
class Crowd:
    """What all clients share."""

    session: Entrances
    plain: Entrances
    direct: Sequence[tuple[str, int]]
    load: Load
    history: HistoryFile
    finishing: bool = False
    leaving: Event = field(default_factory=Event)
    served: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)
    """Clients with lines whose fate they don't know."""
    lines: int = 0
    deliveries: int = 0
    """Messages that members got."""

    def next_stage(self) -> None:
        """No more lines; the second time: leave."""
        if self.finishing:
            self.leaving.set()
        self.finishing = True

    def may_send(self) -> bool:
        """Whether there are lines, or messages, left."""
        load = self.load
        for sent, most in ((self.lines, load.lines), (self.deliveries, load.deliveries)):
            if most and sent >= most:
                self.finishing = True
        return not self.finishing

    def note_busy(self, name: str, *, busy: bool) -> None:
        """Whether a client has lines whose fate it does not know."""
        (self.busy.add if busy else self.busy.discard)(name)


class Someone:
    """One of the crowd, with dice of its own, of the load's seed.

    Attributes:
        expected: The drill begins when it is served once.
    """

    expected: ClassVar[bool] = True

    def __init__(self, crowd: Crowd, name: str) -> None:
        self.crowd = crowd
        self.name = name
        self.chance = random.Random(f"{crowd.load.seed} {name}")  # noqa: S311 — no secret

    def run(self) -> None:
        """Until the crowd leaves."""
        raise NotImplementedError

    def some_bytes(self) -> bytes:
        """Without LF, of the load's size on average or a little more; like no other's.

        Not ended by CR, which would belong to the line's end (PROTOCOL §2).
        """
        chance, kind = self.chance, self.chance.random()
        if kind < LONGEST_SHARE:
            size = LONGEST_BYTES
        elif kind < LONGEST_SHARE + LONG_SHARE:
            size = LONG_BYTES
        else:
            usual = max(self.crowd.load.text_bytes, MARK_BYTES)
            size = chance.randint(MARK_BYTES, 2 * usual - MARK_BYTES)
        if kind < 0.5:  # noqa: PLR2004 — half of them look like words
            return chance.randbytes(size // 2).hex().encode()
        return chance.randbytes(size).replace(b"\n", b" ").replace(b"\r", b"\0")


class Client(Someone):
    """Who has a session, and goes on with it, or with another, until the crowd leaves.

    Attributes:
        shared: Others own its session too.
        rooms: It is in them from the beginning.
        patience: How long it waits for what.
        client, member: Its session of the moment, and that one's part in rooms; set by `begin`.
        begun: How many sessions it has had.
    """

    shared: ClassVar[bool] = False
    client: SessionClient
    member: RoomMember

    def __init__(self, crowd: Crowd, name: str, rooms: Sequence[bytes] = ()) -> None:
        super().__init__(crowd, name)
        self.rooms = rooms
        self.entrances = crowd.session
        self.patience = Patience(
            connect_s_max=CONNECT_S_MAX,
            reply_s_max=crowd.load.reply_s_max,
            give_up_s=float("inf"),
            backoff_s_max=BACKOFF_S_MAX,
        )
        self.begun = 0

    def run(self) -> None:
        """Turn after turn, whatever happens."""
        self.begin()
        while not self.crowd.leaving.is_set():
            try:
                self._turn()
            except RolledBack:
                self.client.accept_loss()
            except SessionLost:
                self._lost()
            except WrongReply as error:
                # What has no form that the checker could judge.
                self.crowd.history.record("wrong", c=self.client.name, k=0, text=str(error))
            except ClientError:
                continue  # in the history; calling again goes on
        self._leave()

    def _turn(self) -> None:
        """Send what is due, and take what comes, for a moment."""
        raise NotImplementedError

    def listen(self, wait_s: float) -> None:
        """Take what comes, for so long at most."""
        for happened in self.member.receive(wait_s):
            self._heard(happened)

    def _heard(self, happened: object) -> None:
        """What the server said."""

    def begin(self, token: bytes = b"") -> None:
        """Another session, or that of `token`: under another name, connections count from 1."""
        self.begun += 1
        self.client = self.session(f"{self.name}.{self.begun}", token)
        self.member = RoomMember(self.client, self.chance)
        for room in self.rooms:
            self.member.join(room)

    def session(self, name: str, token: bytes = b"") -> SessionClient:
        """A client of a new session, or of one that may be there."""
        return SessionClient(
            entrances=self.entrances,
            name=name,
            token=token,
            patience=self.patience,
            recorder=self.crowd.history,
            random=self.chance,
            shared=self.shared,
            rooms=LedgerRooms,
        )

    def _lost(self) -> None:
        """Its session is gone."""
        self.client.close()
        self.begin()

    def _leave(self) -> None:
        """The crowd leaves; its session is left to expire."""
        self.client.close()
