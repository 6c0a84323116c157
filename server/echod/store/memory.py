"""A store in this process: for a daemon alone, and what the contract suite compares with.

It forgets everything with the process, so `commit` means no more here than that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from echod.session import encode_state
from echod.store.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.store.batch import Write

# An expired key is noticed when it is asked for; a sweep so often frees the others.
SWEEP_S = 10.0


class MemoryStore:
    """The keys of `session.py` in a dictionary, each with its end."""

    def __init__(
        self, ttl_s: int, ttl_unused_s: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """States live `ttl_s` after their last line, or `ttl_unused_s` before the first."""
        self.connected = False
        self.generation = 0
        self.values: dict[bytes, tuple[bytes | tuple[bytes, ...], float]] = {}
        self._ttl_s = ttl_s
        self._ttl_unused_s = ttl_unused_s
        self._clock = clock
        self._sweep_s = 0.0
        self._missing: list[Write] = []

    def connect(self) -> bool:
        """See `Store.connect`; always there, never behind."""
        self.connected = True
        return False

    def finish(self) -> list[Write]:
        """See `Store.finish`."""
        missing, self._missing = self._missing, []
        return missing

    def begin(self, writes: Sequence[Write]) -> None:
        """See `Store.begin`; it is finished then."""
        if not self.connected:
            raise StoreError("closed", "not connected")
        now_s = self._clock()
        for write in writes:
            session = write.session
            if write.forget:
                self.values.pop(session.state_key, None)
                self.values.pop(session.record_key, None)
            elif session.stored and self.get(session.state_key) is None:
                self._missing.append(write)
            else:
                ttl_s = self._ttl_s if write.seq else self._ttl_unused_s
                state = encode_state(write.seq, write.cut, write.pair)
                self.values[session.state_key] = (state, now_s + ttl_s)
                if not session.stored:
                    self.values[session.record_key] = (session.record, now_s + 2 * self._ttl_s)
                    session.stored = True
        if now_s >= self._sweep_s:
            self._sweep(now_s)

    def reset(self) -> None:
        """See `Store.reset`."""
        self.connected = False

    def close(self) -> None:
        """See `Store.close`."""
        self.connected = False

    def get(self, key: bytes) -> bytes | tuple[bytes, ...] | None:
        """The value under `key`, None where there is none or it has expired."""
        value, until_s = self.values.get(key, (None, 0.0))
        return value if value is not None and self._clock() < until_s else None

    def _sweep(self, now_s: float) -> None:
        self.values = {key: kept for key, kept in self.values.items() if kept[1] > now_s}
        self._sweep_s = now_s + SWEEP_S
