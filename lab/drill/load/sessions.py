"""Clients of the session port: at a rate, ending their sessions, or two of one token."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import gevent

from lab.drill.load.crowd import LOOK_S, Client
from lab.drill.load.texts import Texts
from loadtest.session_client import Acknowledged

if TYPE_CHECKING:
    from lab.drill.load.crowd import Crowd

# Who has just lost a session to the other claimant leaves it that for a moment.
CLAIMANTS_BACKOFF_S = 0.6
# A quitter's session has so many lines.
QUIT_LINES = (3, 30)


class Steady(Client):
    """Sends lines at its rate, whatever happens; `quits`: a few lines to each session."""

    def __init__(self, crowd: Crowd, name: str, *, quits: bool = False) -> None:
        super().__init__(crowd, name)
        self._quits = quits
        self._texts = Texts(self.chance, crowd.load.text_bytes)
        self._begun = 0
        self._due_s = 0.0
        self._left = 0
        self.begin()

    def begin(self, token: bytes = b"") -> None:
        """Another session; of a claimant, that of `token`."""
        self._begun += 1
        self._left = self.chance.randint(*QUIT_LINES) if self._quits else 0
        self.client = self.connection(f"{self.name}.{self._begun}", token, shared=True)

    def prepare(self) -> None:
        """No two begin at one moment."""
        self._due_s = time.monotonic() + self.chance.random() / self.crowd.load.rate

    def turn(self) -> None:
        """A line if one is due, and what comes until the next."""
        client, crowd, now_s = self.client, self.crowd, time.monotonic()
        waiting = len(client.memory.waiting)
        if crowd.may_send() and waiting < crowd.load.inflight and now_s >= self._due_s:
            client.send(self._texts.next())
            crowd.lines += 1
            waiting += 1
            # Exponential: independent clients, no beat among them.
            interval_s = self.chance.expovariate(crowd.load.rate)
            self._due_s = max(self._due_s + interval_s, now_s - 1)
            if self._quits:
                self._left -= 1
                if not self._left:
                    client.quit()
                    self.begin()
                    return
        crowd.note_busy(self.name, busy=waiting > 0)
        wait_s = LOOK_S
        if not crowd.finishing and waiting < crowd.load.inflight:
            wait_s = min(wait_s, max(0.0, self._due_s - now_s))
        for happened in client.receive(wait_s):
            if isinstance(happened, Acknowledged):
                crowd.served.add(self.name)


class Claimant(Steady):
    """One of two that hold one token. The second takes the first's when there is one."""

    expected = False

    def __init__(self, crowd: Crowd, name: str, other: Claimant | None = None) -> None:
        self._other = other
        super().__init__(crowd, name)

    def begin(self, token: bytes = b"") -> None:
        """With the other's token, if there is another."""
        self.patience = replace(self.patience, backoff_s_first=CLAIMANTS_BACKOFF_S)
        super().begin(token or (self._other.client.memory.token if self._other else b""))

    def run(self) -> None:
        """As every client, once the other has a token."""
        while self._other and not self._other.client.memory.token:
            if self.crowd.leaving.wait(LOOK_S):
                return
        if self._other:
            self.begin()
        super().run()

    def lost(self) -> None:
        """The first begins another session, which is then the second's too."""
        if self._other:
            gevent.sleep(LOOK_S)
        super().lost()
