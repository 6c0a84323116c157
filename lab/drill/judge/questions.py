"""Which line of the session port answers which (PROTOCOL §2, §3, §4). Pure."""

from __future__ import annotations

# What answers what. An answer of any kind is one (§2.3).
QUESTION_OF = {
    "answered": "sent",
    "pong": "ping",
    "bye": "quit",
    "joined": "join",
    "said": "say",
    "parted": "part",
    "members": "who",
    "told": "tell",
}
QUESTIONS = frozenset(QUESTION_OF.values())

# §4: the errors that answer one line and leave the connection open.
ANSWERING = frozenset(
    {
        "bad-request",
        "out-of-order",
        "conflict",
        "not-in-room",
        "too-many-rooms",
        "room-unavailable",
    }
)
