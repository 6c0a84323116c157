"""Budgets: in a crowd that is full the oldest gives way, and no crowd takes another's places."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from echod.limits import files
from echod.limits.capacity import Capacity, Crowd
from echod.limits.files import SHORT_S, SPARE_FILES, Files
from echod.loop.clock import Clock
from echod.metrics import Metrics

if TYPE_CHECKING:
    import pytest

MOST = 4


@given(st.lists(st.tuples(st.sampled_from(("add", "discard", "shed")), st.integers(0, 9))))
def test_the_oldest_gives_way(steps: list[tuple[str, int]]) -> None:
    """Whoever comes and goes: never too many, each in its order, each dropped once and counted."""
    metrics, dropped = Metrics(), list[int]()
    crowd: Crowd[int] = Crowd("kind", MOST, dropped.append, metrics)
    model, gone = list[int](), list[int]()
    for step, member in steps:
        if step == "add" and member not in model:
            crowd.add(member)
            if len(model) == MOST:
                gone.append(model.pop(0))
            model.append(member)
        elif step == "discard":
            crowd.discard(member)
            model = [each for each in model if each != member]
        elif step == "shed":
            assert crowd.shed() == bool(model)
            gone += model[:1]
            model = model[1:]
        assert list(crowd) == model
        assert crowd.full == (len(model) == MOST)
        assert dropped == gone
    assert metrics.sockets_cut_short.get("kind", 0) == len(gone)


def test_a_bug_in_dropping_one_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The newcomer has its place; the log has the traceback."""

    def fail(_: int) -> None:
        raise ValueError("a bug")

    crowd: Crowd[int] = Crowd("kind", 1, fail, Metrics())
    crowd.add(1)
    crowd.add(2)
    assert list(crowd) == [2]
    assert "a bug" in caplog.text


class Leaver:
    """One that lingers."""

    closed = False

    def close(self) -> None:
        """See `Lingering`."""
        self.closed = True


def test_who_only_leaves_makes_room() -> None:
    """Clients and those that were clients have `connections_max` places, and no more."""
    capacity = Capacity(3, Clock(0.0), Metrics())
    leavers = [Leaver() for _ in range(2)]
    for leaver in leavers:
        capacity.departing.add(leaver)  # type: ignore[arg-type]  # all that is needed of one
    capacity.clients = 1
    assert capacity.admits()
    assert [leaver.closed for leaver in leavers] == [True, False]
    capacity.clients = 3
    assert not capacity.admits()
    assert not leavers[1].closed
    capacity.files.close()


def test_files_are_given_up_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the one that the others are made from; taken back when there are some."""
    clock = Clock(0.0)
    spare = Files(clock)
    assert not spare.short
    assert [spare.give_up_one() for _ in range(SPARE_FILES + 1)] == [True] * SPARE_FILES + [False]
    assert spare.short

    def none(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "dup", none)
        spare.tick()
        assert not spare.give_up_one()
    spare.tick()
    assert spare.give_up_one()
    clock.now_s = SHORT_S - 0.1
    assert spare.short
    clock.now_s = SHORT_S + 0.1
    assert not spare.short
    spare.close()


def open_files() -> set[int]:
    """Their numbers, now."""
    numbers = set()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 — it has a file of its own open meanwhile
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            numbers.add(int(name))
    return numbers


def test_files_are_not_inherited() -> None:
    """A program that a daemon would start gets none of them."""
    before = open_files()
    spare = Files(Clock(0.0))
    made = open_files() - before
    assert len(made) >= SPARE_FILES
    assert not any(os.get_inheritable(fd) for fd in made)
    spare.close()
    assert open_files() == before
