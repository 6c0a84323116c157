"""The session port's user: steady lines on a session that outlives its connections.

In the statistics its requests are of type `session`:

    open          a session begun: from the first attempt to its WELCOME
    session line  a line committed: from when it was first sent to its reply, or to the
                  WELCOME that said so. A fault in between is in this time: the tail
                  shows what it cost
    resume        a session back on another connection: from when the fault was noticed

and, beside them and not among the requests, `session line since due`: from when a line
should have been sent by its timetable.

A fault that is survived is no failure; it is in the times. A failure is what the client's
caller would hear: see session_client.py.
"""

from __future__ import annotations

import secrets
from collections import deque
from random import SystemRandom
from time import monotonic
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakSet

from locust import task
from locust.exception import StopTest

from loadtest.errors import ClientError, RolledBack, SessionLost
from loadtest.load_user import LoadUser
from loadtest.options import DEFAULT_TARGET, session_entrances
from loadtest.session_client import Acknowledged, SessionClient
from loadtest.session_retry import Patience, Resumed

if TYPE_CHECKING:
    from locust.env import Environment

    from loadtest.session_client import Happening

# The system's: workers that Locust forks would all draw the same of an own one.
JITTER = SystemRandom()

# What the master says to its workers when a storm begins; a process that runs users itself
# says it to itself.
STORM_MESSAGE = "storm"


class SessionUser(LoadUser):
    """Sends `--lines-per-s` on one session, at most `--lines-in-flight` of them unanswered.

    Its lines have a timetable that a slow server does not change: a line that could not
    be sent at its time is sent as soon as may be.
    """

    host = DEFAULT_TARGET
    request_type = "session"

    alive: ClassVar[WeakSet[SessionUser]] = WeakSet()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            self.entrances = session_entrances(
                self.host or DEFAULT_TARGET, self.options.session_host
            )
        except ValueError as error:
            raise StopTest(str(error)) from None
        self.patience = Patience(
            reply_s_max=self.options.reply_s_max, give_up_s=self.options.give_up_s
        )
        self.name = secrets.token_hex(4).encode()
        self.lines = 0
        # Locust starts users in groups, once a second: each finds its own moment.
        self.due_s = monotonic() + JITTER.uniform(0, 1 / self.options.lines_per_s)
        self.dues_s: deque[float] = deque()  # of the lines in flight
        self.client: SessionClient | None = None
        SessionUser.alive.add(self)

    def wait_time(self) -> float:
        """Seconds to the next task: it waits in the task itself, where it hears its server."""
        return 0.0

    @task
    def talk(self) -> None:
        """The line that is due, and what happens until the next one is."""
        try:
            client = self.client or self.open()
            wait_s = self.options.reply_s_max  # until one in flight is answered
            if len(client.memory.waiting) < self.options.lines_in_flight:
                wait_s = self.due_s - monotonic()
                if wait_s <= 0:
                    self.send_line(client)
            for happening in client.receive(max(0.0, wait_s)):
                self.notice(happening)
        except SessionLost as error:
            self.report("resume", None, error=error)
            self.forget()
        except RolledBack as error:
            self.report("resume", None, error=error)
            if self.client is not None:
                self.client.accept_loss()
        except ClientError as error:
            self.report("resume" if self.client else "open", None, error=error)

    def open(self) -> SessionClient:
        """Begin a session, and report it."""
        began_s = monotonic()
        client = SessionClient(entrances=self.entrances, patience=self.patience)
        try:
            client.connect()
        except BaseException:
            client.close()
            raise
        self.report("open", monotonic() - began_s)
        self.client = client
        return client

    def send_line(self, client: SessionClient) -> None:
        """A line like no other user's."""
        self.lines += 1
        client.send(b"%b:%d" % (self.name, self.lines))
        self.dues_s.append(self.due_s)
        self.due_s += 1 / self.options.lines_per_s

    def notice(self, happening: Happening) -> None:
        """Report what has a time."""
        if isinstance(happening, Acknowledged):
            line = happening.line
            self.report("session line", line.took_s, len(line.text))
            # Lines are acknowledged in the order in which they were sent.
            self.report_since_due("session line", [monotonic() - self.dues_s.popleft()])
        elif isinstance(happening, Resumed):
            self.report("resume", happening.took_s)

    def on_stop(self) -> None:
        """Locust's call when this user ends, however it does: its session ends with it."""
        SessionUser.alive.discard(self)
        if self.client is not None:
            self.client.leave()

    def forget(self) -> None:
        """Begin another session with the next line."""
        if self.client is not None:
            self.client.close()
            self.client = None
        self.dues_s.clear()


def sever_all() -> None:
    """Cut every session user's connection in this process, at once: a storm begins."""
    for user in list(SessionUser.alive):
        if user.client is not None:
            user.client.sever()
