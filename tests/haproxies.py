"""Every HAProxy that users have: that of PATH, that of the wheel, that of the containers.

haproxy/haproxy.cfg is for all of them, and they are several years apart. A test that takes
the fixture `haproxy_program` (conftest.py) runs on each; one that this machine does not have is
skipped, with the reason.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from lab.fleet.haproxy_server import BINARY
from tests import images
from tests.images import NotHereError as NotHereError  # noqa: PLC0414 — for its callers

PLACES = ("PATH", "wheel", "image")


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
    return images.unpacked(image(), "haproxy", directory)


def image() -> str:
    """The containers' image."""
    return images.name("HAPROXY_IMAGE")


@functools.cache
def version(haproxy: Path) -> str:
    """As it says: `2.6.12`."""
    said = subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].split("-")[0]
