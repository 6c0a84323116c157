"""Steps that many drills have; `at_s` as in `Step`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.scenario import Step
from lab.fleet.network import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.drill.stage.base import Stage


def kill(at_s: float, *names: str) -> Step:
    """SIGKILL."""

    def act(stage: Stage) -> None:
        for name in names:
            stage.do("kill", name)

    return Step(at_s, f"kill {' and '.join(names)}", act)


def start(at_s: float, *names: str) -> Step:
    """What was killed comes back."""

    def act(stage: Stage) -> None:
        for name in names:
            stage.start_again(name)

    what = names[0] if len(names) == 1 else "them"
    return Step(at_s, f"start {what}", act, heals=True)


def freeze(at_s: float, name: str, freeze_s: float) -> list[Step]:
    """It stands still for so long."""
    return [
        Step(at_s, f"freeze {name}", lambda stage: stage.do("freeze", name)),
        Step(at_s + freeze_s, f"thaw {name}", lambda stage: stage.do("thaw", name), heals=True),
    ]


def restart(at_s: float, name: str) -> Step:
    """In order; it serves again at the end of the step."""

    def act(stage: Stage) -> None:
        stage.do("terminate", name)
        stage.bring_back(name)
        stage.await_balance()

    return Step(at_s, f"SIGTERM {name}, wait for its end, start it", act, lasts=False)


def on_link(
    at_s: float, text: str, name: str, act: Callable[[Link], object], *, lasts: bool = True
) -> Step:
    """Something done to a link."""
    return Step(at_s, text, lambda stage: act(stage.link(name)), lasts=lasts)


def heal(at_s: float, name: str, text: str = "heal its link") -> Step:
    """All goes on on a link."""
    return Step(at_s, text, lambda stage: stage.link(name).heal(), heals=True)


def reset_clients(at_s: float) -> Step:
    """All at once."""
    return on_link(at_s, "reset every client", "clients", Link.reset, lasts=False)
