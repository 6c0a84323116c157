"""The article's clients as the experiments' load: right servers pass, every wrong one is told."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.fleet import ports
from lab.measure.models.clients import Workload, play
from lab.measure.models.measure import CLIENTS
from tests.loadtest import loadtest_servers as servers

if TYPE_CHECKING:
    from tests.loadtest.loadtest_servers import Behaviour

SHORT = Workload(clients=4, lines=3, pause_s=0.01, loops=2)


@pytest.mark.parametrize("behaviour", [servers.right, servers.byte_by_byte])
def test_right_servers_have_no_fault(behaviour: Behaviour) -> None:
    """Each client of each loop visits once, in order of time, and has every reply's time."""
    with servers.Server(behaviour) as server:
        visits = play(SHORT, server.port)
    assert sorted((visit.loop, visit.client) for visit in visits) == [
        (loop, client) for loop in range(2) for client in range(4)
    ]
    for visit in visits:
        assert not visit.fault
        assert 0 < visit.connected_s < visit.first_reply_s < visit.ended_s
        assert visit.ended_s >= SHORT.visit_s
        assert len(visit.replies_s) == SHORT.lines


@pytest.mark.parametrize(
    "behaviour,fault",
    [
        (servers.current_line_only, "reply 2, byte 13"),
        (servers.one_reply_too_many, "owed nothing"),
        (servers.closes_within_a_reply, "closed early: end of stream"),
        (servers.resets, "closed early: "),
        (servers.busy, "busy"),
    ],
)
def test_wrong_servers_are_told(behaviour: Behaviour, fault: str) -> None:
    """By what was wrong first."""
    with servers.Server(behaviour) as server:
        visits = play(SHORT, server.port)
    assert all(fault in visit.fault for visit in visits), visits


def test_silence_and_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that does not come is given up; so is a port where nobody listens."""
    monkeypatch.setattr("lab.measure.models.clients.PATIENCE_S", 1.0)
    workload = Workload(clients=2, lines=2, pause_s=0.0)
    with servers.Server(servers.half_a_reply) as server:
        visits = play(workload, server.port)
    assert [visit.fault for visit in visits] == ["silence for 1 s"] * 2
    visits = play(workload, ports.reserve())
    assert all(visit.fault.startswith("not connected") for visit in visits)


def test_as_a_program() -> None:
    """One JSON line on stdout, with the process's own CPU time."""
    with servers.Server(servers.right) as server:
        command = [sys.executable, *CLIENTS, "--port", str(server.port)]
        command += ["--clients", "3", "--lines", "2", "--pause-s", "0", "--loops", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    result = json.loads(done.stdout)
    assert len(result["visits"]) == 3
    assert result["cpu_s"] > 0
    assert result["wall_s"] > 0
