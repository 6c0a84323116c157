"""lingering.py, as far as it needs no socket."""

from __future__ import annotations

import errno
import fcntl
from typing import TYPE_CHECKING, Any

from echod.client.lingering import unacknowledged_bytes

if TYPE_CHECKING:
    import pytest


class Numbered:
    """What has a descriptor."""

    def fileno(self) -> int:
        """Its number."""
        return 7


def test_a_system_that_does_not_say_what_is_unacknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no error of the connection: macOS has no SIOCOUTQ for sockets."""

    def refuse(*_: object) -> Any:  # noqa: ANN401 — as fcntl.ioctl
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    sock: Any = Numbered()
    assert unacknowledged_bytes(sock) == 0
