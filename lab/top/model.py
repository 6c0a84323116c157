"""From looks to views: what is remembered between two, and what one shows. Pure.

Look (each part: how it lives, its readings) ──Model.take──▶ View (rows of figures)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lab.top.words import DAEMON, HAPROXY, REDIS, balance_of, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.fleet.metrics import Reading, Samples
    from lab.top.figures import Pair
    from lab.top.words import Figure

# How far back a trend goes: at a look a second, its column's width in seconds.
TREND_LOOKS = 20

# When a replica was last heard, by the replica's address and state.
LAG = "redis_connected_slave_lag_seconds"
# Replicas say once a second what they have, and Redis counts whole seconds.
IN_STEP_S_MAX = 1.0
IN_STEP = "in step"


class State(StrEnum):
    """A part in one word."""

    UP = "up"
    DEGRADED = "degraded"
    """It serves; its store is away or slow. Redis: some of its nodes are away."""
    DRAINING = "draining"
    FROZEN = "frozen"
    """Stopped by a signal, or paused."""
    SILENT = "silent"
    """It runs and does not answer."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Part:
    """A process or container at one look, by the name that its source gives it."""

    name: str
    state: State
    """Without having asked it: UP, FROZEN or DOWN."""
    readings: tuple[Reading, ...] = ()
    """What it said, the newest last; none if it did not answer. More than one where somebody
    else has asked it before."""
    where: str = ""
    """Its pid or container, for people."""


@dataclass(frozen=True, slots=True)
class Node(Part):
    """A Redis: the only one, or a node of a cluster."""

    address: str = ""
    """Where clients reach it, `host:port`; empty if that is nobody's matter here."""
    shard: int = 0
    role: str | None = "master"
    """`master` or `replica`, as the nodes say; None if none of them answers."""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at one moment (Unix time); `fleet` says what is looked at."""

    at_s: float
    fleet: str
    daemons: tuple[Part, ...]
    haproxy: Part
    nodes: tuple[Node, ...]
    """Of Redis."""


Row = dict[str, Any]
"""A part's `name`, `state` and `where`, and its figures by their names (`words`).

A daemon's has `balance`, what HAProxy thinks of it, and `trend`, its lines a second at the last
looks, the newest last. The row of all daemons has `daemons`, how many there are, and how many are
`up`. A node's has its `shard`, `role` and `address`, and what its master says of its copy: `link`
(`in step`, `behind`, `copying`, `away`) and `lag_s`, None for a master; a master's has `replicas`,
how many its shard has, and `in_step`, how many of them are. The row of all nodes has `nodes`,
`up`, `shards`, and `masters`: how many shards have one that is up."""


@dataclass(frozen=True, slots=True)
class View:
    """What is shown at one moment (Unix time)."""

    at_s: float
    fleet: str
    all: Row
    daemons: tuple[Row, ...]
    haproxy: Row
    redis: Row
    """All of Redis together."""
    nodes: tuple[Row, ...]


class Model:
    """The looks so far, as far as rates and trends need them."""

    def __init__(self) -> None:
        self._pairs: dict[str, list[Pair]] = {}
        self._trends: dict[str, tuple[float, ...]] = {}

    def take(self, look: Look) -> View:
        """One look more."""
        parts = (*look.daemons, look.haproxy, *look.nodes)
        self._pairs = {part.name: _pairs(self._pairs.get(part.name, []), part) for part in parts}
        balancer = self._pairs[look.haproxy.name]
        trends, self._trends = self._trends, {}
        rows = tuple(self._row(part, DAEMON) for part in look.daemons)
        for row in rows:
            name = row["name"]
            row["balance"] = balance_of(balancer[0][1].samples, name) if balancer else None
            row["trend"] = (*trends.get(name, ()), row["lines"] or 0.0)[-TREND_LOOKS:]
            self._trends[name] = row["trend"]
        nodes = self._nodes(look.nodes)
        everyone = [pair for part in look.daemons for pair in self._pairs[part.name]]
        up = sum(row["state"] in (State.UP, State.DEGRADED) for row in rows)
        return View(
            at_s=look.at_s,
            fleet=look.fleet,
            all={"up": up, "daemons": len(rows), **values(DAEMON, everyone)},
            daemons=rows,
            haproxy=self._row(look.haproxy, HAPROXY),
            redis=self._redis(nodes),
            nodes=nodes,
        )

    def _nodes(self, parts: Sequence[Node]) -> tuple[Row, ...]:
        rows = tuple(
            self._row(part, REDIS)
            | {"address": part.address, "shard": part.shard, "role": part.role}
            | dict.fromkeys(("link", "lag_s", "replicas", "in_step"))
            for part in parts
        )
        for master in (row for row in rows if row["role"] == "master"):
            pairs = self._pairs[master["name"]]
            samples = pairs[0][1].samples if pairs else None
            replicas = [
                row for row in rows if row["shard"] == master["shard"] and row is not master
            ]
            for row in replicas:
                row["link"], row["lag_s"] = link_of(samples, row["address"])
            master["replicas"] = len(replicas)
            if samples is not None:
                master["in_step"] = sum(row["link"] == IN_STEP for row in replicas)
        return rows

    def _redis(self, nodes: Sequence[Row]) -> Row:
        """All nodes together: one Redis is what its node is."""
        masters = [row for row in nodes if row["role"] == "master"]
        serve = sum(row["state"] is State.UP for row in masters)
        counts = {
            "nodes": len(nodes),
            "up": sum(row["state"] is State.UP for row in nodes),
            "shards": len({row["shard"] for row in nodes}),
            "masters": serve,
        }
        if len(nodes) == 1:
            return nodes[0] | counts
        state = State.DEGRADED if serve else State.DOWN
        if counts["up"] == len(nodes):
            state = State.UP
        pairs = [pair for row in nodes for pair in self._pairs[row["name"]]]
        where = "{up} of {nodes} nodes up, {masters} of {shards} masters".format(**counts)
        return {
            "name": "redis",
            "state": state,
            "where": where,
            **counts,
            **values(REDIS, pairs),
        }

    def _row(self, part: Part, figures: Sequence[Figure]) -> Row:
        pairs = self._pairs[part.name]
        state = state_of(part.state, pairs[0][1].samples if pairs else None)
        said = values(figures, [] if state is State.SILENT else pairs)
        return {"name": part.name, "state": state, "where": part.where, **said}


def state_of(state: State, samples: Samples | None) -> State:
    """A part's that seems to be in `state` and said `samples`, None if it did not answer."""
    if state is not State.UP:
        return state
    # Redis's exporter answers for a Redis that does not.
    if samples is None or samples.get("redis_up") == 0:
        return State.SILENT
    if samples.get("echod_draining"):
        return State.DRAINING
    return State.DEGRADED if samples.get("echod_degraded") else State.UP


def link_of(master: Samples | None, replica: str) -> tuple[str | None, float | None]:
    """How a replica at this address copies its master: `link` and `lag_s` of its row.

    Nothing is known if the master did not answer.
    """
    if master is None:
        return None, None
    host, _, port = replica.rpartition(":")
    found = master.by_label(LAG, "slave_state", slave_ip=host, slave_port=port)
    if not found:
        return "away", None
    if "online" not in found:
        return "copying", None
    lag_s = found["online"]
    return IN_STEP if lag_s <= IN_STEP_S_MAX else "behind", lag_s


def _pairs(known: list[Pair], part: Part) -> list[Pair]:
    """A part's two readings, with one look more.

    Who is silent is begun afresh: it may come back as another process.
    """
    if part.state is not State.UP or not part.readings:
        return []
    for reading in part.readings:
        if not known:
            known = [(None, reading)]
        elif reading.at_s > known[0][1].at_s:
            known = [(known[0][1], reading)]
    return known
