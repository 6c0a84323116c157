"""The article's workload, and its clients as one process: loadtest's client, every byte judged.

    python -m gevent.monkey --module lab.measure.models.clients --port 1234 --clients 100 …

A client connects, sends its lines with a pause between, checks each reply, disconnects; so many
at once make a loop. Each has a thread, of which gevent makes a greenlet. stdout gets one JSON
line: a `Visit` for each client of each loop, and the process's own CPU time while they ran, so
that a load generator that was itself the bottleneck can be told. Started by `measure.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from loadtest.client import (
    ConnectFailed,
    EarlyClose,
    PlainClient,
    ReplyTimeout,
    ServerError,
    WrongReply,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"

# The article's pause between two lines.
PAUSE_S = 1.0

# Beside what the pauses make: connecting, replies, a machine that stood still.
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What every system is given."""

    clients: int
    lines: int
    pause_s: float
    """Between two lines of one client; the article's second, scaled."""
    loops: int = 1

    @property
    def visit_s(self) -> float:
        """What one client's pauses add up to: a visit can't be shorter."""
        return (self.lines - 1) * self.pause_s

    @property
    def patience_s(self) -> float:
        """For a reply: a serial server answers the last client after all the others."""
        return PATIENCE_S + 3 * self.clients * self.visit_s


@dataclass(slots=True)
class Visit:
    """One client's connection, in seconds from the loop's beginning; 0: it did not come so far."""

    loop: int
    client: int
    connected_s: float = 0.0
    first_reply_s: float = 0.0
    ended_s: float = 0.0
    """When it had its last reply, or gave up."""
    replies_s: list[float] = field(default_factory=list)
    """From each line to its whole reply."""
    fault: str = ""
    """Why it ended early; empty if every byte was right."""


def served(visits: Sequence[Visit]) -> list[tuple[float, int]]:
    """How many connections were served at once: (from when, how many), by rising time.

    Connected is not served: the kernel connects a client that nobody has accepted. One is
    served from its first reply to its end.
    """
    changes = Counter({0.0: 0})
    for visit in visits:
        if not visit.fault:
            changes[visit.first_reply_s] += 1
            changes[visit.ended_s] -= 1
    times = sorted(changes)
    return list(zip(times, accumulate(changes[at_s] for at_s in times), strict=True))


def unevenness(visits: Sequence[Visit]) -> float:
    """How far the departures of one loop are from even steps, as a part of the whole loop.

    0 when the k-th of n clients left at k/n of the loop: the loop's time then is
    proportional to the number of clients, and may be extrapolated.
    """
    ends = sorted(visit.ended_s for visit in visits)
    if not ends:
        raise ValueError("no visits")
    return max(
        abs(end - ends[-1] * number / len(ends)) / ends[-1] for number, end in enumerate(ends, 1)
    )


def visit(workload: Workload, port: int, made: Visit, begin: float) -> Visit:
    """One visit, from connect to disconnect, told in `made`; its times count from `begin`."""
    try:
        with PlainClient(HOST, port, reply_s_max=workload.patience_s) as client:
            made.connected_s = time.perf_counter() - begin
            for number in range(workload.lines):
                if number:
                    time.sleep(workload.pause_s)
                sent = time.perf_counter()
                client.ask(b"Hello World!:%d\n" % number)
                made.replies_s.append(time.perf_counter() - sent)
                made.first_reply_s = made.first_reply_s or time.perf_counter() - begin
            # Not when the server has closed, too: a serial one may have answered the next then.
            made.ended_s = time.perf_counter() - begin
            client.finish()
    except ConnectFailed as error:
        made.fault = f"not connected: {error}"
    except EarlyClose as error:
        made.fault = f"closed early: {error}"
    except ReplyTimeout:
        made.fault = f"silence for {workload.patience_s:g} s"
    except WrongReply as error:
        made.fault = str(error.detail)
    except ServerError as error:
        made.fault = str(error)
    if made.fault:
        made.ended_s = time.perf_counter() - begin
    return made


def play(workload: Workload, port: int) -> list[Visit]:
    """Every loop, one after the other; a loop ends with its last client."""
    visits: list[Visit] = []
    with ThreadPoolExecutor(workload.clients) as pool:
        for loop in range(workload.loops):
            made = [Visit(loop, number) for number in range(workload.clients)]
            begin = time.perf_counter()
            visits += pool.map(lambda one, begin=begin: visit(workload, port, one, begin), made)
    return visits


def main() -> None:
    """Parse, play, print the visits."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = {"port": int, "clients": int, "lines": int, "pause-s": float, "loops": int}
    for name, kind in kinds.items():
        parser.add_argument(f"--{name}", type=kind, required=True)
    args = parser.parse_args()
    workload = Workload(args.clients, args.lines, args.pause_s, args.loops)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    visits = play(workload, args.port)
    result = {
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.perf_counter() - wall_s,
        "visits": [asdict(visit) for visit in visits],
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
