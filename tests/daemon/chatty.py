"""`echod`, which on SIGUSR1 logs several times what may wait for a reader."""

# ruff: noqa: E402 — gevent patches first
from gevent import monkey

monkey.patch_all()

import logging
import signal
import sys

import gevent

from echod.__main__ import main
from echod.logs import QUEUED_BYTES_MAX

LINE = "x" * 1_000


def chat() -> None:
    """Say it."""
    for number in range(4 * QUEUED_BYTES_MAX // len(LINE)):
        logging.getLogger("chatty").info("%d %s", number, LINE)


gevent.signal_handler(signal.SIGUSR1, chat)
sys.exit(main())
