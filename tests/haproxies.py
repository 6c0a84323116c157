"""Every HAProxy that users have: that of PATH, that of the wheel, that of the containers.

haproxy/haproxy.cfg is for all of them, and they are several years apart. A test that takes
the fixture `haproxy_program` (conftest.py) runs on each; one that this machine does not have is
skipped, with the reason.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from lab.fleet.haproxy_server import BINARY

PLACES = ("PATH", "wheel", "image")

ROOT = Path(__file__).resolve().parents[1]

# An engine that is there answers at once; a container that prints 20 MB takes a second or two.
ENGINE_S_MAX = 60.0

# The program, what it is linked with and the loader that links it, as a tar. The image's C
# library is newer than Debian 12's, so none of this machine's is used.
PACK = r"""
program=$(readlink -f "$(command -v haproxy)")
tar -chf - "$program" $(ldd "$program" | grep -o '/[^ ]*')
"""
RUN = """#!/bin/sh
exec '{0}/ld.so' --library-path '{0}' '{0}/haproxy' "$@"
"""


class NotHereError(Exception):
    """This machine does not have it; the text says why."""


def program(place: str, directory: Path) -> Path:
    """The HAProxy of one of `PLACES`; the image's is unpacked in `directory`.

    Raises:
        NotHereError: There is none.
    """
    if place == "PATH":
        found = shutil.which("haproxy")
        if found is None:
            raise NotHereError("no haproxy on PATH")
        return Path(found)
    if place == "wheel":
        bundled = BINARY.bundled()
        if bundled is None:
            raise NotHereError("no HAProxy wheel for this machine")
        return bundled
    return _unpacked(image(), directory)


def image() -> str:
    """The containers' image, as docker-compose.yml gets it: from the environment, else .env."""
    found = re.search(r"^HAPROXY_IMAGE=(.*)$", (ROOT / ".env").read_text(), re.MULTILINE)
    return os.environ.get("HAPROXY_IMAGE") or (found[1] if found else "")


@functools.cache
def version(haproxy: Path) -> str:
    """As it says: `2.6.12`."""
    said = subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].split("-")[0]


def _unpacked(name: str, directory: Path) -> Path:
    """A program that runs the image's HAProxy on this machine, as a process like any other."""
    archive = directory / "haproxy.tar"
    _engine(["image", "inspect", name], f"no image {name}, or no engine")
    with archive.open("wb") as output:
        run = ["run", "--rm", "--network", "none", "--entrypoint", "sh", name, "-c", PACK]
        _engine(run, f"{name} does not give its program", output.fileno())
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            base = Path(member.name).name
            member.name = "ld.so" if base.startswith("ld-") else base
            packed.extract(member, directory, filter="data")
    archive.unlink()
    run_it = directory / "run"
    run_it.write_text(RUN.format(directory))
    run_it.chmod(0o755)
    return run_it


def _engine(words: list[str], reason: str, output: int = subprocess.DEVNULL) -> None:
    try:
        done = subprocess.run(
            ["docker", *words],
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=ENGINE_S_MAX,
            check=False,
        )
    except FileNotFoundError:
        raise NotHereError(f"{reason}: no docker on PATH") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHereError(f"{reason}: {error}") from error
    if done.returncode:
        raise NotHereError(f"{reason}: {done.stderr.decode(errors='replace').strip()}")
