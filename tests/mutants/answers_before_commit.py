"""Answers a line before the store has it."""

# ruff: noqa: E402, SLF001 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from typing import TYPE_CHECKING

from echod.__main__ import main
from echod.client.session import SessionConversation

if TYPE_CHECKING:
    from echod.protocol.session import Dialogue
    from echod.store.keys import Session

_owe = SessionConversation._owe


def eager(  # noqa: PLR0913 — as what it replaces
    self: SessionConversation,
    session: Session,
    dialogue: Dialogue,
    reply: bytes,
    lines: int,
    *,
    committed: bool,
) -> None:
    """The reply goes out at once; the store hears of the line all the same."""
    _owe(self, session, dialogue, b"", lines, committed=committed)
    self._connection.send(reply)


SessionConversation._owe = eager  # type: ignore[method-assign]
sys.exit(main())
