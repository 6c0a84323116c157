"""Several Docker engines on this machine, joined to one swarm: made, broken, mended, removed.

    python -m tests.swarm.engines up 3
    python -m tests.swarm.engines images IMAGE…     from this machine's engine into all of them
    python -m tests.swarm.engines kill 2 [--how power|crash|cable]
    python -m tests.swarm.engines revive 2          starts it with its disk; mends a cable too
    python -m tests.swarm.engines down [--keep]     --keep: the disks stay, with their images

Needs root, dockerd, tini, iproute2 and util-linux. It has not been run yet.

A machine is an engine under an init of its own, in namespaces of its own: the death of the init
is the death of everything in it at once, as when the power fails. One cable (a veth) connects it
to a bridge, in a network namespace that has no way out: a pull of an image that is not there
fails at once. From there clients reach the machines at 10.99.0.1, .2 …:

    ip netns exec fleetlan nc 10.99.0.2 1234
    DOCKER_HOST=unix:///tmp/echofleet-swarm/machine1/docker.sock make swarm

SWARM_DIR is the folder of their disks, sockets and logs. What is there is the only state: each
command is a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lab.errors import LabError
from lab.fleet.docker import DockerError, docker
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY = Path(os.environ.get("SWARM_DIR", "/tmp/echofleet-swarm"))  # noqa: S108 — short: a socket's path is at most 107 bytes
LAN = "fleetlan"
SUBNET = "10.99.0"
# Of the swarm's networks that have no subnet of their own.
POOL = "10.98.0.0/16"
CGROUPS = Path("/sys/fs/cgroup")
ENGINE_S_MAX = 60.0
END_S_MAX = 20.0
# A few GB from disk to disk.
IMAGES_S_MAX = 600.0

# The first process of a machine. /run is its own, so that no engine sees another's containerd;
# /sys stays, for the cgroups are in it.
INIT = """
set -e
hostname "$1"
mount -t tmpfs -o mode=755 tmpfs /run
exec tini -s -- dockerd --host "unix://$2/docker.sock" --data-root "$2/disk" \
  --cgroup-parent "/$1" --userland-proxy=false --no-new-privileges
"""


class EnginesError(LabError):
    """This machine can't be several; the text says why."""


def run(*words: str) -> None:
    """Run a program of this machine.

    Raises:
        EnginesError: It is not there, or failed.
    """
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except OSError as error:
        raise EnginesError(f"{words[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise EnginesError(f"{' '.join(words)}: {error.stderr.strip()}") from error


@dataclass(frozen=True)
class Machine:
    """One of them, by its number from 1."""

    number: int

    @property
    def name(self) -> str:
        """Its host name, its namespace, and the root of its cgroups."""
        return f"machine{self.number}"

    @property
    def home(self) -> Path:
        """Its folder."""
        return DIRECTORY / self.name

    @property
    def address(self) -> str:
        """Where clients and other machines reach it."""
        return f"{SUBNET}.{self.number}"

    @property
    def port(self) -> str:
        """The bridge's end of its cable."""
        return f"port{self.number}"

    def docker(self, *words: str, wait_s: float = ENGINE_S_MAX) -> str:
        """What its engine says."""
        return docker("--host", f"unix://{self.home}/docker.sock", *words, wait_s=wait_s)

    def connect(self) -> None:
        """Give it a network, with a cable to the bridge."""
        run("ip", "netns", "add", self.name)
        veth = ("type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "-n", LAN, "link", "add", self.port, *veth)
        run("ip", "-n", LAN, "link", "set", self.port, "master", "lan0", "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            run("ip", "-n", self.name, "link", "set", link, "up")

    def cable(self, state: str) -> None:
        """`up` or `down`."""
        run("ip", "-n", LAN, "link", "set", self.port, state)

    def init(self) -> psutil.Process | None:
        """Its first process, if it is alive; never another one with its number."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            pid, created = (self.home / "init").read_text().split()
            process = psutil.Process(int(pid))
            if process.create_time() == float(created):
                return process
        return None

    def start(self) -> None:
        """Start the engine, with what is on its disk."""
        (self.home / "disk").mkdir(parents=True, exist_ok=True)
        (self.home / "docker.sock").unlink(missing_ok=True)
        spaces = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
        # `ip netns exec` would mount a new /sys.
        inside = ("nsenter", f"--net=/run/netns/{self.name}", "unshare", *spaces)
        with (self.home / "log").open("ab") as log:
            outer = subprocess.Popen(
                [*inside, "sh", "-c", INIT, "init", self.name, str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        children = psutil.Process(outer.pid).children
        (init,) = until(children, ENGINE_S_MAX, f"the first process of {self.name}")
        (self.home / "init").write_text(f"{init.pid} {init.create_time()}")

    def answers(self) -> bool:
        """Whether the engine does.

        Raises:
            EnginesError: It has ended.
        """
        with contextlib.suppress(DockerError):
            self.docker("version")
            return True
        if self.init() is None:
            raise EnginesError(f"{self.name} has ended: see {self.home / 'log'}")
        return False

    def end(self) -> None:
        """Kill everything in it at once."""
        init = self.init()
        if init is not None:
            init.kill()
            until(lambda: self.init() is None, END_S_MAX, f"the end of {self.name}")


def machines() -> list[Machine]:
    """Those that there are, alive or not."""
    return sorted(
        (Machine(int(home.name.removeprefix("machine"))) for home in DIRECTORY.glob("machine*")),
        key=lambda one: one.number,
    )


def up(count: int) -> None:
    """Make the bridge and `count` machines, all managers of one swarm.

    Raises:
        EnginesError: There are some already, or something is missing.
    """
    if any(machine.init() for machine in machines()):
        raise EnginesError(f"{DIRECTORY} has machines that run: `down` first")
    run("ip", "netns", "add", LAN)
    run("ip", "-n", LAN, "link", "add", "lan0", "type", "bridge")
    run("ip", "-n", LAN, "addr", "add", f"{SUBNET}.254/24", "dev", "lan0")
    for link in ("lan0", "lo"):
        run("ip", "-n", LAN, "link", "set", link, "up")
    made = [Machine(number + 1) for number in range(count)]
    for machine in made:
        machine.connect()
        machine.start()
    for machine in made:
        until(machine.answers, ENGINE_S_MAX, f"the engine of {machine.name}")
    first = made[0]
    pool = ("--default-addr-pool", POOL, "--default-addr-pool-mask-length", "24")
    # As docs/swarm.md says: a dead machine is known in 4 s.
    swift = ("--dispatcher-heartbeat", "2s")
    first.docker("swarm", "init", "--advertise-addr", first.address, *pool, *swift)
    token = first.docker("swarm", "join-token", "--quiet", "manager").strip()
    for other in made[1:]:
        join = ("--advertise-addr", other.address, "--token", token, f"{first.address}:2377")
        other.docker("swarm", "join", *join)
    sys.stdout.write(first.docker("node", "ls"))


def images(names: Sequence[str]) -> None:
    """Copy images from this machine's own engine into every machine that runs, one by one."""
    with tempfile.TemporaryDirectory() as folder:
        archive = f"{folder}/images.tar"
        docker("save", "--output", archive, *names, wait_s=IMAGES_S_MAX)
        for machine in machines():
            if machine.init() is not None:
                machine.docker("load", "--quiet", "--input", archive, wait_s=IMAGES_S_MAX)


def kill(machine: Machine, how: str) -> None:
    """Break a machine: `power`, `crash` or `cable`.

    * power: it is gone, without a word to anyone;
    * crash: its programs are gone, and its kernel refuses who comes;
    * cable: nobody reaches it, and all in it goes on.
    """
    if how != "crash":
        machine.cable("down")
    if how != "cable":
        machine.end()


def revive(machine: Machine) -> None:
    """Connect it, and start it if it does not run."""
    machine.cable("up")
    if machine.init() is None:
        machine.start()
        until(machine.answers, ENGINE_S_MAX, f"the engine of {machine.name}")


def down(*, keep: bool) -> None:
    """Remove everything that `up` made; with `keep` leave the disks' images."""
    for machine in machines():
        machine.end()
        with contextlib.suppress(EnginesError):
            run("ip", "netns", "delete", machine.name)
        # One tree, or one for each controller.
        for root in [*CGROUPS.glob(machine.name), *CGROUPS.glob(f"*/{machine.name}")]:
            remove_cgroups(root)
        if keep:
            for part in ("swarm", "network", "containers", "volumes", "containerd", "runtimes"):
                shutil.rmtree(machine.home / "disk" / part, ignore_errors=True)
        else:
            shutil.rmtree(machine.home)
    with contextlib.suppress(EnginesError):
        run("ip", "netns", "delete", LAN)


def remove_cgroups(root: Path) -> None:
    """Those below `root`, then it; they are empty, and their files can't be deleted."""
    for folder in sorted((one for one in root.rglob("*") if one.is_dir()), reverse=True):
        folder.rmdir()
    root.rmdir()


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out one command; a `LabError` ends the program with its text."""
    parser = argparse.ArgumentParser(prog="engines", description="Several machines on one.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up").add_argument("count", type=int, nargs="?", default=3)
    commands.add_parser("images").add_argument("names", nargs="+")
    killing = commands.add_parser("kill")
    killing.add_argument("--how", choices=("power", "crash", "cable"), default="power")
    for command in (killing, commands.add_parser("revive")):
        command.add_argument("number", type=int)
    commands.add_parser("down").add_argument("--keep", action="store_true")
    args = parser.parse_args(argv)
    try:
        match args.command:
            case "up":
                up(args.count)
            case "images":
                images(args.names)
            case "kill":
                kill(Machine(args.number), args.how)
            case "revive":
                revive(Machine(args.number))
            case "down":
                down(keep=args.keep)
    except (LabError, TimeoutError) as error:
        sys.exit(f"engines: {error}")


if __name__ == "__main__":
    main()
