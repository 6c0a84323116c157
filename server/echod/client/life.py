"""A connection's life: one state, and the table of what changes it. Pure.

A connection has two directions, and each ends by itself: first its client's lines are taken
no more, then its replies are sent no more, then there is no connection. The states stand in
this order, and nothing goes back in it, but among the first three:

                 ┌──────────── lines are taken, or will be ────────────┐
    taken        READING ◀──resume── PAUSED ◀──go on── SUSPENDED
                    └─────pause─────────▲                   ▲
                    └────────────────── suspend ────────────┘
                       │ half-close             │ end
    taken no more  HALF_CLOSED               ENDING         replies that are due are sent
                       └──────────┬─────────────┘
                                  │ doubt       │ abandon
    answered no more           DOUBTED ────▶ ABANDONED      nothing in flight is answered
                                  └──────┬──────┘
    nothing                           CLOSED

READING     The loop watches the socket, and lines are answered as they come.
SUSPENDED   One line takes its time (HELLO, JOIN, TELL). What comes behind it is kept, so that
            replies have the order of the lines.
PAUSED      Nothing is read: the client must take, or the store answer, what is owed.
HALF_CLOSED The client has sent all that it will (a FIN). Its replies are sent, what is
            published is sent with them, and after the last reply the connection is closed.
ENDING      The last line that is taken has been, or the daemon takes no more: the replies
            before it are sent, then a farewell (`BYE`, `ERR`). Nothing unasked comes between.
DOUBTED     The store has refused a write: the session is another owner's, or no more, and it
            is being asked which. Until then nothing is sent, because only an owner answers.
ABANDONED   What is in flight has no known fate, and no answer. What was sent before, and waits
            for the client to take it, is followed by `ERR`.
CLOSED      The socket is somebody else's, or closed.

An event that a state's row does not have changes nothing: it came too late. So the first
reason to end is the one that counts, except that an end which waits for replies becomes an
end without them when they can't come any more.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Life(IntEnum):
    """The states, in the order in which they follow each other; see the module."""

    READING = 0
    SUSPENDED = 1
    PAUSED = 2
    HALF_CLOSED = 3
    ENDING = 4
    DOUBTED = 5
    ABANDONED = 6
    CLOSED = 7


# Names of their own, because looking one up in the class costs more than the comparison.
READING: Final = Life.READING
SUSPENDED: Final = Life.SUSPENDED
PAUSED: Final = Life.PAUSED
HALF_CLOSED: Final = Life.HALF_CLOSED
ENDING: Final = Life.ENDING
DOUBTED: Final = Life.DOUBTED
ABANDONED: Final = Life.ABANDONED
CLOSED: Final = Life.CLOSED


class Event(Enum):
    """What happens to a connection; its value is the table's column: from each state, to which."""

    PAUSE = "something owed must be taken or answered first"
    RESUME = "nothing stands against reading on"
    SUSPEND = "a line takes its time"
    GO_ON = "that line is answered"
    HALF_CLOSE = "the client sends nothing more"
    END = "a line, a deadline or the daemon ends it, after the replies that are due"
    DOUBT = "the store has refused a write"
    ABANDON = "what is in flight will not be answered"
    CLOSE = "the socket is given away"


TABLE: Final[Mapping[Life, Mapping[Event, Life]]] = {
    READING: {
        Event.PAUSE: PAUSED,
        Event.SUSPEND: SUSPENDED,
        Event.HALF_CLOSE: HALF_CLOSED,
        Event.END: ENDING,
        Event.DOUBT: DOUBTED,
        Event.ABANDON: ABANDONED,
        Event.CLOSE: CLOSED,
    },
    SUSPENDED: {
        Event.GO_ON: PAUSED,  # `RESUME` follows, unless something else stands against it
        Event.HALF_CLOSE: HALF_CLOSED,
        Event.END: ENDING,
        Event.DOUBT: DOUBTED,
        Event.ABANDON: ABANDONED,
        Event.CLOSE: CLOSED,
    },
    PAUSED: {
        Event.RESUME: READING,
        Event.END: ENDING,
        Event.DOUBT: DOUBTED,
        Event.ABANDON: ABANDONED,
        Event.CLOSE: CLOSED,
    },
    HALF_CLOSED: {
        Event.DOUBT: DOUBTED,
        Event.ABANDON: ABANDONED,
        Event.CLOSE: CLOSED,
    },
    ENDING: {
        Event.DOUBT: DOUBTED,
        Event.ABANDON: ABANDONED,
        Event.CLOSE: CLOSED,
    },
    DOUBTED: {
        Event.END: ABANDONED,
        Event.ABANDON: ABANDONED,
        Event.CLOSE: CLOSED,
    },
    ABANDONED: {
        Event.CLOSE: CLOSED,
    },
    CLOSED: {},
}


def after(life: Life, event: Event) -> Life:
    """The state after `event`; the same one where it came too late."""
    return TABLE[life].get(event, life)
