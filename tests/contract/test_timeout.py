"""`variants.timeout.Timeout` against gevent's: the same programs, the same outcome; nothing armed.

Random programs nest blocks with short, long and no limits, catch, cancel, raise and wait.
Each is run with gevent, in an asyncio task and in the main thread. Time passes only in
waits, and those end when the earliest short limit does; short limits end `GAP_S` apart.
A run in which the machine was late decides nothing, and is repeated.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import gevent
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from variants.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

GAP_S = 0.008
LATE_S_MAX = GAP_S / 3
LONG_S = 1000.0
# A wait that nothing ends; above all slots that a program can take together.
FOREVER_S = 1.0
RUNS_MAX = 100


class BoomError(Exception):
    """What a program raises by itself."""


@dataclass(frozen=True)
class Block:
    """A `with Timeout(...)` and an `except` around it."""

    limit: int | str
    """The rank of a short limit, "long", or "none"."""
    exception: str
    """What is raised: "self", "silent", "text", or an exception's "class" or "instance"."""
    catch: str
    """What the `except` around it takes: "nothing", its "own", or "everything"."""
    body: tuple[Block | str, ...]
    """Blocks, "wait", "raise", and "cancel" (of the innermost) or "cancel all"."""


BODY_MAX = 4
LIMITS = st.sampled_from([1, 2, 3, 4, 5, 6, "long", "none"])
EXCEPTIONS = st.sampled_from(["self", "silent", "text", "class", "instance"])
CATCHES = st.sampled_from(["nothing", "own", "own", "everything"])
LEAVES = st.sampled_from(["wait", "wait", "wait", "wait", "raise", "cancel", "cancel all"])


def blocks(depth: int) -> st.SearchStrategy[Block]:
    """Blocks that hold others, `depth` deep; the last statement of each is a wait."""
    inner = st.one_of(LEAVES, blocks(depth - 1), blocks(depth - 1)) if depth > 1 else LEAVES
    bodies = st.lists(inner, max_size=BODY_MAX).map(lambda body: (*body, "wait"))
    return st.builds(Block, limit=LIMITS, exception=EXCEPTIONS, catch=CATCHES, body=bodies)


programs = blocks(3).map(lambda block: (block,))

# An inner limit ends, is taken, and the outer one ends in the next wait; and the reverse.
OUTER_LATER = (Block(3, "self", "own", (Block(1, "class", "own", ("wait",)), "wait")),)
OUTER_FIRST = (Block(1, "text", "own", (Block(3, "self", "everything", ("wait",)), "wait")),)


class AnyTimeout(Protocol):
    """What gevent's and ours have in common."""

    @property
    def pending(self) -> bool:
        """Whether it will expire."""

    def cancel(self) -> None:
        """Don't."""


class Run:
    """One run of a program, and what was seen.

    Attributes:
        late: Whether the machine was so late that the run decides nothing.
        misled: Whether a limit ended within one whose end had been swallowed. In a task that
            is the outer one's end once more, as timeout.py says; gevent knows better.
    """

    def __init__(self, make: Callable[..., Any], wait: Callable[[float], Awaitable[None]]) -> None:
        self.make = make
        self.wait = wait
        self.seen: list[str] = []
        # The blocks entered now, outermost first: timeout and, if it is short, its slot.
        self.entered: list[tuple[AnyTimeout, int | None]] = []
        # Short limits end in slots, GAP_S apart, one in each; waits end in the same slots.
        self.begin_s = self.awake_s = time.monotonic()
        self.slot = 0
        self.taken: set[int] = set()
        self.late = self.misled = False
        self.ended: set[int] = set()

    async def run(self, program: tuple[Block | str, ...]) -> Run:
        """Run a program to its end, and name the end."""
        try:
            await self.body(program)
        except BaseException as error:  # noqa: BLE001 — the program's outcome
            text = getattr(error, "exception", "")
            self.seen.append(f"ends: {type(error).__name__} {text}")
        self.note_lateness(self.awake_s)
        return self

    async def body(self, body: tuple[Block | str, ...]) -> None:
        """Run statements."""
        for statement in body:
            if isinstance(statement, Block):
                await self.block(statement)
            elif statement == "wait":
                await self.wait_for_the_earliest()
            elif statement == "raise":
                raise BoomError
            else:
                for timeout, _ in self.entered[-1 if statement == "cancel" else 0 :]:
                    timeout.cancel()

    async def wait_for_the_earliest(self) -> None:
        """Wait until the earliest short limit ends; not at all if there is none."""
        slots = [slot for timeout, slot in self.entered if slot and timeout.pending]
        if not slots:
            self.seen.append("nothing to wait for")
            return
        self.note_lateness(self.awake_s)
        try:
            await self.wait(FOREVER_S)
            self.seen.append("waited in vain")
        finally:
            self.slot = min(slots)
            within = [slot for _, slot in self.entered]
            if self.ended.intersection(within[: within.index(self.slot)]):
                self.misled = True
            self.ended.add(self.slot)
            self.awake_s = time.monotonic()
            self.note_lateness(self.begin_s + self.slot * GAP_S)

    async def block(self, block: Block) -> None:
        """Run a block, and take what it is to catch."""
        own = type(f"Own{len(self.seen)}", (Exception,), {})
        exceptions = {
            "self": None, "silent": False, "text": "a text", "class": own, "instance": own(),
        }  # fmt: skip
        seconds, slot = self.limit(block.limit)
        timeout = self.make(seconds, exceptions[block.exception])
        try:
            with timeout as entered:
                assert entered is timeout
                self.entered.append((timeout, slot))
                try:
                    await self.body(block.body)
                finally:
                    self.entered.pop()
            self.seen.append("block done")
        except BaseException as error:
            mine = error is timeout or isinstance(error, own)
            self.seen.append("mine" if mine else "another's")
            if block.catch != "everything" and not (mine and block.catch == "own"):
                raise
        assert not timeout.pending

    def limit(self, limit: int | str) -> tuple[float | None, int | None]:
        """Seconds for a block's limit and, for a short one, the slot in which it ends."""
        if not isinstance(limit, int):
            return (LONG_S if limit == "long" else None), None
        slot = self.slot + limit
        while slot in self.taken:
            slot += 1
        self.taken.add(slot)
        return self.begin_s + slot * GAP_S - time.monotonic(), slot

    def note_lateness(self, expected_s: float) -> None:
        """Now should not be long after `expected_s`."""
        if time.monotonic() - expected_s > LATE_S_MAX:
            self.late = True


def drive(run: Coroutine[None, None, Run]) -> Run:
    """Run to the end what never gives up control to a loop."""
    with pytest.raises(StopIteration) as end:
        run.send(None)
    result: Run = end.value.value
    return result


def with_gevent(program: tuple[Block | str, ...]) -> Run:
    """Run a program under the original."""

    async def wait(seconds: float) -> None:
        gevent.sleep(seconds)

    return drive(Run(gevent.Timeout, wait).run(program))


def in_the_main_thread(program: tuple[Block | str, ...]) -> Run:
    """Run a program with blocking calls."""

    async def wait(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 — blocking is what is tested

    result = drive(Run(Timeout, wait).run(program))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    return result


def in_a_task(program: tuple[Block | str, ...]) -> Run:
    """Run a program in asyncio's main task."""

    async def main() -> Run:
        result = await Run(Timeout, asyncio.sleep).run(program)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # noqa: SLF001 — no public way
        assert not [timer for timer in timers if not timer.cancelled()]
        return result

    return asyncio.run(main())


def outcome(way: Callable[[tuple[Block | str, ...]], Run], program: tuple[Block | str, ...]) -> Run:
    """A run that was not late."""
    for _ in range(RUNS_MAX):
        result = way(program)
        if not result.late:
            return result
    pytest.skip(f"this machine was late {RUNS_MAX} times: no run decides anything")


@pytest.mark.parametrize("way", [in_a_task, in_the_main_thread])
@settings(max_examples=80, deadline=None, database=None, derandomize=True)
@given(program=programs)
@example(program=OUTER_LATER)
@example(program=OUTER_FIRST)
def test_as_gevent(
    way: Callable[[tuple[Block | str, ...]], Run], program: tuple[Block | str, ...]
) -> None:
    """A random program sees the same as under gevent, and leaves nothing armed."""
    original = outcome(with_gevent, program)
    assume(not (original.misled and way is in_a_task))
    assert outcome(way, program).seen == original.seen


@pytest.fixture
def alarm() -> Iterator[list[int]]:
    """Somebody else's SIGALRM handler: the list counts its calls; all is reset afterwards."""
    calls: list[int] = []
    signal.signal(signal.SIGALRM, lambda signum, _frame: calls.append(signum))
    yield calls
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_an_alarm_before_ours_goes_on(alarm: list[int]) -> None:
    """It has what is left of its time, its period and its handler afterwards."""
    handler = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 100.0, 7.0)
    begin_s = time.monotonic()
    with pytest.raises(Timeout), Timeout(0.05):
        time.sleep(FOREVER_S)
    left_s, period_s = signal.getitimer(signal.ITIMER_REAL)
    took_s = time.monotonic() - begin_s
    assert 0.05 <= took_s < FOREVER_S
    assert left_s == pytest.approx(100.0 - took_s, abs=0.05)
    assert period_s == 7.0
    assert signal.getsignal(signal.SIGALRM) is handler
    assert alarm == []


def test_an_alarm_within_our_block(alarm: list[int]) -> None:
    """It rings in time, again and again, without ending the block; ours is still in force."""
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    with pytest.raises(Timeout), Timeout(0.1):
        time.sleep(FOREVER_S)
    assert len(alarm) >= 2
    assert signal.getitimer(signal.ITIMER_REAL)[1] == pytest.approx(0.01)


def test_what_an_alarm_raises(alarm: list[int]) -> None:
    """An exception of the other handler's passes, and leaves nothing of ours armed."""
    del alarm

    def handler(*_: object) -> None:
        raise BoomError

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    with pytest.raises(BoomError), Timeout(LONG_S), Timeout(LONG_S):
        time.sleep(FOREVER_S)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_expiring_anywhere() -> None:
    """Wherever in entering and leaving blocks it expires, it does, and nothing is left armed."""
    for microseconds in range(0, 300, 2):
        give_up_s = time.monotonic() + FOREVER_S
        with Timeout(microseconds / 1e6, exception=False):
            while True:  # with a condition CPython 3.13 has a gap: see timeout.py
                with Timeout(LONG_S), Timeout(LONG_S):
                    pass
                if time.monotonic() > give_up_s:
                    break
        assert time.monotonic() < give_up_s
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_a_computation_is_ended() -> None:
    """In the main thread a block that never waits is ended too, which gevent can't do."""
    give_up_s = time.monotonic() + FOREVER_S
    with Timeout(0.02, exception=False):
        while True:  # as in test_expiring_anywhere
            if time.monotonic() > give_up_s:
                break
    assert time.monotonic() < give_up_s


def test_used_again() -> None:
    """An object can limit one block after another, but not two at once."""
    timeout = Timeout(0.01, exception=False)
    for _ in range(2):
        with timeout:
            time.sleep(FOREVER_S)
            pytest.fail("it did not expire")
    with timeout, pytest.raises(RuntimeError, match="already"), timeout:
        pass


def test_texts() -> None:
    """A timeout prints as gevent's does."""
    for arguments in ((), (1,), (0.5,), (2, False), (2, "the text"), (3, ValueError("x"))):
        assert str(Timeout(*arguments)) == str(gevent.Timeout(*arguments))


def test_another_thread_is_refused() -> None:
    """A thread that can't be interrupted hears so at once."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with Timeout(LONG_S):
                pass
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "can't be interrupted" in str(errors[0])


def test_a_task_in_another_thread() -> None:
    """A loop in another thread can: its tasks are cancelled by it."""
    ends: list[str] = []

    async def main() -> None:
        try:
            with Timeout(0.01):
                await asyncio.sleep(FOREVER_S)
        except Timeout as error:
            ends.append(str(error))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert ends == ["0.01 seconds"]


def test_a_callback_is_refused() -> None:
    """Outside of a task there is nothing to cancel."""

    async def main() -> str:
        done = asyncio.get_running_loop().create_future()

        def callback() -> None:
            try:
                with Timeout(LONG_S):
                    pass
            except RuntimeError as error:
                done.set_result(str(error))

        asyncio.get_running_loop().call_soon(callback)
        return str(await done)

    assert "no task" in asyncio.run(main())


@pytest.mark.parametrize("exception", [None, False, BoomError])
def test_a_cancellation_by_somebody_else(exception: type[BoomError] | None) -> None:
    """It goes on outwards, though the timeout expires in the same turn of the loop."""

    async def work() -> None:
        with Timeout(0, exception):
            await asyncio.sleep(FOREVER_S)

    async def main() -> None:
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_two_in_one_turn_of_the_loop() -> None:
    """Of two that expire together the outer one is raised, and the count is even."""

    async def main() -> None:
        with pytest.raises(BoomError), Timeout(0, BoomError), Timeout(0, exception=False):
            await asyncio.sleep(FOREVER_S)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())


def test_in_a_task_that_is_being_cancelled() -> None:
    """Cleaning up after a cancellation can have its own limit, and the cancellation goes on."""
    ends: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(FOREVER_S)
        finally:
            try:
                with Timeout(0):
                    await asyncio.sleep(FOREVER_S)
            except Timeout:
                ends.append("limited")

    async def main() -> None:
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ends == ["limited"]
