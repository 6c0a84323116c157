"""The containers under test: `docker compose` with a project name and host ports of its own.

Beside anything else that runs on the machine, and gone at the end with its volumes and
images. Used by the stack tests.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from lab import web
from lab.fleet import secret_files
from lab.wait import until

ROOT = Path(__file__).resolve().parents[2]

# Images are built and containers become healthy: tens of seconds, minutes on a slow line.
COMPOSE_S_MAX = 600.0

# How long anything may take that the fleet does by itself.
DEADLINE_S = 180.0

# .env's ports, each of which a test lets the kernel choose.
PUBLISHED = re.findall(r"^([A-Z_]+_PORT)=", (ROOT / ".env").read_text(), re.MULTILINE)

# Two, so that scaling down comes back to where it began.
DAEMONS = 2

# The article's.
CLIENTS = 100


class ComposeError(RuntimeError):
    """`docker compose` failed; the text has what it said."""


class Fleet:
    """The containers, and the pages that they publish."""

    def __init__(self, secrets: Path, *more: str) -> None:
        """Made with passwords and certificates in `secrets`, of which there are none yet.

        Args:
            secrets: The folder.
            more: Files of Compose that change docker-compose.yml.
        """
        secret_files.make_passwords(secrets)
        secret_files.make_certificates(secrets, secret_files.NAMES)
        self.secrets = secrets
        self.project = "-".join(
            ["echofleet-test", str(os.getpid()), *(Path(one).stem for one in more)]
        )
        self._files = [word for file in ("docker-compose.yml", *more) for word in ("--file", file)]
        # Port 0: the kernel chooses, and `port` asks which.
        ports = dict.fromkeys(PUBLISHED, "0")
        sizes = {"ECHOD_REPLICAS": str(DAEMONS), "LOCUST_USERS": str(CLIENTS), "LOADTEST_SHAPE": ""}
        # Another's of the same range (.env) may be up.
        number = (os.getpid() + len(more)) % (64 * 4)
        own = {
            "SECRETS": str(secrets),
            "TLS_CLIENTS": "optional",
            "BALANCE_SUBNET": f"198.18.{128 + number // 4}.{number % 4 * 64}/26",
        }
        self._env = {**os.environ, **ports, **sizes, **own}
        self.with_grafana = False
        self._ports: dict[tuple[str, int], int] = {}

    def compose(self, *words: str) -> str:
        """Run `docker compose`; returns its stdout.

        Raises:
            ComposeError: it failed.
        """
        argv = ["docker", "compose", "--project-name", self.project, *self._files, *words]
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=self._env,
            timeout=COMPOSE_S_MAX,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ComposeError(f"{' '.join(argv)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    def up(self, *services: str) -> None:
        """Build and start these, by default all; Grafana only if its image can be had; wait for health."""
        wanted = set(services or self.compose("config", "--services").split())
        if not self.with_grafana:
            wanted.discard("grafana")
        self.compose("up", "--build", "--detach", "--wait", *sorted(wanted))

    def down(self) -> None:
        """End and remove everything that `up` made."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
        # `down --rmi` knows only what BuildKit built.
        images = self.compose("--profile", "variants", "config", "--images").split()
        built = {name for name in images if self.project in name}
        subprocess.run(["docker", "image", "rm", *built], capture_output=True, check=False)

    def scale(self, daemons: int) -> None:
        """Have so many daemons, and HAProxy know them; the others are left alone."""
        self.compose(
            *("up", "--detach", "--wait", "--no-recreate", "--no-deps"),
            *("--scale", f"server={daemons}", "server"),
        )
        until(lambda: len(self.servers()) == daemons, DEADLINE_S, f"{daemons} daemons in HAProxy")

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """What `docker inspect` says of the containers, stopped ones too."""
        ids = self.compose("ps", "--all", "--quiet", *services).split()
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True)
        found: list[dict[str, Any]] = json.loads(shown.stdout)
        return found

    def running(self) -> set[str]:
        """The services that have a container that runs."""
        return set(self.compose("ps", "--services", "--status", "running").split())

    def probe(self, service: str, script: str, *words: str) -> str:
        """Run Python in the network of a service's container; what it says, errors too."""
        containers = self.containers(service)
        network = f"container:{containers[0]['Id']}"
        image = self.containers("server")[0]["Image"]
        return _said(
            *("run", "--rm", "--network", network, "--entrypoint", "python", image),
            *("-c", script, *words),
        )

    def run_in(self, service: str, script: str, *words: str) -> str:
        """Run Python in a service's container itself; what it says, errors too."""
        return _said("exec", self.containers(service)[0]["Id"], "python", "-c", script, *words)

    def port(self, service: str, port: int) -> int:
        """Where the host's 127.0.0.1 has a service's port, as long as there is its container."""
        if (service, port) not in self._ports:
            said = self.compose("port", service, str(port))
            self._ports[service, port] = int(said.rsplit(":", 1)[1])
        return self._ports[service, port]

    def page(self, service: str, port: int, path: str, post: bytes | None = None) -> str:
        """A page of a service, through its published port; with `post` it is a POST."""
        url = f"http://127.0.0.1:{self.port(service, port)}{path}"
        with web.page(url, post, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def servers(self) -> dict[str, dict[str, str]]:
        """The daemons that HAProxy sends clients to: its statistics of each, by name."""
        rows = csv.DictReader(io.StringIO(self.page("haproxy", 8404, "/;csv").lstrip("# ")))
        return {
            row["svname"]: row
            for row in rows
            if row["pxname"] == "echod" and row["svname"] != "BACKEND" and row["status"] == "UP"
        }

    def haproxy_version(self) -> tuple[int, int]:
        """The container's, major and minor."""
        said = _said("exec", self.containers("haproxy")[0]["Id"], "haproxy", "-v")
        found = re.search(r"version (\d+)\.(\d+)", said)
        assert found is not None, said
        return int(found[1]), int(found[2])

    def prometheus(self, path: str) -> Any:  # noqa: ANN401 — what JSON holds
        """The data of an answer of Prometheus's API."""
        return json.loads(self.page("prometheus", 9090, f"/api/v1/{path}"))["data"]

    def load(self) -> Load:
        """What Locust has counted since its start or the last `forget`."""
        return Load(json.loads(self.page("loadtest", 8089, "/stats/requests")))

    def more_loops(self, number: int = CLIENTS) -> None:
        """Wait until the load has ended so many conversations more.

        As many as there are clients: then whatever went wrong before is in Locust's counts,
        which its workers send in every three seconds.
        """
        goal = self.load().count("loop") + number
        until(lambda: self.load().count("loop") >= goal, DEADLINE_S, f"{number} more loops")

    def forget(self) -> None:
        """Have Locust count from 0, once what went wrong until now is counted."""
        self.more_loops()
        before = self.load().count("line")
        self.page("loadtest", 8089, "/stats/reset", post=b"")
        # Its page shows what it has shown before for two seconds more.
        until(lambda: self.load().count("line") < before, DEADLINE_S, "counts from 0")


class Load:
    """Locust's counts at one moment."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.errors = {error["error"]: error["occurrences"] for error in report["errors"]}
        self.failures: int = sum(self.errors.values())
        self.users: int = report["user_count"]
        self._counts = {row["name"]: row["num_requests"] for row in report["stats"]}

    def count(self, name: str) -> int:
        """How many of a kind: `connect`, `line`, `loop`."""
        return int(self._counts.get(name, 0))


def _said(*words: str) -> str:
    done = subprocess.run(
        ["docker", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.stdout


def image_or_reason(image: str) -> str:
    """Have an image, from here or its registry: empty, or why there is none."""
    for words in (["image", "inspect"], ["pull", "--quiet"]):
        argv = ["docker", *words, image]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return ""
    return re.sub(r"\s+", " ", f"{image} cannot be had: {done.stderr.strip()}")
