"""The article's servers in their containers: `docker compose --profile variants up`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.wait import until
from loadtest.client import PlainClient, PlainError
from tests.stack.fleet import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stack.fleet import Fleet

pytestmark = pytest.mark.heavy

PORTS = range(1241, 1249)


@pytest.fixture(scope="module")
def variants(fleet: Fleet) -> Iterator[Fleet]:
    """All of them, behind their HAProxy."""
    services = fleet.compose("--profile", "variants", "config", "--services").split()
    mine = sorted(name for name in services if "variant" in name)
    fleet.compose("--profile", "variants", "up", "--build", "--detach", "--no-deps", *mine)
    yield fleet
    fleet.compose("--profile", "variants", "rm", "--stop", "--force", *mine)


def test_each_answers_on_its_port(variants: Fleet) -> None:
    """The article's dialogue with every one of them, through HAProxy."""
    for port in PORTS:
        published = variants.port("haproxy-variants", port)

        def answers(published: int = published) -> bool:
            try:
                with PlainClient("127.0.0.1", published) as client:
                    client.ask(b"Hello World!:0\n", b"Hello World!:1\n")
                    client.finish()
            except PlainError:
                return False  # it is starting
            return True

        until(answers, DEADLINE_S, f"the server on port {port}")


def test_prometheus_sees_their_balancer(variants: Fleet) -> None:
    """Both HAProxies are scraped, so a dashboard can be pointed at either."""

    def targets() -> bool:
        found = variants.prometheus("query?query=up{job='haproxy'}")["result"]
        return [row["value"][1] for row in found] == ["1", "1"]

    until(targets, DEADLINE_S, "two HAProxies in Prometheus")
