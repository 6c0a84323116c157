"""Load shapes: the article's run, a storm, and a ramp.

**The article's run**: 100 clients at once, 100 loops, then the end. How loops are counted: each client counts its own (`--loops`), failed ones too, and
leaves after the last; the run is over when nobody is left. So without failures and
with the defaults it is 10,000 loops and 100,000 lines to the last one, on one process
as on many workers, and a worker that dies takes its clients' loops along instead of
keeping the run waiting. (With --enable-rebalancing Locust starts clients afresh when a
worker comes or goes, those who had left too: then there are more loops.)

**A storm**: `--users` SessionUsers, connected and busy; every `--storm-every-s` all of them
are cut at once, and come back.

**A ramp**: up to `--users` (10,000 by default) in `--ramp-steps` equal steps, `--step-s` on
each, and then on: where does the latency leave the ground?
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from locust import LoadTestShape
from locust.runners import STATE_RUNNING

from loadtest import options
from loadtest.session_user import STORM_MESSAGE, SessionUser
from loadtest.users import ArticleUser

if TYPE_CHECKING:
    from locust import User


class ArticleShape(LoadTestShape):
    """`--clients` ArticleUsers at once, until the last of them has left."""

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        """How many users there should be, and of which class; None ends the run.

        Locust asks once a second, on the master only.
        """
        runner = self.runner
        if runner is None or runner.environment.parsed_options is None:
            return None
        # Nobody there and nothing counted yet is the beginning, not the end.
        if runner.state == STATE_RUNNING and not runner.user_count and runner.stats.num_requests:
            return None
        clients = runner.environment.parsed_options.clients
        return clients, clients, [ArticleUser]


class StormShape(LoadTestShape):
    """All connected, all cut, every `--storm-every-s`; ends so long after the last of `--storms`."""

    use_common_options = True  # --users, --spawn-rate and --run-time count

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust's
        self.storms = 0
        self.calm_since_s: float | None = None

    def reset_time(self) -> None:
        """Locust's call when a run begins."""
        super().reset_time()  # type: ignore[no-untyped-call]  # Locust's
        self.storms = 0
        self.calm_since_s = None

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        """As `ArticleShape.tick`; a storm begins here too."""
        runner = self.runner
        if runner is None or runner.environment.parsed_options is None:
            return None
        given, now_s = runner.environment.parsed_options, monotonic()
        users = given.num_users
        if runner.user_count < users:
            self.calm_since_s = None  # they are still coming
        elif self.calm_since_s is None:
            self.calm_since_s = now_s
        elif now_s - self.calm_since_s >= given.storm_every_s:
            if given.storms and self.storms >= given.storms:
                return None
            self.storms += 1
            self.calm_since_s = now_s
            runner.send_message(STORM_MESSAGE)
        return users, given.spawn_rate, [SessionUser]


class RampShape(LoadTestShape):
    """Users of the chosen classes, step by step; ends with `--run-time` only."""

    use_common_options = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust's
        self.step = 1
        self.full_since_s: float | None = None

    def reset_time(self) -> None:
        """Locust's call when a run begins."""
        super().reset_time()  # type: ignore[no-untyped-call]  # Locust's
        self.step = 1
        self.full_since_s = None

    def tick(self) -> tuple[int, float] | None:
        """As `ArticleShape.tick`. A step's time begins when all of its users are there."""
        runner = self.runner
        if runner is None or runner.environment.parsed_options is None:
            return None
        given, now_s = runner.environment.parsed_options, monotonic()
        steps = int(given.ramp_steps)
        if runner.user_count >= step_users(given.num_users, self.step, steps):
            self.full_since_s = self.full_since_s or now_s
            if self.step < steps and now_s - self.full_since_s >= given.step_s:
                self.step, self.full_since_s = self.step + 1, None
        return step_users(given.num_users, self.step, steps), given.spawn_rate


def step_users(users: int, step: int, steps: int) -> int:
    """How many users there are on a step, 1 to `steps`."""
    return max(1, users * step // steps)


# By the name that LOADTEST_SHAPE gives.
SHAPES: dict[str, type[LoadTestShape]] = {
    options.ARTICLE_SHAPE: ArticleShape,
    options.STORM_SHAPE: StormShape,
    options.RAMP_SHAPE: RampShape,
}
