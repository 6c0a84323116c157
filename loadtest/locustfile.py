"""What Locust loads: `locust -f loadtest/locustfile.py`, from the directory above this.

Locust puts the working directory on the path, so `loadtest` is found there both in the
repository and in the container. Where no user class is named, it is the article's
client. LOADTEST_SHAPE=article adds the article's run, LOADTEST_SHAPE=storm a storm of
sessions; without it Locust's own --users and --spawn-rate say how many clients there are.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
import locust
from locust import stats
from locust.runners import MasterRunner, WorkerRunner

from loadtest import options, summary
from loadtest.exposition import Exposition
from loadtest.latency import bucket_ms
from loadtest.room_user import RoomUser  # noqa: F401 — as the users below
from loadtest.session_user import STORM_MESSAGE, SessionUser, sever_all
from loadtest.shapes import SHAPES
from loadtest.users import ArticleUser, SteadyUser  # noqa: F401 — Locust runs what it finds here

if TYPE_CHECKING:
    from locust.env import Environment

try:
    SHAPE = options.shape()
except ValueError as error:
    sys.exit(str(error))
if SHAPE:
    # What Locust finds here is the run's shape, and --users is refused where it doesn't count.
    ChosenShape = SHAPES[SHAPE]

hooks: Any = locust.events  # they have no types

stats.bucket_response_time = bucket_ms  # type: ignore[assignment]  # floats are finer

hooks.init_command_line_parser.add_listener(options.add_options)


@hooks.init.add_listener  # type: ignore[untyped-decorator]  # see `hooks`
def prepare(environment: Environment, web_ui: Any = None, **_: object) -> None:  # noqa: ANN401 — Locust's page has no types
    """Check the target, choose the default class, say what this process measures."""
    # gevent's timers count from when its loop last looked at the clock: before the imports,
    # which take seconds on a busy machine, by which --run-time would be too short.
    gevent.get_hub().loop.update_now()
    raise_file_limit()
    check_targets(environment)
    runner, given = environment.runner, environment.parsed_options
    exposition = Exposition(environment)
    exposition.listen(hooks)
    if runner is not None and not isinstance(runner, MasterRunner):
        runner.register_message(STORM_MESSAGE, lambda **_: sever_all())
    # A worker runs what its master says, and must know every class for that.
    if runner is None or given is None or isinstance(runner, WorkerRunner):
        return
    if not given.user_classes:
        environment.user_classes[:] = [SessionUser if SHAPE == options.STORM_SHAPE else ArticleUser]
    if web_ui is not None:
        exposition.serve(web_ui.app)
        offer_shapes(environment)
    if given.summary:
        path = Path(given.summary)  # now: a later value came from a browser
        hooks.quit.add_listener(lambda **_: summary.write(runner, path))


def check_targets(environment: Environment) -> None:
    """Refuse a target that can't be one: Locust would run without a user, and exit with 0."""
    given = environment.parsed_options
    if environment.host:
        try:
            options.targets(environment.host)
            options.session_targets(environment.host, given.session_host if given else "")
        except ValueError as error:
            sys.exit(str(error))


def offer_shapes(environment: Environment) -> None:
    """All shapes in the page's list; the run's own is the one that was chosen, if any was."""
    chosen = environment.shape_class
    environment.available_shape_classes = {
        kind.__name__: chosen if isinstance(chosen, kind) else kind() for kind in SHAPES.values()
    }


def raise_file_limit() -> None:
    """A file for each user: Locust sees to 10,000 of them, here it is what the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):  # macOS: "unlimited", but no more than 10240
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
