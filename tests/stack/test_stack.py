"""`docker compose up` for real: the article's clients through HAProxy, and what may happen.

The tests share one fleet and run in this order; each waits for what it needs.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from lab.wait import until
from loadtest.client import PlainClient, PlainError
from tests.stack.fleet import CLIENTS, DAEMONS, DEADLINE_S, ROOT, image_or_reason

if TYPE_CHECKING:
    from tests.stack.fleet import Fleet

pytestmark = pytest.mark.heavy

# The figure: a killed daemon leaves the others serving within it.
SERVING_AGAIN_S_MAX = 2.0

DASHBOARDS = ROOT / "monitoring" / "grafana" / "dashboards"


# What a client may hear of a daemon that was killed under it. Silence: HAProxy up to 3.0.11
# can freeze a client that it was just connecting to a daemon that goes down (mended
# upstream in March 2025, "possible freeze during a forced shut on a stream").
HEARD_OF_A_KILL = ("EarlyClose(", "ReplyTimeout('silence')")

# From this HAProxy on nobody is sent to a new container before it listens (haproxy.cfg); an
# older one may close the few who connect in that moment: ten a second do.
KNOWS_NEW_DAEMONS = (3, 1)
EARLY_MAX = 10


def test_a_line_is_echoed(fleet: Fleet) -> None:
    """The README's first example: two lines and a half-close, through the published port."""
    with PlainClient("127.0.0.1", fleet.port("haproxy", 1234)) as client:
        client.ask(b"a\n", b"b\n")
        client.finish()


def test_the_load_started_by_itself(fleet: Fleet) -> None:
    """A hundred of the article's clients, every reply right, every daemon used."""
    until(lambda: fleet.load().users == CLIENTS, DEADLINE_S, f"{CLIENTS} users")
    fleet.more_loops()
    assert fleet.load().errors == {}
    assert len(fleet.servers()) == DAEMONS
    for name, server in fleet.servers().items():
        assert int(server["stot"]) >= CLIENTS // DAEMONS // 2, name


def test_only_who_must_reaches_redis(fleet: Fleet) -> None:
    """A daemon connects to Redis; a neighbour of HAProxy's can't, by name or by address."""
    networks = fleet.containers("redis")[0]["NetworkSettings"]["Networks"]
    (address,) = [network["IPAddress"] for network in networks.values()]
    probe = "import socket, sys; socket.create_connection((sys.argv[1], 6379), 2)"

    def reaches(service: str, host: str) -> bool:
        argv = ["docker", "exec", fleet.containers(service)[0]["Id"], "python", "-c", probe, host]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    for host in ("redis", address):
        assert reaches("server", host)
        assert not reaches("loadtest", host)


def test_scaled_under_load(fleet: Fleet) -> None:
    """From two daemons to four and back: new ones are used, leaving ones lose no client."""
    fleet.scale(4)

    def everyone_has_clients() -> bool:
        return all(int(server["scur"]) for server in fleet.servers().values())

    until(everyone_has_clients, DEADLINE_S, "clients on every daemon")
    fleet.more_loops()
    early = fleet.load()
    if fleet.haproxy_version() < KNOWS_NEW_DAEMONS:
        assert all(error.startswith("EarlyClose(") for error in early.errors), early.errors
        assert early.failures <= EARLY_MAX, early.errors
        fleet.forget()
    else:
        assert early.errors == {}
    fleet.scale(DAEMONS)
    fleet.more_loops()
    assert fleet.load().errors == {}


def test_a_daemon_is_killed(fleet: Fleet) -> None:
    """Its clients hear that it is gone, nobody a wrong reply; the others go on serving."""
    port = fleet.port("haproxy", 1234)
    subprocess.run(["docker", "kill", fleet.containers("server")[0]["Id"]], check=True)
    killed = begun = time.monotonic()
    failed_s: list[float] = []  # when what failed was begun
    while begun < killed + 2 * SERVING_AGAIN_S_MAX:
        try:
            with PlainClient("127.0.0.1", port, reply_s_max=1) as client:
                client.ask(b"still there?\n")
        except PlainError:
            failed_s.append(begun - killed)
        begun = time.monotonic()
    assert all(begun_s < SERVING_AGAIN_S_MAX for begun_s in failed_s), failed_s
    # Two conversations of everyone: one may have been cut, and is in the counts.
    fleet.more_loops(2 * CLIENTS)
    heard = fleet.load().errors
    assert all(error.startswith(HEARD_OF_A_KILL) for error in heard), heard
    fleet.scale(DAEMONS)
    fleet.forget()
    fleet.more_loops()
    assert fleet.load().errors == {}


def test_grafana(fleet: Fleet) -> None:
    """Grafana has its source and every dashboard, from the files."""
    if not fleet.with_grafana:
        services = json.loads(fleet.compose("config", "--format", "json"))["services"]
        pytest.skip(image_or_reason(services["grafana"]["image"]))
    found = json.loads(fleet.page("grafana", 3000, "/api/search?type=dash-db"))
    expected = {json.loads(path.read_text())["uid"] for path in DASHBOARDS.glob("*.json")}
    assert {dashboard["uid"] for dashboard in found} == expected
    query = "/api/datasources/proxy/uid/prometheus/api/v1/query?query=up"
    assert json.loads(fleet.page("grafana", 3000, query))["data"]["result"]


def test_nobody_is_root(fleet: Fleet) -> None:
    """Every container's user is another, of its image or of the file."""
    for container in fleet.containers():
        assert container["Config"]["User"].split(":")[0] not in ("", "0", "root"), container["Name"]


def test_nothing_failed_unseen(fleet: Fleet) -> None:
    """No container was restarted, and no daemon logged a bug."""
    restarts = {container["Name"]: container["RestartCount"] for container in fleet.containers()}
    assert not any(restarts.values()), restarts
    assert "Traceback" not in fleet.compose("logs", "--no-color", "server")


def test_all_leave_in_order(fleet: Fleet) -> None:
    """On a stop everyone ends by itself and in time: nobody has to be killed."""
    fleet.compose("stop")
    for container in fleet.containers("server", "haproxy", "redis"):
        assert container["State"]["ExitCode"] == 0, container["Name"]
