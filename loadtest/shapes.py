"""The article's run as a load shape: 100 clients at once, 100 loops, then the end.

How loops are counted: each client counts its own (`--loops`), failed ones too, and
leaves after the last; the run is over when nobody is left. So without failures and
with the defaults it is 10,000 loops and 100,000 lines to the last one, on one process
as on many workers, and a worker that dies takes its clients' loops along instead of
keeping the run waiting. (With --enable-rebalancing Locust starts clients afresh when a
worker comes or goes, those who had left too: then there are more loops.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locust import LoadTestShape
from locust.runners import STATE_RUNNING

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
