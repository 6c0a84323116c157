"""`fleet experiment fanout` as a person calls it: smoke runs, with real daemons and real peers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from lab import cli
from lab.measure import compiler
from lab.measure.errors import MeasureError
from lab.measure.fanout import measure as fanout
from lab.measure.fanout import systems as fanout_systems
from lab.measure.fanout.measure import Fanout, Result
from lab.measure.peers import install, servers
from lab.measure.peers.servers import PEERS, Peer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def _compiler() -> None:
    try:
        compiler.compiler()
    except MeasureError as error:
        pytest.skip(str(error))


def children() -> set[int]:
    """The processes below this one."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def experiment(results: Path, *flags: str) -> tuple[int, list[dict[str, str]], Path]:
    """A smoke run: its exit status, its measurements, its directory."""
    status = cli.main(["experiment", "fanout", "--quick", "--results", str(results), *flags])
    (directory,) = results.glob("fanout-*")
    with (directory / "points.csv").open(newline="") as file:
        return status, list(csv.DictReader(file)), directory


def test_routes(tmp_path: Path) -> None:
    """Every daemon gets every post by broadcast; every member gets it once, whatever the route."""
    before = children()
    status, points, directory = experiment(
        tmp_path, "--routes", "broadcast,directed", "--daemons", "1,4"
    )
    assert status == 0
    for point in points:
        assert int(point["lost"]) == int(point["reordered"]) == 0
        assert float(point["deliveries_per_s"]) > 0
        assert float(point["p99_ms"]) >= float(point["p50_ms"]) > 0
        assert min(float(point[name]) for name in ("servers_us", "redis_us", "load_us")) > 0
    copies = {
        (point["system"], int(point["servers"]), int(point["members"])): (
            float(point["copies"]),
            float(point["vain"]),
        )
        for point in points
    }
    assert copies["echod-broadcast", 1, 2] == pytest.approx((1, 0))
    # Two of the four daemons have a member; the others' copies are in vain.
    assert copies["echod-broadcast", 4, 2] == pytest.approx((4, 0.5), abs=0.05)
    assert copies["echod-directed", 4, 2] == pytest.approx((2, 0), abs=0.05)
    assert copies["echod-broadcast", 4, 60] == pytest.approx((4, 0), abs=0.05)
    systems = {point["system"] for point in points}
    assert {"echod-room", "echod-room-tick20"} < systems, "the tick and what it is held against"
    run = json.loads((directory / "run.json").read_text())
    assert "one channel for all" in run["lead"]
    assert "64 servers, one channel for all" in " ".join(
        answer["question"] for answer in run["answers"]
    )
    assert (directory / "ways.png").is_file()
    assert directory.name in (tmp_path / "index.html").read_text()
    assert children() <= before


def test_peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each peer as its documentation sets it up: installed, started, no delivery missing."""
    _, left_out = fanout_systems.choose_peers(["all"])
    if left_out:
        pytest.skip(f"peers can't be had here: {left_out}")
    status, points, directory = experiment(
        tmp_path, "--routes", "room", "--daemons", "4", "--peers", "all"
    )
    assert status == 0
    measured = {point["system"] for point in points}
    assert {peer.name for peer in PEERS} < measured
    for point in points:
        assert int(point["lost"]) == 0, point
    assert (directory / "systems.png").is_file()
    assert "1.6 times Socket.IO's deliveries" in capsys.readouterr().out


def test_without_a_network_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A peer that can't be installed is left out, with the reason, and all else is measured."""

    def refuse(_: Path) -> Path:
        raise install.PeerError("no such network")

    unreachable = Peer("socketio-redis", "Socket.IO", "socketio", PEERS[0].start, refuse)
    monkeypatch.setattr(servers, "PEERS", (unreachable,))
    status, points, _ = experiment(
        tmp_path, "--routes", "room", "--daemons", "1", "--peers", "socketio-redis"
    )
    assert status == 0
    assert {point["system"] for point in points} == {"echod-room", "echod-room-tick20"}
    assert "socketio-redis was left out: no such network." in capsys.readouterr().out


def test_a_lossy_daemon_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a peer may lose, a daemon may not: exit status 1, and the report says it first."""

    class Unlucky(Fanout):
        """A generator that missed one delivery."""

        def await_result(self) -> Result:
            return replace(super().await_result(), missing=1)

    monkeypatch.setattr(fanout, "Fanout", Unlucky)
    status, points, _ = experiment(tmp_path, "--routes", "room", "--daemons", "1")
    assert (status, points) == (1, [])
    assert "1 deliveries missing" in capsys.readouterr().out
