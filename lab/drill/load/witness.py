"""Clients of a drill that only witness: what a reply *means* is left to the checker.

`loadtest.session` refuses a line that may not stand where it does, and ends the connection. In
a drill a wrong reply has to be in the history, and the load has to go on: so these accept every
line of the right form, and record it. What has no right form at all is still refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loadtest import session_connection
from loadtest import session_events as events
from loadtest.session import Dialogue
from loadtest.session_requests import Echo

if TYPE_CHECKING:
    from loadtest.session_events import ErrorLine, Event
    from loadtest.session_requests import Hello, Request

_HALF = re.compile(rb"(PREV|ECHO) ([1-9][0-9]{0,18}) (.*)", re.DOTALL)


class Witness(Dialogue):
    """A `Dialogue` that has no opinion on numbers, texts and errors."""

    def _begin_welcome(self, head: Hello, words: tuple[bytes, ...]) -> Event | None:  # noqa: ARG002
        token, epoch, seq, ttl_s = words[0], *map(int, words[1:])
        welcome = events.Welcome(token, epoch, seq, ttl_s, None)
        if not seq:
            return self._opened(welcome)
        self._welcome = welcome
        return None

    def _echo(self, head: Echo, line: bytes) -> Event | None:
        found = _HALF.fullmatch(line)
        if found is None:
            return super()._echo(head, line)  # which says what is wrong with it
        if found[1] == b"PREV":
            self._prev = found[3]
            return None
        answered = events.Answered(int(found[2]), self._prev, found[3])
        self._prev = None
        self._due.popleft()
        return answered

    def _may_refuse(self, head: Request | None, error: ErrorLine) -> bool:
        return isinstance(head, Echo) or super()._may_refuse(head, error)


def install() -> None:
    """Have every client of this process witness, and not judge."""
    session_connection.Dialogue = Witness  # type: ignore[attr-defined]
