"""Lines that a store which is nearly full has no room for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# A line of the article's, and what people type, is always taken.
SMALL_BYTES: Final = 512
# ECHO and its number, on the session port.
VERB_BYTES: Final = 32


def grows(lines: Sequence[bytes], last_bytes: int) -> bool:
    """Whether one of `lines` makes the state larger than the last line, of so many bytes, did.

    While the store is tight such a line is refused, and ends its connection only: the store
    holds two lines of each session, and would be filled by those that send longer ones.
    """
    return max(map(len, lines), default=0) > max(SMALL_BYTES, last_bytes + VERB_BYTES)
