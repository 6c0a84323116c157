"""What tells that a test makes a socket or starts a process."""

from __future__ import annotations

import sys

# Python reports these before it does them, whichever library asks.
IMPURE = {
    "socket.__new__", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty",
    "os.posix_spawn",
}  # fmt: skip


class ImpureError(Exception):
    """A test of this folder made a socket or started a process."""


class Watch:
    """An audit hook. Python removes none, so this one looks only while a test here runs."""

    def __init__(self) -> None:
        self.looks = False
        self.seen: list[str] = []
        """What was done, because the code under test may catch the error."""

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Called by Python with every event that it audits."""
        if self.looks and event in IMPURE:
            self.seen.append(event)
            raise ImpureError(event, arguments)


WATCH = Watch()
sys.addaudithook(WATCH)
