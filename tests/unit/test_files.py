"""The limit of open files, on systems that say one thing and take another."""

from __future__ import annotations

import sys

import pytest

from echod.limits import files

UNLIMITED = -1


class System:
    """Stands in for `resource`: a process with two limits, and a kernel that takes `most`."""

    RLIMIT_NOFILE = 7
    RLIM_INFINITY = UNLIMITED

    def __init__(self, soft: int, hard: int, most: int) -> None:
        self.soft, self.hard, self._most = soft, hard, most

    def getrlimit(self, _: int) -> tuple[int, int]:
        """Both."""
        return self.soft, self.hard

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        """As Python's: EINVAL is a ValueError."""
        soft, hard = limits
        assert hard == self.hard  # what is lowered never comes back
        if self._most != UNLIMITED and (soft == UNLIMITED or soft > self._most):
            raise ValueError("current limit exceeds maximum limit")
        if self.hard != UNLIMITED and soft > self.hard:
            raise ValueError("not allowed to raise maximum limit")
        self.soft = soft


@pytest.mark.parametrize(
    "soft,hard,most,had",
    [
        (1024, 20_000, UNLIMITED, 20_000),
        (1024, 1_048_576, UNLIMITED, 1_048_576),
        (20_000, 20_000, UNLIMITED, 20_000),
        (1024, UNLIMITED, UNLIMITED, sys.maxsize),
        (UNLIMITED, UNLIMITED, UNLIMITED, sys.maxsize),
        # macOS: "unlimited", and as many as kern.maxfilesperproc says, or OPEN_MAX.
        (256, UNLIMITED, 61_440, 12_000),
        (256, UNLIMITED, 10_240, 10_240),
        (256, UNLIMITED, 1000, 256),
        (20_000, UNLIMITED, 30_000, 20_000),
    ],
)
def test_what_the_system_takes(
    soft: int, hard: int, most: int, had: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hard limit, else what is wanted, else what is known; never less than there was."""
    system = System(soft, hard, most)
    monkeypatch.setattr(files, "resource", system)
    assert files.raise_limit(12_000) == had
    assert system.soft == (UNLIMITED if had == sys.maxsize else had)
