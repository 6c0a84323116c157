"""A program out of one of the containers' images, to run on this machine as a process.

With it the tests try what users run in containers: `haproxies.py` and `redises.py` use it.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# An engine that is there answers at once; a container that prints 20 MB takes a second or two.
ENGINE_S_MAX = 60.0

# The program, what it is linked with and the loader that links it, as a tar. The image's C
# library is newer than Debian 12's, so none of this machine's is used.
PACK = r"""
program=$(readlink -f "$(command -v {})")
tar -chf - "$program" $(ldd "$program" | grep -o '/[^ ]*')
"""
RUN = """#!/bin/sh
exec '{0}/ld.so' --library-path '{0}' '{0}/{1}' "$@"
"""


class NotHereError(Exception):
    """This machine does not have it; the text says why."""


def name(variable: str) -> str:
    """An image as docker-compose.yml gets it: from the environment, else from .env."""
    found = re.search(rf"^{variable}=(.*)$", (ROOT / ".env").read_text(), re.MULTILINE)
    return os.environ.get(variable) or (found[1] if found else "")


def unpacked(image: str, program: str, directory: Path) -> Path:
    """A script in `directory` that runs the image's program.

    Raises:
        NotHereError: There is no such image, no engine, or no such program in it.
    """
    archive = directory / "packed.tar"
    _engine(["image", "inspect", image], f"no image {image}, or no engine")
    with archive.open("wb") as output:
        run = ["run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c"]
        what = f"{image} does not give its program"
        _engine([*run, PACK.replace("{}", program)], what, output.fileno())
    with tarfile.open(archive) as packed:
        for number, member in enumerate(packed.getmembers()):
            base = Path(member.name).name
            # The first is the program, which may be a link to a file with another name.
            member.name = program if not number else "ld.so" if base.startswith("ld-") else base
            packed.extract(member, directory, filter="data")
    archive.unlink()
    run_it = directory / "run"
    run_it.write_text(RUN.format(directory, program))
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
