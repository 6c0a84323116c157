"""`echod`, which on SIGUSR1 also prints how many connections and greenlets it holds."""

# ruff: noqa: E402 — gevent patches first
from gevent import monkey

monkey.patch_all()

import gc
import json
import signal
import sys

import gevent
from greenlet import greenlet

from echod.__main__ import main
from echod.client.connection import Connection
from echod.client.lingering import Lingering
from echod.store.batch import Write
from echod.store.keys import Session


def census() -> None:
    """Print what lives."""
    gc.collect()
    # Frozen objects are not listed, but those that count are made after the start.
    things = gc.get_objects()
    counts = {
        kind.__name__: sum(isinstance(thing, kind) for thing in things)
        for kind in (Connection, Lingering, Session, Write)
    }
    # The readers' are plain greenlets; gevent's own, of the admin port and this, are not.
    counts["greenlet"] = sum(
        isinstance(thing, greenlet) and not thing.dead and type(thing) is greenlet
        for thing in things
    )
    # In one write, end included: the log's thread writes into the same file.
    print(f"census {json.dumps(counts)}\n", end="", flush=True)  # noqa: T201 — it is read from the log


gevent.signal_handler(signal.SIGUSR1, census)
sys.exit(main())
