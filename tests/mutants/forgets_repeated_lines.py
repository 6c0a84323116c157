"""Does not know its last line again when it is repeated."""

# ruff: noqa: E402, SLF001 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from echod.__main__ import main
from echod.protocol.errors import Code
from echod.protocol.session import Dialogue
from echod.protocol.words import Refusal

_echo = Dialogue._echo


def forgetful(self: Dialogue, line: bytes, parts: list[bytes]) -> bool:
    """A line that is not the next one is out of order, whatever its number."""
    if line.split(b" ", 2)[1] == b"%d" % self.seq:
        parts.append(Refusal(Code.OUT_OF_ORDER, str(self.seq + 1)).line())
        return False
    return _echo(self, line, parts)


Dialogue._echo = forgetful  # type: ignore[method-assign]
sys.exit(main())
