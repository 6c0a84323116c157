"""What a session is between two lines: how many it has, and the last two of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class State:
    """`seq` lines were committed; the last two of them (ADR 2)."""

    seq: int
    previous: bytes
    last: bytes


EMPTY: Final = State(0, b"", b"")
