"""A full fleet, and four addresses that want in all the time: who is served stays served.

Each of them connects as often as HAProxy lets it, and none goes away by itself
(`flooder.py`). What they are refused with must not keep the daemons from their checks: a
daemon that misses three is down, and with it all its clients (docs/adr/0004). The drill
`fill-files` is the same for files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import web
from lab.drill.report import verdicts
from lab.fleet.local import Fleet, Plan
from lab.wait import until
from tests.daemon import raw
from tests.fleet.test_drills import played, short
from tests.fleet.test_faults import servers, up

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = pytest.mark.alone

FLOODER = Path(__file__).with_name("flooder.py")
CONNECTIONS_MAX = 40
DAEMONS = 2
# Below SOURCE_RATE_MAX, so that HAProxy lets all of it through.
RATE = 2_400
FLOOD_S = 8.0
# A client of the plain port says something before it is taken for idle.
ROUND_S = 0.5


@pytest.fixture
def fleet(
    programs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fleet]:
    """Two daemons with few places, behind each HAProxy that is here."""
    monkeypatch.setenv("ECHOD_CONNECTIONS_MAX", str(CONNECTIONS_MAX))
    for variable, program in programs.items():
        monkeypatch.setenv(variable, program)
    with Fleet(Plan(directory=tmp_path, daemons=DAEMONS)) as made:
        until(lambda: len(up(made)) == DAEMONS, 60, "both daemons to be up")
        yield made


def busy(fleet: Fleet) -> int:
    """How often the daemons have said so."""
    count = 0
    for daemon in fleet.daemons:
        lines = web.read(f"http://{daemon.ready['admin']}/metrics", 10).decode().splitlines()
        count += sum(int(float(line.split()[-1])) for line in lines if 'reason="busy"' in line)
    return count


def all_answered(clients: list[socket.socket]) -> None:
    """A line of each, and its answer."""
    for client in clients:
        client.sendall(b"a\n")
    for client in clients:
        assert raw.read(client, 4) == b"a\na\n"


def test_who_is_served_stays_served(fleet: Fleet) -> None:
    """Some 10,000 connects a second to a full fleet: no daemon is down, nobody is cut."""
    port = int(fleet.ready["echo"].rsplit(":", 1)[1])
    clients = [raw.connect(port) for _ in range(DAEMONS * CONNECTIONS_MAX)]
    for client in clients:
        client.sendall(b"a\n")
        assert raw.read(client, 2) == b"a\n"
    with subprocess.Popen(
        [sys.executable, str(FLOODER), str(port), str(RATE), str(FLOOD_S)],
        stdout=subprocess.PIPE,
        text=True,
    ) as flooder:
        try:
            while flooder.poll() is None:
                all_answered(clients)
                time.sleep(ROUND_S)  # not for something to happen: it is how often they speak
            assert flooder.stdout is not None
            came_to = json.loads(flooder.stdout.read().splitlines()[-1])
        finally:
            flooder.kill()
    all_answered(clients)
    checks = {row["svname"]: (row["chkfail"], row["chkdown"]) for row in servers(fleet)}
    print(came_to, checks)  # noqa: T201 — for `pytest -s`
    assert {down for _, down in checks.values()} == {"0"}
    # It was a flood, and it did reach the daemons.
    assert busy(fleet) > FLOOD_S * 100
    for client in clients:
        client.close()


def test_without_files(tmp_path: Path) -> None:
    """A daemon that can open no more keeps its clients, and newcomers are served elsewhere."""
    drill = short("fill-files")
    outcome = played(drill, tmp_path)
    assert outcome.violations == []
    assert [one.text for one in verdicts(drill, outcome) if not one.passed] == []
