"""The plain port's users: the article's client, and one that stays connected.

In the statistics each is a request of type `tcp`:

    connect  a connection made (not yet that a daemon serves it: HAProxy accepts first)
    line     a line sent and its whole reply checked
    loop     ArticleUser only: ten lines, then the server's end of the stream and no
             byte more. It has no time, for its ten seconds are the client's own pauses

Every conversation of an ArticleUser ends as one loop (right or failed), one failed
line, or one failed connect. A user that Locust stops in the middle of something says
nothing: what it had begun is not counted.
"""

from __future__ import annotations

import random
import secrets
from time import perf_counter
from typing import TYPE_CHECKING

import gevent
from locust import task
from locust.exception import StopTest, StopUser

from loadtest.backoff import backoff_s
from loadtest.client import PlainClient, PlainError
from loadtest.latency import omitted_s
from loadtest.load_user import LoadUser
from loadtest.options import DEFAULT_TARGET, entrances

if TYPE_CHECKING:
    from locust.env import Environment

ARTICLE_LINES = tuple(b"Hello World!:%d\n" % n for n in range(10))

# The system's: workers that Locust forks would all draw the same of an own one.
JITTER = random.SystemRandom()


class PlainUser(LoadUser):
    """A client of the plain port; what it does is its subclass's."""

    abstract = True
    host = DEFAULT_TARGET
    request_type = "tcp"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.failures = 0  # in a row
        try:
            self.entrances = entrances(self.host or DEFAULT_TARGET)
        except ValueError as error:
            raise StopTest(str(error)) from None

    def wait_time(self) -> float:
        """Seconds to the next task, asked by Locust after each."""
        return backoff_s(self.failures, JITTER) if self.failures else self.pace_s()

    def pace_s(self) -> float:
        """Seconds to the next task when the last one went well."""
        return 0.0

    def connect(self) -> PlainClient:
        """Connect, and report it."""
        started = perf_counter()
        try:
            client = PlainClient(entrances=self.entrances, reply_s_max=self.options.reply_s_max)
        except PlainError as error:
            self.report("connect", perf_counter() - started, error=error)
            raise
        self.report("connect", perf_counter() - started)
        return client

    def ask(self, client: PlainClient, line: bytes) -> None:
        """Send a line, check its reply, and report it."""
        started = perf_counter()
        try:
            length = client.ask(line)
        except PlainError as error:
            self.report("line", perf_counter() - started, error=error)
            raise
        self.report("line", perf_counter() - started, length)


class ArticleUser(PlainUser):
    """The article's client: ten lines with a pause between, then a new connection at once."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.loops = 0

    @task
    def conversation(self) -> None:
        """One connection from beginning to end; after `--loops` of them the user leaves."""
        try:
            with self.connect() as client:
                for line in ARTICLE_LINES:
                    if line is not ARTICLE_LINES[0]:
                        gevent.sleep(self.options.pause_s)
                    self.ask(client, line)
                self.finish(client)
        except PlainError:
            self.failures += 1
        else:
            self.failures = 0
        self.loops += 1
        if self.loops == self.options.loops:
            raise StopUser

    def finish(self, client: PlainClient) -> None:
        """Disconnect, see that nothing more came, and report the loop."""
        try:
            client.finish()
        except PlainError as error:
            self.report("loop", None, error=error)
            raise
        self.report("loop", None)


class SteadyUser(PlainUser):
    """Stays connected and sends `--lines-per-s`, each line like no other user's.

    So a reply that belongs to another connection is a wrong one.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.name = secrets.token_hex(4).encode()
        self.lines = 0
        self.connection: PlainClient | None = None
        self.due_s = 0.0  # of the next line, by perf_counter; 0: none sent yet

    @task
    def line(self) -> None:
        """One line, on a new connection if the last one failed."""
        self.lines += 1
        # Its time was when the last one's wait ended: late ones are not caught up with.
        due_s = self.due_s or perf_counter()
        try:
            if self.connection is None:
                self.connection = self.connect()
            self.ask(self.connection, b"%s:%d\n" % (self.name, self.lines))
            waited_s = perf_counter() - due_s
            omitted = omitted_s(waited_s, 1 / self.options.lines_per_s)
            self.report_since_due("line", [waited_s, *omitted])
        except PlainError:
            self.failures += 1
            self.disconnect()
        else:
            self.failures = 0

    def pace_s(self) -> float:
        """To the next line's time; late ones are not caught up with."""
        now_s, interval_s = perf_counter(), 1 / self.options.lines_per_s
        if not self.due_s:
            # Locust starts users in groups, once a second: each finds its own moment.
            self.due_s = now_s - JITTER.uniform(0, interval_s)
        self.due_s = max(self.due_s + interval_s, now_s)
        return self.due_s - now_s

    def on_stop(self) -> None:
        """Locust's call when this user ends, however it does."""
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
