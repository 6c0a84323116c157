"""A Redis Cluster as containers start it (deploy/redis/node.sh), but of local processes.

Each node has an address of its own, as a container has, and a name that is looked up: in a
folder of files, by a `redis-cli` that stands before the real one. Used by
test_redis_node_sh.py; tests/stack has the containers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Self

import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from lab.fleet import processes, redis_server, secret_files
from lab.fleet.redis_node import ASK_S_MAX, Seen
from lab.wait import until
from tests.images import NotHereError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = redis_server.FOLDER / "node.sh"
PORT = 6379

# Three shards with a replica each.
NAMES = tuple(f"redis-{shard}-{number}" for shard in range(3) for number in range(2))

# A key of each shard.
KEYS = ("b", "c", "a")

# Nobody else's, who runs these tests at the same time.
ADDRESSES = (
    f"127.{64 + os.getpid() // 256 % 128}.{os.getpid() % 256}.{number}"
    for number in itertools.cycle(range(1, 255))
)

# The script looks every second, and Redis takes a few to see a death and to elect.
DEADLINE_S = 60.0

# The name after `-h` becomes the address in the file of that name.
RESOLVING = """#!/bin/sh
before=
for word; do
  shift
  [ "$before" != -h ] || word=$(cat '{names}'/"$word") || exit 1
  before=$word
  set -- "$@" "$word"
done
exec '{program}' "$@"
"""


class Cluster:
    """The nodes, by name, and where they are."""

    def __init__(self, folder: Path, server: Path) -> None:
        """Made in `folder`, of a Redis server's program; no node runs yet.

        Raises:
            tests.images.NotHereError: There is no redis-cli.
        """
        self.folder = folder
        self.server = server
        self.secrets = folder / "secrets"
        secret_files.make_passwords(self.secrets)
        self.password = secret_files.password(self.secrets, secret_files.ADMIN_PASSWORD)
        real = shutil.which("redis-cli") or shutil.which("valkey-cli")
        if real is None:
            raise NotHereError("no redis-cli on PATH (Debian: apt install redis-tools)")
        (folder / "bin").mkdir()
        (folder / "names").mkdir()
        cli = folder / "bin" / "redis-cli"
        cli.write_text(RESOLVING.format(names=folder / "names", program=real))
        cli.chmod(0o755)
        self.processes: dict[str, processes.Process] = {}

    def start(self, name: str, *, elsewhere: bool = True) -> None:
        """Start a node; it need not answer yet."""
        if elsewhere:
            self.place(name, next(ADDRESSES))
        data = self.data(name)
        data.mkdir(exist_ok=True)
        words = {
            **dict.fromkeys(("bind", "bind-source-addr"), self.address(name)),
            "port": str(PORT),
            "dir": str(data),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        }
        self.processes[name] = processes.start(
            [
                # In its folder, as a container is in its volume.
                *("sh", "-c", 'cd "$0" && exec "$@"', str(data), "sh", str(SCRIPT), "start"),
                *(str(redis_server.USERS), str(self.secrets), str(self.server)),
                *(word for option, value in words.items() for word in (f"--{option}", value)),
            ],
            log=self.folder / f"{name}.log",
            env=self.env(name),
            expect_ready=False,
        )

    def env(self, name: str) -> dict[str, str]:
        """What a container's environment says, and where names are looked up."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"NODE": name, "NODES": " ".join(NAMES), "PATH": path}

    def data(self, name: str) -> Path:
        """The node's folder."""
        return self.folder / name

    def address(self, name: str) -> str:
        """Where its name leads."""
        return (self.folder / "names" / name).read_text()

    def place(self, name: str, address: str) -> None:
        """Let its name lead there."""
        (self.folder / "names" / name).write_text(address)

    def ask(self, name: str, *words: object) -> object:
        """What it answers an admin.

        Raises:
            redis.RedisError: It refused, or did not answer.
        """
        with redis_py.Redis(
            host=self.address(name),
            port=PORT,
            username="admin",
            password=self.password,
            protocol=2,
            decode_responses=True,
            socket_timeout=ASK_S_MAX,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            return client.execute_command(*words)

    def view(self, name: str) -> list[Seen]:
        """Every node as it sees them; none if it does not answer."""
        with contextlib.suppress(redis_py.RedisError):
            return [
                Seen.read(line) for line in str(self.ask(name, "CLUSTER", "NODES")).splitlines()
            ]
        return []

    def myself(self, name: str) -> Seen | None:
        """The node as it sees itself."""
        return next((seen for seen in self.view(name) if "myself" in seen.flags), None)

    def is_master(self, name: str) -> bool:
        """Whether it has slots."""
        seen = self.myself(name)
        return seen is not None and "master" in seen.flags and bool(seen.slots)

    def master(self, shard: int) -> str:
        """The one of the shard's nodes that is the master, as they say."""
        names = [name for name in NAMES if name.startswith(f"redis-{shard}-")]
        until(lambda: sum(map(self.is_master, names)) == 1, DEADLINE_S, f"shard {shard}'s master")
        return next(filter(self.is_master, names))

    def replica(self, shard: int) -> str:
        """The other one."""
        master = self.master(shard)
        return next(name for name in NAMES if name[:-1] == master[:-1] and name != master)

    def healthy(self, name: str) -> bool:
        """What its healthcheck says."""
        words = ["sh", str(SCRIPT), "healthy", str(self.secrets)]
        env = {**os.environ, **self.env(name)}
        return subprocess.run(words, env=env, capture_output=True, check=False).returncode == 0

    def leave(self, name: str) -> None:
        """Tell a node that it will be stopped, and wait until it has done what it does before."""
        words = ["sh", str(SCRIPT), "leave", str(self.secrets)]
        subprocess.run(words, env={**os.environ, **self.env(name)}, check=True, timeout=DEADLINE_S)

    def await_whole(self) -> None:
        """Wait until all are well, and know all others where they are and nobody else.

        Raises:
            TimeoutError: In vain; the text says what was missing at the end.
        """
        missing = ""

        def whole() -> bool:
            nonlocal missing
            missing = next(self._missing(), "")
            return not missing

        try:
            until(whole, DEADLINE_S, "the cluster to be whole")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {missing}") from None

    def _missing(self) -> Iterator[str]:
        for name in NAMES:
            view = self.view(name)
            bad = {"fail", "fail?", "handshake", "noaddr"}
            if len(view) != len(NAMES) or any(not one.linked or one.flags & bad for one in view):
                yield f"{name} sees {view}"
            if not self.healthy(name):
                yield f"{name} is not healthy"

    def kill(self, name: str) -> None:
        """End a node at once, and what runs beside it."""
        self.processes[name].kill()

    def write(self, key: str, value: str) -> None:
        """Write it on its master and its replica."""
        master = self.master(KEYS.index(key))
        assert self.ask(master, "SET", key, value)
        assert self.ask(master, "WAIT", 1, 5000) == 1

    def read(self, key: str) -> object:
        """What its master has."""
        found: list[object] = []

        def served() -> bool:
            with contextlib.suppress(redis_py.RedisError):
                found[:] = [self.ask(self.master(KEYS.index(key)), "GET", key)]
            return bool(found)

        until(served, DEADLINE_S, "the master to serve")
        return found[0]

    def log(self, name: str) -> str:
        """What it has said."""
        return (self.folder / f"{name}.log").read_text()

    def forced(self, replica: str) -> bool:
        """Whether it is the master, after it was told to be, though its master is away."""
        with contextlib.suppress(redis_py.RedisError):
            self.ask(replica, "CLUSTER", "FAILOVER", "FORCE")
        return self.is_master(replica)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
