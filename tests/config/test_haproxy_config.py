"""haproxy/haproxy.cfg: every HAProxy at hand takes it, as the containers and the local fleet use it.

What it does under load and when daemons die is tested with the fleet and the stack.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from echod.config import RECEIVE_BYTES, parse
from lab.fleet import secret_files
from lab.fleet.haproxy_server import Daemon, render
from tests.config.checks import ROOT, check

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = ROOT / "haproxy" / "haproxy.cfg"
VARIANTS = ROOT / "haproxy" / "variants.cfg"
DAEMONS = [
    Daemon(f"echod{n}", f"127.0.0.1:{n}", f"127.0.0.1:{n + 50}", f"127.0.0.1:{n + 100}")
    for n in (1, 2)
]


# How long before its SIGTERM Docker Swarm takes a task out of DNS.
OUT_OF_DNS_S = 2.0


@pytest.fixture
def haproxy(haproxy_program: Path) -> list[str]:
    """A HAProxy that checks a file and takes a warning for an error."""
    return [str(haproxy_program), "-c", "-dW", "-f"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the containers find them."""
    folder = tmp_path_factory.mktemp("certificates")
    secret_files.make_certificates(folder, secret_files.NAMES)
    return folder


def test_containers(haproxy: list[str]) -> None:
    """The file as the containers use it is valid, without a warning."""
    check([*haproxy, str(CONFIG)])


def test_variants(haproxy: list[str]) -> None:
    """The file of the article's servers is valid too."""
    check([*haproxy, str(VARIANTS)])


def test_local_fleet(haproxy: list[str], tmp_path: Path) -> None:
    """The file with named daemons is valid, without a warning, and nothing is left of the DNS."""
    text = render(CONFIG.read_text(), DAEMONS)
    assert "server-template" not in re.sub("#.*", "", text)
    assert "resolvers" not in re.sub("#.*", "", text)
    path = tmp_path / "haproxy.cfg"
    path.write_text(text)
    check([*haproxy, str(path)])


@pytest.mark.parametrize(
    "variable",
    [
        *("ECHO_BIND", "SESSION_BIND", "STATS_BIND", "ECHO_TLS_BIND", "SESSION_TLS_BIND"),
        *("SOURCE_CONNECTIONS_MAX", "SOURCE_RATE_MAX", "TLS_CLIENTS"),
    ],
)
def test_variables_are_read(
    haproxy: list[str], certificates: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said to be settable is: nonsense in the variable is refused."""
    monkeypatch.setenv("TLS_CERTIFICATES", str(certificates))
    check([*haproxy, str(CONFIG)])
    nonsense = {**os.environ, variable: "nonsense"}
    with pytest.raises(AssertionError, match="nonsense"):
        check([*haproxy, str(CONFIG)], env=nonsense)


def test_one_line_says_where_the_daemons_are() -> None:
    """Each backend has one server-template; what else a daemon needs is in default-server."""
    backends = re.split(r"^(?=\w)", CONFIG.read_text(), flags=re.MULTILINE)
    counts = {
        text.split()[1]: len(re.findall(r"^\s+server-template ", text, flags=re.MULTILINE))
        for text in backends
        if text.startswith("backend ") and "stick-table" not in text
    }
    assert counts == {
        "echod": 1,
        "sessions": 1,
        "echod_unchecked": 1,
        "sessions_unchecked": 1,
    }


def seconds(words: str) -> float:
    """What the file says of a time, by the words before it."""
    (found,) = re.findall(rf"^ +{words} (\d+)s$", CONFIG.read_text(), flags=re.MULTILINE)
    return float(found)


def test_a_daemon_that_leaves_is_left_alone() -> None:
    """Its slot is not freed, which ends its connections, before it has let its last client go."""
    daemon = parse(["--store=redis+cluster://redis-0-0:6379"], {})
    leaves_s = daemon.drain_s + 2 * daemon.commit_s_max + daemon.linger_s_max
    assert seconds("hold obsolete") > OUT_OF_DNS_S + leaves_s


@pytest.mark.parametrize("side", ["client", "server"])
def test_who_has_closed_hears_the_replies(side: str) -> None:
    """A half-closed client's lines may wait for the store, for itself, and for its address."""
    daemon = parse(["--store=redis+cluster://redis-0-0:6379"], {})
    (connections,) = re.findall(r"SOURCE_CONNECTIONS_MAX-(\d+)", CONFIG.read_text())
    turn_s = int(connections) * RECEIVE_BYTES / daemon.source_bytes_max
    assert seconds(f"timeout {side}-fin") > daemon.commit_s_max + daemon.send_s_max + turn_s


def test_a_daemon_closes_who_is_idle_first() -> None:
    """It gives a reason, and a tunnel's end here gives none."""
    daemon = parse([], {})
    assert seconds("timeout tunnel") > max(daemon.echo_idle_s_max, daemon.session_idle_s_max)
