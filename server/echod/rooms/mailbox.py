"""TELL's way from daemon to daemon, PROTOCOL §3: a letter to an inbox, and its answer.

    address ─▶ published ─▶ the inbox of the daemon where the session is ─▶ receive ─▶ deliver
       answered ◀─ receive ◀─ this daemon's inbox ◀─ published ◀───────────────────────┘

Who waits for an answer has a number; one that does not come in time is "not delivered".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.loop.guard import guarded
from echod.store.keys import NO_SESSION
from echod.store.operations import Publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.loop.clock import Clock
    from echod.store.committer import Committer

# For the other session's daemon to answer (PROTOCOL §3).
ANSWER_S_MAX = 1.0
# How a publication begins: a letter to a session here, or the answer to one of ours.
LETTER, ANSWER = b"t", b"d"


class Mailbox:
    """See the module.

    `inbox` says where an answer reaches this daemon. `deliver` puts a line into the outbox of the
    session so named, if it is here.
    """

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        inbox: Callable[[], bytes],
        deliver: Callable[[bytes, bytes], bool],
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._inbox = inbox
        self._deliver = deliver
        self._number = 0
        self._waiting: dict[int, tuple[float, Callable[[bool], None]]] = {}

    def address(
        self, name: bytes, line: bytes, answered: Callable[[bool], None]
    ) -> tuple[int, bytes]:
        """A letter with `line` for the session of this name; `answered` says whether it has it.

        Returns:
            Its number, for `nobody`; and what is to be published to the daemon's inbox.
        """
        self._number += 1
        self._waiting[self._number] = self._clock.now_s + ANSWER_S_MAX, answered
        return self._number, b"t %b %d %b %b" % (self._inbox(), self._number, name, line)

    def nobody(self, number: int) -> None:
        """The letter has reached no daemon."""
        _, answered = self._waiting.pop(number, (0.0, None))
        if answered is not None:
            answered(False)  # noqa: FBT003 — not delivered

    def receive(self, kind: bytes, rest: bytes) -> None:
        """A publication whose first word is `kind`: `LETTER` or `ANSWER`."""
        if kind == LETTER:
            inbox, number, name, line = rest.split(b" ", 3)
            answer = b"d %b %d" % (number, self._deliver(name, line + b"\n"))
            self._committer.enqueue(NO_SESSION, Publish(inbox, answer))
        elif kind == ANSWER:
            number, _, delivered = rest.partition(b" ")
            _, answered = self._waiting.pop(int(number), (0.0, None))
            if answered is not None:
                answered(delivered == b"1")

    def tick(self) -> None:
        """Those whose answer does not come."""
        now_s = self._clock.now_s
        for number, (until_at, answered) in tuple(self._waiting.items()):
            if now_s >= until_at:
                del self._waiting[number]
                guarded(answered, False)  # noqa: FBT003 — not delivered
