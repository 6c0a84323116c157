"""How long to wait before the next attempt: exponential, with full jitter.

Spread over the whole wait, so that thousands who lost the same daemon don't come back
together. Pure: the caller brings the randomness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

# Short enough that one lost daemon costs a client little, since the next is there.
BACKOFF_S_FIRST = 0.2
# Ten thousand clients without a server try 4,000 times a second then: below what HAProxy
# takes from one address.
BACKOFF_S_MAX = 5.0


def backoff_s(
    failures: int, random: Random, *, first_s: float = BACKOFF_S_FIRST, max_s: float = BACKOFF_S_MAX
) -> float:
    """A wait after so many failures in a row (1 or more), in seconds."""
    # 2 ** 30 is far above any maximum, and no power of a week's failures.
    return random.uniform(0, min(max_s, first_s * 2 ** min(failures - 1, 30)))
