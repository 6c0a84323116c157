"""What a member in rooms needs of its connection; `client/session.py` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.batch import Write
    from echod.store.operations import Operation


class Connection(Protocol):
    """The client's side of a membership. Every line of the client has one answer.

    It comes from `owe`, or from what `ask` handed to its `then`.
    """

    @property
    def gone(self) -> bool:
        """It has ended, or is about to: nothing more of it is answered."""

    def owe(self, reply: bytes) -> None:
        """Answer a line once the store has confirmed the session's owner."""

    def ask(
        self, operation: Operation, then: Callable[[Write | None, Callable[[bytes], None]], None]
    ) -> None:
        """Have the store carry out `operation`, about another key than the session's (ADR 22).

        `then` gets its write (None: not acknowledged in time) and what sends the line's answer,
        now or later. It is called once the session's owner is confirmed.
        """

    def suspend(self) -> None:
        """Read nothing more before this line is answered."""

    def go_on(self) -> None:
        """Read on: the line is answered, or its answer is owed."""

    def push(self, data: bytes) -> None:
        """Send whole lines, unasked."""

    def unavailable(self) -> None:
        """The line can't be answered in time: end with `ERR unavailable`."""

    def unsent_bytes(self) -> int:
        """What the client has still to take."""
