"""What can be set on the load besides Locust's own options, and where the target is.

Each is a flag, an environment variable (`LOADTEST_` and the name) and a field of the
web page's start form; a master passes its values on to its workers.
"""

from __future__ import annotations

import math
import os
from argparse import ArgumentParser, ArgumentTypeError
from functools import cache
from typing import Any, Self
from urllib.parse import urlsplit

from loadtest.client import REPLY_S_MAX
from loadtest.entrances import ENTRANCES_MAX, Address, Entrances

DEFAULT_TARGET = "tcp://127.0.0.1:1234"
PLAIN_PORT = 1234
SESSION_PORT = 1235

# A variable and not a flag: as soon as Locust finds a shape in a locustfile it ignores
# --users, and it reads the file before the flags.
SHAPE_VARIABLE = "LOADTEST_SHAPE"
ARTICLE_SHAPE = "article"
STORM_SHAPE = "storm"
RAMP_SHAPE = "ramp"
RAMP_USERS = 10_000
# More on one process delays the replies of those who are there.
RAMP_SPAWN_RATE = 100.0
SHAPES = (ARTICLE_SHAPE, STORM_SHAPE, RAMP_SHAPE)
ARTICLE_CLIENTS = 100
ARTICLE_LOOPS = 100
# Without a shape the same hundred come in groups, so that the page's curves show them come.
SPAWN_RATE = 20.0


class Positive(float):
    """A number above 0.

    Locust makes a form field's value with the type of the option's value before, so a
    type that refuses checks the web page as well as the command line.
    """

    def __new__(cls, text: str | float) -> Self:
        """Refuse what is not a number above 0 with an `ArgumentTypeError`."""
        try:
            value = super().__new__(cls, text)
        except ValueError:
            value = super().__new__(cls, math.nan)
        if not 0 < value < math.inf:
            raise ArgumentTypeError(f"{text!r}: must be a number above 0")
        return value


class Count(int):
    """A whole number, 0 or more; a type for the same reason as `Positive`."""

    def __new__(cls, text: str | int) -> Self:
        """Refuse what is not a whole number from 0 with an `ArgumentTypeError`."""
        try:
            value = super().__new__(cls, text)
        except ValueError:
            value = super().__new__(cls, -1)
        if value < 0:
            raise ArgumentTypeError(f"{text!r}: must be a whole number, 0 or more")
        return value


def shape() -> str:
    """The name of the shape that is asked for; empty for none.

    Raises:
        ValueError: for a name that there is not.
    """
    name = os.environ.get(SHAPE_VARIABLE, "")
    if name not in ("", *SHAPES):
        raise ValueError(f"{SHAPE_VARIABLE}={name}: must be {' or '.join(SHAPES)}, or empty")
    return name


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser our options, and our defaults for its own."""

    def add(name: str, default: Any, reason: str, **more: Any) -> None:  # noqa: ANN401 — argparse's
        parser.add_argument(
            "--" + name.replace("_", "-"),
            env_var="LOADTEST_" + name.upper(),
            type=type(default),
            default=default,
            help=f"{reason} (default: {default})",
            **more,
        )

    loops = ARTICLE_LOOPS if shape() == ARTICLE_SHAPE else 0
    if shape() == RAMP_SHAPE:
        parser.set_defaults(num_users=RAMP_USERS, spawn_rate=RAMP_SPAWN_RATE)
    elif shape() != ARTICLE_SHAPE:
        parser.set_defaults(num_users=ARTICLE_CLIENTS, spawn_rate=SPAWN_RATE)
    # In the page: which users, and which shape.
    parser.set_defaults(class_picker=True)
    add("pause_s", Positive(1), "ArticleUser: seconds between lines; the server's idle limit is 5")
    add("loops", Count(loops), "ArticleUser: leaves after so many connections; 0: never")
    add("clients", Count(ARTICLE_CLIENTS), f"{SHAPE_VARIABLE}={ARTICLE_SHAPE}: clients at once")
    add("lines_per_s", Positive(1), "SteadyUser, SessionUser: lines a second of each")
    add("lines_in_flight", Positive(10), "SessionUser: unanswered lines of each, at most")
    add("rooms", Positive(5), "RoomUser: rooms in all; each is in one of them")
    add("posts_per_s", Positive(0.5), "RoomUser: posts a second of each")
    add(
        "session_host",
        "",
        "SessionUser, RoomUser: as --host; by default that, with 1235 in the place of 1234",
    )
    add(
        "give_up_s",
        Positive(10),
        "SessionUser, RoomUser: seconds without service that are a failure",
    )
    add("storm_every_s", Positive(20), f"{SHAPE_VARIABLE}={STORM_SHAPE}: seconds between two cuts")
    add("ramp_steps", Positive(10), f"{SHAPE_VARIABLE}={RAMP_SHAPE}: steps up to --users")
    add("step_s", Positive(10), f"{SHAPE_VARIABLE}={RAMP_SHAPE}: seconds on each step")
    add("storms", Count(0), f"{SHAPE_VARIABLE}={STORM_SHAPE}: the run ends after so many; 0: never")
    add(
        "reply_s_max",
        Positive(REPLY_S_MAX),
        "seconds to a whole reply; the server's limit is 2, with a cluster 6",
    )
    # Not in the web page: a browser shall not choose which file is written.
    add("summary", "", "write the run's counts to this file, as JSON", include_in_web_ui=False)


@cache
def entrances(urls: str) -> Entrances:
    """Those of `targets(urls)`, one for all users of a process: they share what they learn."""
    return Entrances(*targets(urls))


@cache
def session_entrances(urls: str, session_urls: str) -> Entrances:
    """As `entrances`, of `session_targets`."""
    return Entrances(*session_targets(urls, session_urls))


def session_targets(urls: str, session_urls: str) -> list[Address]:
    """Where sessions are: `--session-host`, else `--host` with its plain port's neighbour.

    So one `--host` serves users of both ports.

    Raises:
        ValueError: with the form that it must have.
    """
    if session_urls:
        return targets(session_urls)
    return [(host, SESSION_PORT if port == PLAIN_PORT else port) for host, port in targets(urls)]


def targets(urls: str) -> list[Address]:
    """`tcp://host:port,host:port` → (host, port) of each; from the second on `tcp://` is free.

    Raises:
        ValueError: with the form that it must have.
    """
    first, *others = (part.strip() for part in urls.split(","))
    if len(others) >= ENTRANCES_MAX:
        raise ValueError(f"--host={first},…: {len(others) + 1} targets, at most {ENTRANCES_MAX}")
    more = (other if "://" in other else f"tcp://{other}" for other in others)
    return [target(first), *map(target, more)]


def target(url: str) -> Address:
    """`tcp://host:port` → (host, port).

    Raises:
        ValueError: with the form that it must have.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    beside = parts.username or parts.password or parts.query or parts.fragment
    if parts.scheme != "tcp" or not parts.hostname or not port or parts.path.strip("/") or beside:
        raise ValueError(f"--host={url}: must be tcp://HOST:PORT, as in {DEFAULT_TARGET}")
    return parts.hostname, port
