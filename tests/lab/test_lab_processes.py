"""`lab.fleet.processes`: ready lines, ends, and no orphans."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from lab.fleet import processes
from lab.fleet.processes import StartError
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

READY = 'print(\'{"event": "ready", "answer": 42}\', flush=True)'
FOREVER = "import signal; signal.pause()"

# Far above what any of these takes, far below anyone's patience.
WAIT_S = 30.0


def python(code: str) -> list[str]:
    """A command that runs `code`."""
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    """Whether no process has `pid`, or one that only waits for its parent to ask."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def interrupted(moment: int) -> Iterator[Callable[[], bool]]:
    """A Ctrl-C after so many calls and returns in the `with` block; says whether it came."""
    events = itertools.count()
    came = False

    def interrupt(frame: FrameType, event: str, _: object) -> None:
        nonlocal came
        if frame.f_code.co_filename not in (__file__, contextlib.__file__) and not came:
            came = next(events) == moment
            if came:
                raise KeyboardInterrupt(event)

    with contextlib.suppress(KeyboardInterrupt):
        sys.setprofile(interrupt)
        try:
            yield lambda: came
        finally:
            sys.setprofile(None)


def test_the_ready_line_is_read(tmp_path: Path) -> None:
    """A ready line among other output becomes `.ready`; everything is in the log."""
    code = f"print('hello'); print('{{no json'); {READY}; {FOREVER}"

    with processes.start(python(code), log=tmp_path / "log") as process:
        assert process.ready == {"event": "ready", "answer": 42}
        assert process.alive
        assert process.log.read_text().startswith("hello\n")


def test_an_earlier_ready_line_does_not_count(tmp_path: Path) -> None:
    """A second process with the same log is ready by its own line only."""
    log = tmp_path / "log"
    with processes.start(python(f"{READY}; {FOREVER}"), log=log):
        pass

    with pytest.raises(StartError):
        processes.start(python("pass"), log=log)


def test_variables_are_added(tmp_path: Path) -> None:
    """`env` stands beside the environment, not in its place."""
    code = "import os; print(os.environ['ADDED'], 'PATH' in os.environ)"
    process = processes.start(
        python(code), log=tmp_path / "log", env={"ADDED": "yes"}, expect_ready=False
    )

    assert process.wait(WAIT_S)
    assert process.log.read_text() == "yes True\n"


def test_an_early_end_is_told_with_its_last_words(tmp_path: Path) -> None:
    """A program that ends before it is ready raises its status and the end of its log."""
    with pytest.raises(StartError, match=r"ended \(status 3\)(.|\n)*no such luck"):
        processes.start(
            python("import sys; print('no such luck'); sys.exit(3)"), log=tmp_path / "log"
        )


def test_silence_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A program that never says it is ready is killed, and its log told of."""
    code = f"import os; print('my pid:', os.getpid(), flush=True); {FOREVER}"

    with pytest.raises(StartError, match="in vain for the ready line") as caught:
        processes.start(python(code), log=tmp_path / "log", ready_s_max=3.0)

    assert gone(int(str(caught.value).rpartition("my pid: ")[2]))


def test_terminate_gives_the_exit_status(tmp_path: Path) -> None:
    """A program that obeys SIGTERM is not killed."""
    code = f"import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); {READY}; {FOREVER}"
    process = processes.start(python(code), log=tmp_path / "log")

    assert process.terminate(WAIT_S) == 7
    assert process.terminate(WAIT_S) == 7
    assert not process.alive


def test_terminate_kills_who_does_not_obey(tmp_path: Path) -> None:
    """After the grace comes SIGKILL."""
    code = f"import signal; signal.signal(15, signal.SIG_IGN); {READY}\nwhile True: signal.pause()"
    process = processes.start(python(code), log=tmp_path / "log")

    assert process.terminate(0.1) == -signal.SIGKILL


def test_terminate_thaws_the_frozen(tmp_path: Path) -> None:
    """A stopped process is continued, so that it can obey."""
    process = processes.start(python(f"{READY}; {FOREVER}"), log=tmp_path / "log")
    process.signal(signal.SIGSTOP)
    until(
        lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, WAIT_S, "the freeze"
    )

    assert process.terminate(WAIT_S) == -signal.SIGTERM


def test_a_ctrl_c_at_any_moment_leaves_it_known(tmp_path: Path) -> None:
    """It comes as an exception, between any two calls of a look; the end is seen all the same."""
    for moment in itertools.count():
        process = processes.start(python(f"{READY}; {FOREVER}"), log=tmp_path / "log")
        with interrupted(moment) as came:
            assert process.alive

        assert process.terminate(WAIT_S) == -signal.SIGTERM
        if not came():
            break
    assert moment > 1


def test_a_ctrl_c_at_any_moment_leaves_the_end_known(tmp_path: Path) -> None:
    """Of a process that has ended too: it is never awaited again."""
    for moment in itertools.count():
        process = processes.start(python("pass"), log=tmp_path / "log", expect_ready=False)
        until(lambda: gone(process.pid), WAIT_S, "its end")  # noqa: B023 — called within the turn
        with interrupted(moment) as came:
            assert process.status == 0

        assert process.wait(0)
        process.kill()
        if not came():
            break
    assert moment > 1


def test_kill_takes_along_what_was_forked(tmp_path: Path) -> None:
    """The process group goes, not the process alone."""
    code = f"import os; pid = os.fork()\nif pid: print(pid, flush=True); {READY}\n{FOREVER}"
    process = processes.start(python(code), log=tmp_path / "log")
    child = int(process.log.read_text().splitlines()[0])

    process.kill()

    until(lambda: gone(child), WAIT_S, "the fork's end")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PDEATHSIG")
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed, and can do nothing any more, leaves no child."""
    code = f"""
import sys
from pathlib import Path
from lab.fleet import processes
child = processes.start([sys.executable, "-c", "{FOREVER}"], log=Path("{tmp_path}/child"),
    expect_ready=False)
print(child.pid, flush=True)
{READY}
{FOREVER}
"""
    parent = processes.start(python(code), log=tmp_path / "log")
    child = int(parent.log.read_text().splitlines()[0])
    assert not gone(child)

    os.kill(parent.pid, signal.SIGKILL)

    until(lambda: gone(child), WAIT_S, "the child's end")
    parent.kill()


def test_the_open_file_limit_is_raised(tmp_path: Path) -> None:
    """A child may open as many files as the system lets it, however low ours is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = (
        len(list(Path("/proc/self/fd").iterdir())) + 64
    )  # what other tests have left open stays so
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(low, soft), hard))
    try:
        process = processes.start(
            python("import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"),
            log=tmp_path / "log",
            expect_ready=False,
        )
        assert process.wait(WAIT_S)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert process.log.read_text() == f"{hard} {hard}\n"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system can't pin to a CPU")
def test_a_child_is_pinned(tmp_path: Path) -> None:
    """With `cpu` the child has that one only."""
    cpu = max(os.sched_getaffinity(0))

    with processes.start(python(f"{READY}; {FOREVER}"), log=tmp_path / "log", cpu=cpu) as process:
        assert os.sched_getaffinity(process.pid) == {cpu}


def test_a_listener_is_known_by_its_process(tmp_path: Path) -> None:
    """`listens_on` is about this process: another's listener does not count."""
    code = f"""
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
{READY}
{FOREVER}
"""
    with (
        processes.start(python(code), log=tmp_path / "listener") as listener,
        processes.start(python(f"{READY}; {FOREVER}"), log=tmp_path / "other") as other,
    ):
        port = int(listener.log.read_text().splitlines()[0])

        assert listener.listens_on(port)
        assert not other.listens_on(port)
