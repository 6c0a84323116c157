"""What can be asked of the store beside replacing a state. Pure: names and values.

A write (`batch.Write`) carries one of these, or none: then it replaces its session's
state. Each store carries them out in its own way and says the same things
(tests/contract/test_sessions_store.py); in Redis they are the scripts in lua/.

    FORGET    delete record and state                  a plain connection has ended
    KEEP      let the state live on                    an answer that commits nothing
    RENEW     let the record live on                   once in session_ttl_s
    Open      make record and state                    → Opened or None: the name is taken
    Resume    move the state to a new key              → Opened, RolledBack or None: unknown
    End       delete the state, leave a tombstone      QUIT
    Inquire   who owns it now?                         → whether somebody else

A session that is not, or no longer, this owner's makes the write *refused* (FORGET, Open
and Resume never; they don't need to own it). Each may be carried out twice in a row, as it
is when an answer was lost, and says the same both times.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echod.session import State


class Simple(Enum):
    """The operations that need nothing but their session."""

    FORGET = "forget"
    KEEP = "keep"
    RENEW = "renew"
    END = "end"
    INQUIRE = "inquire"


FORGET, KEEP, RENEW, END, INQUIRE = Simple


@dataclass(frozen=True, slots=True)
class Open:
    """A new session, with no line yet; `digest` is the hash of its secret."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Resume:
    """Take a session over from whoever owns it (PROTOCOL §2.1, DESIGN D3).

    Attributes:
        digest: the hash of the secret that the client showed.
        acked: the highest number it was answered; 0 if it did not say.
    """

    digest: bytes
    acked: int


@dataclass(frozen=True, slots=True)
class Opened:
    """It is this owner's; `epoch` counts the owners from 1."""

    epoch: int
    state: State


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The store holds less than the client was answered; nothing was changed."""

    seq: int


Operation = Simple | Open | Resume
