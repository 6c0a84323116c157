"""Docker's command line: the only place that runs it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# One command, on a busy machine.
ANSWER_S_MAX = 60.0


class DockerError(LabError):
    """Docker is not there, does not answer, or refuses; the text has its words."""


def docker(
    *words: str,
    directory: Path | None = None,
    wait_s: float = ANSWER_S_MAX,
    errors: bool = False,
    env: Mapping[str, str] | None = None,
    feed: str | None = None,
) -> str:
    """Run `docker` with these words, `compose …` in the directory of its file.

    `env` replaces the environment, and `feed` is its standard input.

    Returns:
        Its stdout; with `errors` its stderr too, as a container's log has both.

    Raises:
        DockerError: It did not do it.
    """
    command = f"docker {' '.join(words)}"
    try:
        done = subprocess.run(
            ["docker", *words],
            cwd=directory,
            env=env,
            input=feed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else subprocess.PIPE,
            text=True,
            check=True,
            timeout=wait_s,
        )
    except FileNotFoundError:
        raise DockerError("docker is not on PATH; a local fleet needs none") from None
    except subprocess.TimeoutExpired:
        raise DockerError(f"{command}: no answer in {wait_s:g} s") from None
    except subprocess.CalledProcessError as error:
        raise DockerError(f"{command}: {(error.stderr or error.stdout).strip()}") from None
    return done.stdout
