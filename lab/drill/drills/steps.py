"""Steps that many drills have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.scenario import Step

if TYPE_CHECKING:
    from lab.drill.stage.base import Stage

# A daemon drains for 10 s at most, and there is what surrounds it.
DRAIN_S_MAX = 20.0


def kill(at_s: float, *names: str) -> Step:
    """SIGKILL."""

    def act(stage: Stage) -> None:
        for name in names:
            stage.kill(name)

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
        Step(at_s, f"freeze {name}", lambda stage: stage.freeze(name)),
        Step(at_s + freeze_s, f"thaw {name}", lambda stage: stage.thaw(name), heals=True),
    ]


def reset_clients(at_s: float) -> Step:
    """All at once."""
    return Step(
        at_s, "reset every client", lambda stage: stage.link("clients").reset(), lasts=False
    )


def bring_back(stage: Stage, name: str) -> None:
    """A daemon that was told to leave: wait for its end, start it."""
    stage.await_end(name, DRAIN_S_MAX)
    stage.start_again(name)
