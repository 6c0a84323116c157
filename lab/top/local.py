"""The local fleet: `fleet up` says what runs, every part itself says how it is."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lab.fleet import control, metrics
from lab.fleet.metrics import Reading, Samples
from lab.top import servers
from lab.top.parts import Life, Look, Part
from lab.top.source import ANSWER_S_MAX, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

P = ParamSpec("P")

# Of HAProxy's /metrics, what is used: the listeners are left out.
HAPROXY_PAGE = "/metrics?scope=global&scope=frontend&scope=backend&scope=server"


class LocalSource:
    """A running `fleet up`, by its control socket.

    Raises (`look` and `act`):
        lab.fleet.control.ControlError: It has ended, or refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._redis: redis.Redis | None = None

    def look(self) -> Look:
        """See `source.Source`."""
        answer = control.ask(self._path, {"do": "look"})
        ready, lives = answer["fleet"], answer["lives"]
        asks: list[Callable[[], Part]] = [
            partial(
                _part, daemon["name"], lives, daemon, metrics.read, daemon["admin"], ANSWER_S_MAX
            )
            for daemon in ready["daemons"]
        ]
        haproxy, store = ready["haproxy"], ready["redis"]
        where = haproxy["stats"], ANSWER_S_MAX, HAPROXY_PAGE
        asks.append(partial(_part, "haproxy", lives, haproxy, metrics.read, *where))
        asks.append(partial(_part, "redis", lives, store, self._ask_redis, store))
        *daemons, haproxy_part, redis_part = at_once(asks)
        return Look(
            at_s=time.time(),
            fleet=f"fleet up, pid {ready['pid']}, {ready['directory']}",
            daemons=tuple(daemons),
            haproxy=haproxy_part,
            redis=redis_part,
        )

    def act(self, action: str, daemon: str) -> str:
        """See `source.Source`."""
        return str(control.ask(self._path, {"do": action, "part": daemon})["done"])

    def _ask_redis(self, store: Mapping[str, Any]) -> Samples:
        if self._redis is None:
            password_file = store.get("password_file")
            self._redis = redis.Redis.from_url(
                store["url"],
                **({"password": Path(password_file).read_text().strip()} if password_file else {}),
                socket_timeout=ANSWER_S_MAX,
                socket_connect_timeout=ANSWER_S_MAX,
                retry=Retry(NoBackoff(), 0),
            )
        return servers.from_info(self._redis.info())


def _part(
    name: str,
    lives: Mapping[str, str],
    ready: Mapping[str, Any],
    ask: Callable[P, Samples],
    *where: P.args,
    **how: P.kwargs,
) -> Part:
    """What the part says, if it runs and answers."""
    life = Life(lives[name])
    readings: tuple[Reading, ...] = ()
    if life is Life.RUNS:
        # Who does not answer is silent; the next look asks again.
        with contextlib.suppress(OSError, ValueError, redis.RedisError):
            readings = (Reading(time.time(), ask(*where, **how)),)
    return Part(name, life, readings, f"pid {ready['pid']}")
