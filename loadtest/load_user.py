"""What all users that Locust runs have in common: their options, and how they report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from locust import User
from locust.event import EventHook

from loadtest.errors import WrongReply

if TYPE_CHECKING:
    from locust.env import Environment

    from loadtest.errors import ClientError

logger = logging.getLogger(__name__)

# Differences logged by one process: enough to see a pattern; the rest is counted only.
LOGGED_DIFFERENCES_MAX = 20


# Fired with request_type, name, waits_s: see `LoadUser.report_since_due`.
SINCE_DUE: Any = EventHook()  # type: ignore[no-untyped-call]  # Locust's


class LoadUser(User):
    """A client of one of the ports; which one, and what it does, is its subclasses'."""

    abstract = True
    request_type: ClassVar[str]

    _differences_logged: ClassVar[int] = 0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.options: Any = environment.parsed_options  # a Namespace, ours in options.py

    def report(
        self, name: str, took_s: float | None, length: int = 0, error: ClientError | None = None
    ) -> None:
        """Tell Locust of a request: `length` is the reply's bytes; no time is None."""
        if isinstance(error, WrongReply) and LoadUser._differences_logged < LOGGED_DIFFERENCES_MAX:
            LoadUser._differences_logged += 1
            logger.error("%s: %s", name, error)
        self.environment.events.request.fire(
            request_type=self.request_type,
            name=name,
            response_time=None if took_s is None else took_s * 1000,
            response_length=length,
            exception=error,
            context={},
        )

    def report_since_due(self, name: str, waits_s: list[float]) -> None:
        """Tell how long after their time requests were answered, beside how long that took.

        They are a row of their own in Locust's table, `<name> since due`, and no requests:
        the sum of all rows does not count them.
        """
        entry = self.environment.stats.get(f"{name} since due", self.request_type)
        for wait_s in waits_s:
            entry.log(wait_s * 1000, 0)
        SINCE_DUE.fire(request_type=self.request_type, name=f"{name} since due", waits_s=waits_s)
