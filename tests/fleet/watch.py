"""Looks at a running `fleet up`, as `fleet top` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.fleet import control
from lab.top.model import Model
from lab.top.sources import LocalSource
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.top.model import View

# For a look to show what has happened: HAProxy's checks are the slowest.
SEEN_S_MAX = 60.0


class Watch:
    """Looks at a fleet, one after the other."""

    def __init__(self) -> None:
        self.source = LocalSource(control.find())
        self._model = Model()

    def view(self) -> View:
        """One look more."""
        return self._model.take(self.source.look())

    def until(self, condition: Callable[[View], object], what: str) -> View:
        """Look until something is so; the view in which it is."""

        def look() -> View | None:
            view = self.view()
            return view if condition(view) else None

        found = until(look, SEEN_S_MAX, what)
        assert found is not None
        return found
