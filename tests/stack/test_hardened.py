"""What a container that was taken over can't do, and what nobody sees, in the real containers.

Each probe runs in the network of the container that it stands for (`Fleet.probe`), so that
it does not matter which programs that one has.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab.wait import until
from tests.config import tls
from tests.stack.fleet import DEADLINE_S

if TYPE_CHECKING:
    from tests.stack.fleet import Fleet

pytestmark = pytest.mark.alone

# In the networks of these Redis is, and the daemons' ports are.
NEAR_REDIS = {"redis", "server", "redis-exporter"}
NEAR_DAEMONS = {"server", "haproxy", "prometheus", "redis", "redis-exporter"}

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
except OSError as error:
    raise SystemExit(f"unreachable: {error}")
print("reached")
"""

# A forged header (PROXY v2, TCP over IPv4) for a line of somebody who never connected.
FORGE = """
import socket, struct, sys
block = bytes([203, 0, 113, 7, 203, 0, 113, 8]) + struct.pack("!HH", 7, 1234)
header = b"\\r\\n\\r\\n\\0\\r\\nQUIT\\n" + struct.pack("!BBH", 0x21, 0x11, len(block)) + block
with socket.create_connection((sys.argv[1], 1234), 2) as sock:
    sock.settimeout(5)
    sock.sendall(header + b"forged\\n")
    print(sock.recv(200).decode())
"""

# The daemons' own client, in a daemon's container, with the daemons' own password.
AS_ECHOD = """
import sys
from redis import Redis
password = open("/run/secrets/redis_echod").read().strip()
client = Redis(host="redis", username="echod", password=password)
print(client.execute_command(*sys.argv[1:]))
"""


def test_redis_is_reached_by_who_must(fleet: Fleet) -> None:
    """From the daemons' and the exporter's networks, and no other, by any of its addresses."""
    networks = fleet.containers("redis")[0]["NetworkSettings"]["Networks"]
    (address,) = [network["IPAddress"] for network in networks.values()]
    for name in sorted(fleet.running()):
        for host in ("redis", address):
            reached = "reached" in fleet.probe(name, CONNECT, host, "6379")
            assert reached == (name in NEAR_REDIS), (name, host)


def test_headers_are_believed_from_haproxy_only(fleet: Fleet) -> None:
    """A forged one is refused where a daemon can be reached, and mostly none can."""
    networks = fleet.containers("server")[0]["NetworkSettings"]["Networks"]
    addresses = {
        name.removeprefix(f"{fleet.project}_"): each["IPAddress"] for name, each in networks.items()
    }
    assert set(addresses) == {"balance", "store", "watch"}
    for name in sorted(fleet.running() - {"server", "haproxy"}):
        for address in addresses.values():
            answer = fleet.probe(name, FORGE, address)
            assert "forged" not in answer, (name, address)
            assert "no balancer of ours" in answer or name not in NEAR_DAEMONS or "Error" in answer
    # The probe can be believed: from HAProxy's place it is.
    assert "forged" in fleet.probe("haproxy", FORGE, addresses["balance"])
    assert "no balancer of ours" in fleet.probe("prometheus", FORGE, addresses["watch"])


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
