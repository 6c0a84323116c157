"""What lines mean is a conversation's business: `plain.py`'s and `session.py`'s.

    connection ──answer──▶ conversation ──committer, Connection.send──▶ replies

A connection is handed one at its start, and lets it go at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.protocol.errors import Code
    from echod.store.batch import Write


class Conversation:
    """What a connection, or its port, tells it. This one has nothing to say to any of it."""

    __slots__ = ()

    def begin(self) -> None:
        """The connection has begun; nothing was read yet."""

    def answer(self, lines: list[bytes]) -> int:
        """Answer `lines` now or when the store has them; how many of them were taken.

        Those that were not are given again when the connection reads on; until then it must
        have ended, be suspended, or owe enough.
        """
        return len(lines)

    def last_words(self, tail: bytes) -> None:
        """The client has closed its sending side after `tail`, which has no LF."""

    def refuse(self, code: Code, text: str) -> None:
        """What was read ends the connection, with `ERR`."""

    def refused(self, write: Write) -> None:
        """The store has refused a write; the connection is `DOUBTED`."""

    def settled(self) -> None:
        """The client has taken all that it was sent, or something owed was answered."""

    def sweep(self, now_s: float) -> None:
        """Called about once a second, as long as lines are taken."""

    def roll_back(self, concerns: Callable[[int], bool]) -> None:
        """The store has lost data of some slots that it had acknowledged; `concerns` says which."""

    def ask_to_leave(self) -> None:
        """This daemon is leaving."""

    def ended(self) -> None:
        """The connection has ended."""


# A connection's before it begins, and after it has ended.
SILENCE = Conversation()
