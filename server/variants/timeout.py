"""A8: gevent's `Timeout`, a limit on the run time of a block, in pure Python.

    with Timeout(0.5):                        # raises the Timeout itself
    with Timeout(0.5, BusyError("slow")):     # raises that, an instance or a class
    with Timeout(0.5, exception=False):       # just leaves the block
    with Timeout(None):                       # never expires

As in gevent: blocks nest; a `Timeout` is a BaseException, so that `except Exception` does
not swallow it; `except Timeout as t: t is mine` tells one's own from another's, which goes
on outwards; a block that swallowed the exception goes on, and it is not raised again.

How it interrupts depends on where the block is entered:

    in an asyncio task  the loop's timer cancels the task, and `__exit__` turns that
                        CancelledError into the exception;
    in the main thread  SIGALRM's handler raises the exception, which ends a blocking call;
    elsewhere           RuntimeError. In another thread nothing can end a blocking call:
                        CPython's PyThreadState_SetAsyncExc is seen only after it.

What differs from gevent's documented semantics, and why:

    within a task's block it is CancelledError that is seen: asyncio has no public way to
        throw another exception into a task. Outside the block there is no difference;
    two that expire while the task can't run are one cancellation, and the outer one is
        raised: asyncio counts requests to cancel, it does not queue them. Nor does it tell
        that a block swallowed one: the next that expires within is raised as the outer one.
        Likewise a cancellation by somebody else always goes on outwards;
    in the main thread it is raised anywhere, a `finally` or a computation included, not
        only where the code waits: a signal does not ask. CPython 3.13 has a gap there: what
        a signal raises at the end of a `while CONDITION:` loop's body can pass the `with`
        around it, as Ctrl-C can (python/cpython#130279); `while True:` and calls that wait
        are not concerned;
    there is no `start()`: only a block's end can turn the CancelledError, and a timeout that
        no block ends is what stays armed. `close()` is `cancel()`; an object can be used again;
    negative seconds are 0, which gevent leaves undefined.

One alarm serves the main thread. An alarm that was set before (`signal.setitimer`,
`signal.alarm`) keeps its time: its handler is called when it is due, and it goes on with
what is left. After the last block the timer and the handler are as they were.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

# setitimer takes 0 for "off", and what is overdue must still ring.
SOONEST_S = 1e-6
# After ringing while this module was at work: until then it is done.
RETRY_S = 1e-4


class Timeout(BaseException):
    """A limit on the time that a `with` block takes; see the module.

    Args:
        seconds: From entering the block; None never expires.
        exception: What is raised: None, the timeout itself; False, the same, swallowed where
            the block ends; a string, the same with that text; else this exception.
    """

    def __init__(
        self,
        seconds: float | None = None,
        exception: BaseException | type[BaseException] | str | Literal[False] | None = None,
    ) -> None:
        super().__init__()
        self.seconds = seconds
        self.exception = exception
        self._alarm: _TaskAlarm | _MainAlarm | None = None

    @property
    def pending(self) -> bool:
        """Whether it will expire if the block goes on."""
        return self._alarm is not None and self._alarm.pending

    def cancel(self) -> None:
        """Don't expire any more; nothing happens if it has, or never would."""
        if self._alarm is not None:
            self._alarm.stop()

    close = cancel

    def __enter__(self) -> Self:
        if self._alarm is not None:
            raise RuntimeError(f"{self!r} is the limit of a block already")
        if self.seconds is not None:
            self._alarm = _arm(max(self.seconds, 0.0), self._raised())
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.stop()
            if alarm.is_behind(value):
                if self.exception is False:
                    return True
                raise alarm.raises from value
        return value is self and self.exception is False

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        text = f"{self.seconds} second{'' if self.seconds == 1 else 's'}"
        if self.exception is None:
            return text
        return f"{text} (silent)" if self.exception is False else f"{text}: {self.exception}"

    def __repr__(self) -> str:
        state = " pending" if self.pending else ""
        return f"<{type(self).__name__} {self.seconds} s{state}>"

    def _raised(self) -> BaseException | type[BaseException]:
        if isinstance(self.exception, (BaseException, type)):
            return self.exception
        return self


def _arm(seconds: float, raises: BaseException | type[BaseException]) -> _TaskAlarm | _MainAlarm:
    """Let `raises` be raised here in so many seconds.

    Raises:
        RuntimeError: Nothing could raise it here.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "Timeout: a thread that is not the main one can't be interrupted;"
                " give the blocking call a timeout of its own"
            ) from None
        return _MainAlarm(seconds, raises)
    if task is None:
        raise RuntimeError("Timeout: a callback of the loop is no task, and must not wait")
    return _TaskAlarm(seconds, raises, task)


class _TaskAlarm:
    """Cancels a task; asyncio's own `timeout` counts cancellations in the same way."""

    def __init__(
        self,
        seconds: float,
        raises: BaseException | type[BaseException],
        task: asyncio.Task[Any],
    ) -> None:
        self.raises = raises
        self.pending = True
        self._task = task
        self._cancelling = task.cancelling()
        loop = task.get_loop()
        # A timer of 0 would let one more turn of the loop pass.
        self._handle: asyncio.Handle = (
            loop.call_later(seconds, self._expire) if seconds else loop.call_soon(self._expire)
        )
        self._expired = False

    def stop(self) -> None:
        """Expire no more."""
        self._handle.cancel()
        self.pending = False

    def is_behind(self, value: BaseException | None) -> bool:
        """At the block's end: whether it ends by our cancellation and by nobody else's."""
        if not self._expired:
            return False
        others = self._task.uncancel() > self._cancelling
        return isinstance(value, asyncio.CancelledError) and not others

    def _expire(self) -> None:
        self.pending = False
        self._expired = True
        self._task.cancel()


class _MainAlarm:
    """One deadline of the main thread's."""

    def __init__(self, seconds: float, raises: BaseException | type[BaseException]) -> None:
        self.raises = raises
        self.deadline_s = time.monotonic() + seconds
        _clock.add(self)

    @property
    def pending(self) -> bool:
        """Whether it will ring."""
        return self in _clock.alarms

    def stop(self) -> None:
        """Ring no more."""
        _clock.remove(self)

    def is_behind(self, value: BaseException | None) -> bool:  # noqa: ARG002 — as _TaskAlarm's
        """Never: what the handler raised is the exception itself."""
        return False


class _AlarmClock:
    """The process's one SIGALRM timer, shared by all deadlines of the main thread.

    Invariants: while `alarms` is empty, timer and handler are not ours; while it is not, the
    timer is set for the earliest, or for a moment later if it rang while we were at work.
    """

    def __init__(self) -> None:
        self.alarms: list[_MainAlarm] = []
        self._handler: Callable[[int, FrameType | None], Any] | int | None = None
        # The alarm that was set before ours: when it is due (None: it is not), and its period.
        self._other_s: float | None = None
        self._other_period_s = 0.0

    def add(self, alarm: _MainAlarm) -> None:
        """Ring for `alarm` too; the first takes timer and handler over."""
        if self.alarms:
            # A loop of short blocks is at work here whenever it rings: this is its chance.
            self._raise_what_is_due()
        else:
            if signal.getsignal(signal.SIGALRM) is None:
                raise RuntimeError("Timeout: SIGALRM's handler is not Python's: can't restore it")
            left_s, self._other_period_s = signal.setitimer(signal.ITIMER_REAL, 0)
            self._other_s = time.monotonic() + left_s if left_s else None
            self._handler = signal.signal(signal.SIGALRM, self._ring)
        self.alarms.append(alarm)
        self._set()

    def remove(self, alarm: _MainAlarm) -> None:
        """Don't ring for it; the last gives timer and handler back."""
        if alarm not in self.alarms:
            return
        self.alarms.remove(alarm)
        if self.alarms:
            self._set()
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        if self._other_s is not None:
            left_s = max(self._other_s - time.monotonic(), SOONEST_S)
            signal.setitimer(signal.ITIMER_REAL, left_s, self._other_period_s)

    def _set(self) -> None:
        next_s = min(alarm.deadline_s for alarm in self.alarms)
        if self._other_s is not None:
            next_s = min(next_s, self._other_s)
        signal.setitimer(signal.ITIMER_REAL, max(next_s - time.monotonic(), SOONEST_S))

    def _ring(self, signum: int, frame: FrameType | None) -> None:
        """SIGALRM: raise what is due in the code that was interrupted."""
        if _at_work(frame):
            # Raised now it would leave this module's state, or an `__exit__`, half done.
            if self.alarms:
                signal.setitimer(signal.ITIMER_REAL, RETRY_S)
            return
        if self._other_s is not None and self._other_s <= time.monotonic():
            self._ring_other(signum, frame)
        if not self.alarms:
            return  # it has cancelled them
        self._raise_what_is_due()
        self._set()

    def _raise_what_is_due(self) -> None:
        due = min(self.alarms, key=lambda alarm: alarm.deadline_s)
        if due.deadline_s <= time.monotonic():
            self.remove(due)
            raise due.raises

    def _ring_other(self, signum: int, frame: FrameType | None) -> None:
        """Do what the alarm that was set before would have done; it may raise."""
        period_s = self._other_period_s
        self._other_s = time.monotonic() + period_s if period_s else None
        self._set()
        if callable(self._handler):
            self._handler(signum, frame)
        elif self._handler == signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)  # which ends the process


def _at_work(frame: FrameType | None) -> bool:
    """Whether this module's code is running, or what it has called."""
    while frame is not None:
        if frame.f_globals is globals():
            return True
        frame = frame.f_back
    return False


_clock = _AlarmClock()
