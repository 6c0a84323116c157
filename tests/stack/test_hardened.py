"""What a container that was taken over can't do, and what nobody sees, in the real containers.

Each probe runs in the network of the container that it stands for (`Fleet.probe`), so that
it does not matter which programs that one has.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lab.wait import until
from tests.config import tls
from tests.stack.fleet import DEADLINE_S

if TYPE_CHECKING:
    from tests.stack.fleet import Fleet

pytestmark = pytest.mark.heavy

# In the networks of these Redis is, and the daemons' ports are.
NEAR_REDIS = {"redis", "server", "redis-exporter"}
NEAR_DAEMONS = {"server", "haproxy", "prometheus", "redis", "redis-exporter"}

PROBES_AT_ONCE = 4

# What each host says to a probe, a line for each: all are asked at once, because one that can't
# be reached is silent.
ASK_EACH = """
import socket, struct, sys
from concurrent.futures import ThreadPoolExecutor

def answer(host):
    try:
        return repr(ask(host))
    except OSError as error:
        return f"Error: {error!r}"

with ThreadPoolExecutor() as askers:
    print(*askers.map(answer, sys.argv[1:]), sep="\\n")
"""

CONNECT = """
def ask(host):
    with socket.create_connection((host, 6379), 3):
        return "reached"
"""

# A forged header (PROXY v2, TCP over IPv4) for a line of somebody who never connected.
FORGE = """
def ask(host):
    block = bytes([203, 0, 113, 7, 203, 0, 113, 8]) + struct.pack("!HH", 7, 1234)
    header = b"\\r\\n\\r\\n\\0\\r\\nQUIT\\n" + struct.pack("!BBH", 0x21, 0x11, len(block)) + block
    with socket.create_connection((host, 1234), 3) as sock:
        sock.settimeout(15)
        sock.sendall(header + b"forged\\n")
        return sock.recv(200)
"""

# The daemons' own client, in a daemon's container, with the daemons' own password.
AS_ECHOD = """
import sys
from redis import Redis
password = open("/run/secrets/redis_echod").read().strip()
client = Redis(host="redis", username="echod", password=password)
print(client.execute_command(*sys.argv[1:]))
"""


def probed(fleet: Fleet, ask: str, names: set[str], hosts: list[str]) -> dict[tuple[str, str], str]:
    """What each host says to a probe in the place of each service, by service and host."""
    with ThreadPoolExecutor(PROBES_AT_ONCE) as probes:
        said = probes.map(lambda name: fleet.probe(name, ask + ASK_EACH, *hosts), names)
    return {
        (name, host): line
        for name, text in zip(names, said, strict=True)
        for host, line in zip(hosts, text.splitlines(), strict=True)
    }


def test_redis_is_reached_by_who_must(fleet: Fleet) -> None:
    """From the daemons' and the exporter's networks, and no other, by any of its addresses."""
    networks = fleet.containers("redis")[0]["NetworkSettings"]["Networks"]
    (address,) = [network["IPAddress"] for network in networks.values()]
    answers = probed(fleet, CONNECT, fleet.running(), ["redis", address])
    for (name, host), answer in answers.items():
        assert ("reached" in answer) == (name in NEAR_REDIS), (name, host, answer)


def test_headers_are_believed_from_haproxy_only(fleet: Fleet) -> None:
    """A forged one is refused where a daemon can be reached, and mostly none can."""
    networks = fleet.containers("server")[0]["NetworkSettings"]["Networks"]
    addresses = {
        name.removeprefix(f"{fleet.project}_"): each["IPAddress"] for name, each in networks.items()
    }
    assert set(addresses) == {"balance", "store", "watch"}
    answers = probed(fleet, FORGE, fleet.running() - {"server"}, list(addresses.values()))
    for (name, address), answer in answers.items():
        if name != "haproxy":
            assert "forged" not in answer, (name, address)
            assert "no balancer of ours" in answer or name not in NEAR_DAEMONS or "Error" in answer
    # The probe can be believed: from HAProxy's place it is.
    assert "forged" in answers["haproxy", addresses["balance"]]
    assert "no balancer of ours" in answers["prometheus", addresses["watch"]]


@pytest.mark.parametrize(
    "words", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "x")]
)
def test_a_daemon_may_not(fleet: Fleet, words: tuple[str, ...]) -> None:
    """Who has the daemons' password can't empty Redis, or look at what is not theirs."""
    answer = fleet.run_in("server", AS_ECHOD, *words)
    assert "NoPermission" in answer
    assert fleet.run_in("server", AS_ECHOD, "GET", "g:{@@@@}") == "None\n"


def test_the_exporter_may_what_it_needs(fleet: Fleet) -> None:
    """It sees Redis, and Redis had to refuse it nothing."""

    def seen() -> bool:
        found = fleet.prometheus("query?query=redis_up")["result"]
        return [row["value"][1] for row in found] == ["1"]

    until(seen, DEADLINE_S, "the exporter to be let in")
    script = "REDISCLI_AUTH=$(cat /run/secrets/redis_admin) exec redis-cli --user admin acl log"
    log = fleet.compose("exec", "-T", "redis", "sh", "-c", script)
    assert "exporter" not in log, log


def test_passwords_are_not_shown(fleet: Fleet) -> None:
    """`docker inspect` shows where the secrets lie, and none of them; neither do the logs."""
    shown = json.dumps(fleet.containers()) + fleet.compose("logs", "--no-color")
    for path in fleet.secrets.glob("redis_*"):
        text = path.read_text().strip()
        secret = text.rsplit('"', 2)[1] if '"' in text else text
        assert len(secret) > 40
        assert secret not in shown, path.name


def test_tls(fleet: Fleet) -> None:
    """The plain port in TLS, without a client's certificate and with one."""
    port = fleet.port("haproxy", 2234)
    trusted = fleet.secrets / "ca.pem"
    assert tls.echo(port, trusted) == b"a\na\nb\n"
    assert tls.echo(port, trusted, fleet.secrets / "client.pem") == b"a\na\nb\n"


def test_limits_have_room(fleet: Fleet) -> None:
    """Under the load that starts by itself nobody is near what it may have: half at most.

    What each takes is printed: `pytest -s` shows it.
    """
    ids = fleet.compose("ps", "--quiet").split()
    shown = subprocess.run(
        ["docker", "stats", "--no-stream", "--format", "{{json .}}", *ids],
        capture_output=True,
        text=True,
        check=True,
    )
    limits = {each["Name"].lstrip("/"): each["HostConfig"] for each in fleet.containers()}
    for line in shown.stdout.splitlines():
        row = json.loads(line)
        limit = limits[row["Name"]]
        print(row["Name"], row["MemPerc"], f"{row['PIDs']}/{limit['PidsLimit']}", row["CPUPerc"])  # noqa: T201 — the figures
        assert limit["Memory"] > 0
        assert float(row["MemPerc"].rstrip("%")) < 50, row
        assert int(row["PIDs"]) <= limit["PidsLimit"] // 2, row
