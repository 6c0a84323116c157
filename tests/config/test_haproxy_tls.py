"""The TLS port of haproxy/haproxy.cfg, with the certificates that `fleet secrets` makes."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet import haproxy_server, secret_files
from lab.fleet.haproxy_server import Daemon
from lab.wait import until
from tests.config import tls
from tests.config.checks import ROOT
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.processes import Process


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of an authority."""
    folder = tmp_path_factory.mktemp("own")
    secret_files.make_certificates(folder, secret_files.NAMES)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of another, that nobody trusts."""
    folder = tmp_path_factory.mktemp("foreign")
    secret_files.make_certificates(folder, secret_files.NAMES)
    return folder


@pytest.fixture
def haproxy(
    haproxy_program: Path,
    tmp_path: Path,
    echod: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Process]]:
    """Start a HAProxy, each of those at hand, before a daemon: `haproxy(folder, "required")`."""
    with contextlib.ExitStack() as stack:

        def start(folder: Path, clients: str) -> Process:
            monkeypatch.setenv(haproxy_server.BINARY.variable, str(haproxy_program))
            monkeypatch.setenv("TLS_CLIENTS", clients)
            ready = echod(proxy_protocol=True).process.ready
            made = haproxy_server.start(
                tmp_path,
                ROOT / "haproxy" / "haproxy.cfg",
                [Daemon.of({**ready, "name": "one"})],
                certificates=folder,
            )
            stack.callback(made.kill)
            return made

        yield start


def port(haproxy: Process, name: str = "echo_tls") -> int:
    """Where it listens."""
    return int(haproxy.ready[name].rpartition(":")[2])


@pytest.mark.parametrize("clients", ["none", "optional", "required"])
def test_who_is_served(
    haproxy: Callable[..., Process], own: Path, foreign: Path, clients: str
) -> None:
    """Whoever trusts the authority; with a certificate of its own as TLS_CLIENTS says."""
    made = haproxy(own, clients)

    def served(certificate: Path | None) -> bool:
        try:
            return tls.echo(port(made), own / "ca.pem", certificate) == b"a\na\nb\n"
        except OSError:
            return False

    until(lambda: served(own / "client.pem"), 30, "the daemon behind it")
    assert served(None) == (clients != "required")
    # Where none is asked for, the client sends none.
    assert served(foreign / "client.pem") == (clients == "none")
    # A server's certificate is no client's.
    assert served(own / "haproxy.pem") == (clients == "none")


def test_sessions(haproxy: Callable[..., Process], own: Path) -> None:
    """The session port has TLS of its own: its secret need not travel in clear."""
    made = haproxy(own, "none")

    def welcome() -> bool:
        try:
            return tls.ask(port(made, "session_tls"), own / "ca.pem", b"HELLO\n", 8) == b"WELCOME "
        except OSError:
            return False

    until(welcome, 30, "the daemon behind it")


def test_a_client_of_another_authority(
    haproxy: Callable[..., Process], own: Path, foreign: Path
) -> None:
    """It finds out that this is not the server that it trusts."""
    made = haproxy(own, "none")
    with pytest.raises(ssl.SSLCertVerificationError):
        tls.echo(port(made), foreign / "ca.pem")


def test_without_a_certificate(haproxy: Callable[..., Process]) -> None:
    """It starts all the same, and serves without TLS: in the containers, what `up` begins with."""
    made = haproxy(ROOT / "secrets" / "default", "none")
    assert made.ready["echo_tls"] == ""
    until(lambda: raw.converse(port(made, "echo"), [b"a\n"]) == b"a\n", 30, "the daemon behind it")
