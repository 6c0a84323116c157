"""`fleet top --compose` on the containers: what it sees, and what its keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.top.model import Model, State
from lab.top.sources import ComposeSource
from lab.wait import until
from tests.stack.fleet import DAEMONS, DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.top.model import View
    from tests.stack.fleet import Fleet

pytestmark = pytest.mark.heavy


def test_the_containers_are_seen_and_acted_on(fleet: Fleet) -> None:
    """Each daemon's figures under load; frozen, thawed, killed and started by the keys."""
    source = ComposeSource(fleet.project, f"http://127.0.0.1:{fleet.port('prometheus', 9090)}")
    model = Model()

    def seen(condition: Callable[[View], object], what: str) -> View:
        def look() -> View | None:
            view = model.take(source.look())
            return view if condition(view) else None

        found = until(look, DEADLINE_S, what)
        assert found is not None
        return found

    def state(view: View) -> State:
        found: State = next(row["state"] for row in view.daemons if row["name"] == name)
        return found

    def told(view: View) -> bool:
        """Prometheus has scraped each of them twice under load."""
        return view.all["up"] == DAEMONS and all(
            row["memory_bytes"] and row["reply_p99_s"] for row in view.daemons
        )

    view = seen(told, "the load")
    assert len(view.daemons) == DAEMONS
    assert view.haproxy["echo_servers"] == DAEMONS
    assert view.redis["state"] is State.UP
    assert view.redis["memory_bytes"]

    name = view.daemons[0]["name"]
    source.act("freeze", name)
    seen(lambda view: state(view) is State.FROZEN, "the freeze")
    source.act("thaw", name)
    seen(lambda view: state(view) is State.UP, "the thaw")
    source.act("kill", name)
    seen(lambda view: state(view) is State.DOWN, "the death")
    source.act("start", name)
    seen(lambda view: state(view) is State.UP, "the return")
    fleet.scale(DAEMONS)
    fleet.forget()  # those whom the kill cut
