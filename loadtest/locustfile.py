"""What Locust loads: `locust -f loadtest/locustfile.py`, from the directory above this.

Locust puts the working directory on the path, so `loadtest` is found there both in the
repository and in the container. Where no user class is named, it is the article's
client. LOADTEST_SHAPE=article adds the article's run, LOADTEST_SHAPE=storm a storm of
sessions; without it Locust's own --users and --spawn-rate say how many clients there are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import locust
from locust.runners import MasterRunner, WorkerRunner

from loadtest import options, summary
from loadtest.session_user import STORM_MESSAGE, SessionUser, sever_all
from loadtest.users import ArticleUser, SteadyUser  # noqa: F401 — Locust runs what it finds here

if TYPE_CHECKING:
    from locust.env import Environment

try:
    SHAPE = options.shape()
except ValueError as error:
    sys.exit(str(error))
# A shape that Locust finds here is the run's.
if SHAPE == options.ARTICLE_SHAPE:
    from loadtest.shapes import ArticleShape  # noqa: F401 — as the users
if SHAPE == options.STORM_SHAPE:
    from loadtest.shapes import StormShape  # noqa: F401 — as the users

hooks: Any = locust.events  # they have no types

hooks.init_command_line_parser.add_listener(options.add_options)


@hooks.init.add_listener  # type: ignore[untyped-decorator]  # see `hooks`
def prepare(environment: Environment, **_: object) -> None:
    """Check the target, choose the default class, have `--summary` written at the end."""
    runner, given = environment.runner, environment.parsed_options
    if environment.host:
        try:
            options.target(environment.host)
            options.session_targets(environment.host, given.session_host if given else "")
        except ValueError as error:
            sys.exit(str(error))  # else Locust would run without a user, and exit with 0
    if runner is not None and not isinstance(runner, MasterRunner):
        runner.register_message(STORM_MESSAGE, lambda **_: sever_all())
    # A worker runs what its master says, and must know every class for that.
    if runner is None or given is None or isinstance(runner, WorkerRunner):
        return
    if not given.user_classes:
        environment.user_classes[:] = [SessionUser if SHAPE == options.STORM_SHAPE else ArticleUser]
    if given.summary:
        path = Path(given.summary)  # now: a later value came from a browser
        hooks.quit.add_listener(lambda **_: summary.write(runner, path))
