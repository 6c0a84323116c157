"""One address attacks, the others go on: the limits for each source, under each attack.

HAProxy bounds connections, the daemons bytes; on every HAProxy at hand (tests/haproxies.py).

The attacker (`attacker.py`) is 127.0.0.2, the honest (`honest.py`) are 127.0.0.1. All share
this machine's CPUs, so what the attacker itself takes of them counts against the honest,
which it would not where it brings its own: it runs at the lowest priority. What is
promised holds for what is let through.

With the limits as shipped, but for the number of connections: the attacker's own files end
before 6,000 of them do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil
import pytest
import redis as redis_py

from lab import web
from lab.fleet import haproxy_server
from lab.fleet.local import Fleet, Plan
from lab.wait import until
from tests.fleet.honest import CLIENTS, Fared, fare
from tests.fleet.test_faults import up

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.alone

ATTACKER = Path(__file__).with_name("attacker.py")
KINDS = ("connects", "writers", "readers", "line", "lines")

CONNECTIONS_MAX = 1_000
# More than it is allowed: what is over must be turned away.
ATTACKERS = 1_500
FARE_S = 3.0
# From when it has opened all: for as long as the honest are looked at, and longer.
ATTACK_S = FARE_S + 1.0

# The promise of the issue: the honest's p99 during an attack, in terms of what it was.
SLOWER_MAX = 3.0
# Below it the difference is the machine's: an fsync, a turn of the scheduler.
P99_MS_LEAST = 10.0
# Of each daemon and of HAProxy, beyond what it had. The containers have 512 MB.
GROWTH_BYTES_MAX = 128 << 20
# For what comes in the end, or never.
UP_S_MAX = GONE_S_MAX = 60.0
ROUNDS_MAX = 3


@pytest.fixture(scope="module")
def fleet(haproxy_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two daemons."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(haproxy_server.BINARY.variable, str(haproxy_program))
        patch.setenv("SOURCE_CONNECTIONS_MAX", str(CONNECTIONS_MAX))
        with Fleet(Plan(directory=tmp_path_factory.mktemp("fleet"), daemons=2)) as made:
            until(lambda: len(up(made)) == 2, UP_S_MAX, "two daemons to be up")
            fare(port(made), 1.0)  # everything is warm
            yield made


@pytest.fixture(scope="module")
def in_peace(fleet: Fleet) -> Fared:
    """How the honest fare while nobody attacks."""
    return fare(port(fleet), FARE_S)


def port(fleet: Fleet) -> int:
    """Where clients connect."""
    return int(fleet.ready["echo"].rpartition(":")[2])


def memory_bytes(fleet: Fleet) -> dict[str, int]:
    """Resident memory of who serves."""
    names = ("haproxy", *(daemon.ready["name"] for daemon in fleet.daemons))
    return {name: psutil.Process(fleet.parts[name].pid).memory_info().rss for name in names}


def connections(fleet: Fleet) -> int:
    """How many HAProxy has to its daemons."""
    return sum(int(row["scur"]) for row in up(fleet))


def denied(fleet: Fleet) -> int:
    """Connections that HAProxy has turned away."""
    with web.page(f"http://{fleet.ready['haproxy']['stats']}/metrics") as page:
        lines = page.read().decode().splitlines()
    name = 'haproxy_frontend_denied_connections_total{proxy="clients"}'
    return int(float(next(line.split()[-1] for line in lines if line.startswith(name))))


class Attack:
    """The attacker of one kind, from when it has opened all it wants; its end in `came_to`."""

    def __init__(self, fleet: Fleet, kind: str, attackers: int = ATTACKERS) -> None:
        argv = [sys.executable, str(ATTACKER), kind, str(port(fleet))]
        self._process = subprocess.Popen(
            [*argv, str(attackers), str(ATTACK_S)], stdout=subprocess.PIPE, text=True
        )
        self.came_to: dict[str, int] = {}

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "attacking\n"
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdout is not None
            self.came_to = json.loads(self._process.stdout.readline())


@pytest.mark.parametrize("kind", KINDS)
def test_others_go_on(fleet: Fleet, in_peace: Fared, kind: str) -> None:
    """Nobody honest fails or waits for long, memory is bounded, and afterwards nothing is left.

    How long they wait is told by the best of `ROUNDS_MAX`: what an attack costs it costs each
    time, and what else the machine does is not the attack's. So a further round has a peace
    of its own, right before it. The rest holds in every round.
    """
    slower = [under_attack(fleet, kind, in_peace)]
    while slower[-1] > SLOWER_MAX and len(slower) < ROUNDS_MAX:
        slower.append(under_attack(fleet, kind, fare(port(fleet), FARE_S)))
    assert min(slower) <= SLOWER_MAX


def under_attack(fleet: Fleet, kind: str, before: Fared) -> float:
    """One round: how many times slower the honest were than before; the rest is asserted."""
    had, denied_before = memory_bytes(fleet), denied(fleet)
    with Attack(fleet, kind) as attack:
        during = fare(port(fleet), FARE_S)
        has, held = memory_bytes(fleet), connections(fleet)
    figures = f"p99 {before.p99_ms():.1f} → {during.p99_ms():.1f} ms"
    print(kind, figures, attack.came_to)  # noqa: T201 — for `pytest -s`

    assert before.failures + during.failures == []
    assert all(has[name] - had[name] < GROWTH_BYTES_MAX for name in had), (had, has)
    # It did attack, and was held to what one address may have.
    assert attack.came_to["opened"] >= ATTACKERS
    assert denied(fleet) - denied_before > 0
    assert held <= CONNECTIONS_MAX + CLIENTS

    until(lambda: connections(fleet) == 0, GONE_S_MAX, "HAProxy to be rid of all")
    with redis_py.Redis.from_url(fleet.store.nodes[0].admin_url) as redis:
        until(lambda: not redis.keys("s:*"), GONE_S_MAX, "the states to be deleted")
    return during.p99_ms() / max(before.p99_ms(), P99_MS_LEAST)
