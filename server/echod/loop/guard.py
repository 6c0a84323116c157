"""A bug in one thing must not stop those behind it: each is called for itself.

What goes wrong ten times a second must not fill the log either: of each function the first
traceback is logged at once, and then at most one in `QUIET_S`, with how many there were.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

QUIET_S = 10.0

# By function: when it was last told of, and how often it has raised since.
_told: dict[str, tuple[float, int]] = {}


def guarded(function: Callable[..., object], *args: Any) -> None:  # noqa: ANN401 — the function's
    """Call; what it raises is logged."""
    try:
        function(*args)
    except Exception:  # noqa: BLE001 — `_tell` logs it
        _tell(getattr(function, "__qualname__", repr(function)))


def _tell(name: str) -> None:
    now_s = monotonic()
    last_s, untold = _told.get(name, (-QUIET_S, 0))
    if now_s - last_s < QUIET_S:
        _told[name] = (last_s, untold + 1)
        return
    _told[name] = (now_s, 0)
    more = f" (and {untold} times since it was last told of)" if untold else ""
    log.exception("failed: %s%s", name, more)  # noqa: LOG004 — called in an `except`
