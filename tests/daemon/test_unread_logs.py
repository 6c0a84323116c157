"""A log that nobody reads: the daemon goes on, counts what it drops, and says so in the log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab import web
from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Iterator

CHATTY = Path(__file__).with_name("chatty.py")
PORTS = ("echo", "session", "admin", "agent")
READY = re.compile(r" ready .* echo=\S+:(\d+) ")
# With its queue full, and a reader that takes nothing.
END_S_MAX = 30.0


@contextlib.contextmanager
def daemon(stdout: int, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """One whose output goes there; ended at the end, whatever happens."""
    ports = [f"--{port}-port=0" for port in PORTS]
    argv = [sys.executable, str(CHATTY), *ports, "--drain-s=0.1", "--agent-interval-s=0.01"]
    with subprocess.Popen(argv, stdout=stdout, stderr=stderr) as process:
        try:
            yield process
        finally:
            process.kill()


def test_stderr_is_a_pipe_that_nobody_reads() -> None:
    """All is served as before; when somebody reads, the log says what is missing."""
    with daemon(subprocess.PIPE, subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline())
        port = int(ready["echo"].rsplit(":", 1)[1])

        def dropped() -> int:
            page = web.read(f"http://{ready['admin']}/metrics", 10).decode()
            found = re.search(r"^echod_log_dropped_total (\S+)$", page, re.MULTILINE)
            assert found is not None
            return int(float(found[1]))

        assert dropped() == 0
        process.send_signal(signal.SIGUSR1)
        count = until(dropped, 30, "lines to be dropped")
        assert raw.converse(port, [b"a\n"]) == b"a\n"

        # Said where they are missing: in one place, or in several if the thread got on between.
        missing = 0
        while missing < count:
            said = re.search(rb" (\d+) lines are missing here", process.stderr.readline())
            missing += int(said[1]) if said else 0
        assert missing == count

        process.send_signal(signal.SIGUSR1)  # and nobody reads any more
        until(lambda: dropped() > count, 30, "more to be dropped")
        process.terminate()
        assert process.wait(END_S_MAX) == 0


def test_stdout_is_a_pipe_that_is_full(tmp_path: Path) -> None:
    """The ready line waits there, and nobody waits for it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    log = tmp_path / "log"
    with log.open("wb") as stderr, daemon(writing, stderr.fileno()) as process:
        found = until(lambda: READY.search(log.read_text()), 30, "it to be ready")
        assert found is not None
        assert raw.converse(int(found[1]), [b"a\n"]) == b"a\n"
        process.terminate()
        assert process.wait(END_S_MAX) == 0
    os.close(reading)
    os.close(writing)
