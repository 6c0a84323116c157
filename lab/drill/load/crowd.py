"""What all clients of a drill share, and what a client with a session does whatever happens."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from gevent.event import Event

from loadtest.errors import ClientError, RolledBack, SessionLost, WrongReply
from loadtest.session_client import SessionClient
from loadtest.session_retry import Patience
from loadtest.session_rooms import LedgerRooms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.drill.scenario import Load
    from loadtest.history import HistoryFile

# A client tries as long as it takes. A connect that is not answered in a second is tried
# anew, elsewhere; so is HELLO (HAProxy finds a frozen daemon within 1.65 s, haproxy.cfg).
CONNECT_S_MAX = 1.0
BACKOFF_S_MAX = 1.0
# A client looks up at least so often.
LOOK_S = 0.25


@dataclass
class Crowd:
    """What all clients share."""

    session: tuple[str, int]
    plain: tuple[str, int]
    direct: Sequence[tuple[str, int]]
    load: Load
    history: HistoryFile
    chance: random.Random
    lines_max: int = 0
    deliveries_max: int = 0
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
        if self.deliveries_max and self.deliveries >= self.deliveries_max:
            self.finishing = True
        if self.lines_max and self.lines >= self.lines_max:
            self.finishing = True
        return not self.finishing

    def dice(self, name: str) -> random.Random:
        """A client's own, of the crowd's seed."""
        return random.Random(f"{self.chance.random()} {name}")  # noqa: S311 — seeded, and no secret

    def note_busy(self, name: str, *, busy: bool) -> None:
        """Whether a client has lines whose fate it does not know."""
        (self.busy.add if busy else self.busy.discard)(name)


class Client:
    """Who has a session, and goes on with it, or with another, until the crowd leaves.

    Attributes:
        expected: The drill begins when it is served once.
        patience: How long it waits for what.
        client: Its session of the moment, set by `begin`.
    """

    expected: ClassVar[bool] = True

    def __init__(self, crowd: Crowd, name: str) -> None:
        self.crowd = crowd
        self.name = name
        self.chance = crowd.dice(name)
        self.patience = Patience(
            connect_s_max=CONNECT_S_MAX,
            reply_s_max=crowd.load.reply_s_max,
            give_up_s=float("inf"),
            backoff_s_max=BACKOFF_S_MAX,
        )
        self.client: SessionClient

    def run(self) -> None:
        """Until the crowd leaves."""
        self.prepare()
        while not self.crowd.leaving.is_set():
            try:
                self.turn()
            except RolledBack:
                self.client.accept_loss()
            except SessionLost:
                self.lost()
            except WrongReply as error:
                # What has no form that the checker could judge.
                self.crowd.history.record("wrong", c=self.client.name, k=0, text=str(error))
            except ClientError:
                continue  # in the history; calling again goes on
        self.leave()

    def prepare(self) -> None:
        """Before the first turn."""

    def turn(self) -> None:
        """Send what is due, and take what comes, for a moment."""
        raise NotImplementedError

    def begin(self) -> None:
        """Another session, under another name: its connections count from 1 again."""
        raise NotImplementedError

    def lost(self) -> None:
        """Its session is gone."""
        self.client.close()
        self.begin()

    def leave(self) -> None:
        """The crowd leaves; its session is left to expire."""
        self.client.close()

    def connection(
        self,
        name: str,
        token: bytes = b"",
        *,
        address: tuple[str, int] | None = None,
        shared: bool = False,
    ) -> SessionClient:
        """A client, of a new session or of one that may be there; `shared`: others own it too."""
        return SessionClient(
            address or self.crowd.session,
            name=name,
            token=token,
            patience=self.patience,
            recorder=self.crowd.history,
            random=self.chance,
            shared=shared,
            rooms=LedgerRooms,
        )
