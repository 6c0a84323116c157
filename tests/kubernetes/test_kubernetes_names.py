"""HAProxy with a pod's variables finds the daemons of the Service, by its whole name and no other.

Real daemons and the real haproxy.cfg, unchanged but for where names are asked for: here the
name server is the test's.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet import haproxy_server, processes
from lab.wait import until
from loadtest.client import PlainClient
from tests.config.checks import ROOT
from tests.kubernetes.nameserver import NameServer
from tests.kubernetes.rendered import containers_of, environment, overlay, the

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")

NAME = "server.echofleet.svc.cluster.local"
# Nobody else's, who runs this at the same time: each has the ports of a pod, on its own address.
NETWORK = f"127.{192 + os.getpid() // 256 % 32}.{os.getpid() % 256}"
NOTICED_S_MAX = 30.0
PORTS = {"ECHO": 1234, "SESSION": 1235, "STATS": 8404}


def test_haproxy_finds_the_daemons(tmp_path: Path, echod: Callable[..., Any]) -> None:
    """One at first, and another when the name has one more address."""
    places = [f"{NETWORK}.{number}" for number in (1, 2)]
    for place in places:
        echod(
            host=place,
            echo_port=1234,
            session_port=1235,
            admin_port=8080,
            agent_port=8081,
            proxy_protocol=True,
            proxy_networks="127.0.0.0/8",
        )
    pods = environment(
        containers_of(the(overlay("single"), "DaemonSet", "haproxy"))[0], overlay("single")
    )
    # As many connections as the smallest machine has files for.
    pods["HAPROXY_MAXCONN"] = "100"
    binds = {f"{port}_BIND": f"{NETWORK}.3:{number}" for port, number in PORTS.items()}
    with NameServer({NAME: places[:1]}) as names:
        config = tmp_path / "haproxy.cfg"
        text = (ROOT / "haproxy" / "haproxy.cfg").read_text()
        here = f"nameserver test 127.0.0.1:{names.port}"
        assert text.count("    parse-resolv-conf\n") == 1
        config.write_text(text.replace("parse-resolv-conf\n", f"{here}\n"))
        haproxy = processes.start(
            [str(haproxy_server.BINARY.find()), "-db", "-f", str(config)],
            log=tmp_path / "haproxy.log",
            env={**pods, **binds},
            expect_ready=False,
        )
        try:
            for number in (1, 2):
                names.table[NAME] = places[:number]
                until(
                    lambda number=number: well() == number,  # type: ignore[misc]
                    NOTICED_S_MAX,
                    f"{number} daemons",
                )
            client = PlainClient(f"{NETWORK}.3", 1234)
            client.ask(b"hello\n")
            client.close()
        finally:
            haproxy.kill()
        assert names.asked == {NAME}


def well() -> int:
    """How many daemons HAProxy's checks have found well."""
    up = haproxy_server.up(f"{NETWORK}.3:8404")
    return sum(backend == "echod" for backend, _ in up)
