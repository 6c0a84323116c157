"""`fleet bench` as a person calls it, and the servers of its rows."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab import cli
from lab.fleet import processes
from lab.measure import compiler
from lab.measure.bench import rows
from lab.measure.bench.rows import BASELINES
from lab.measure.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer

DEADLINE_S = 20.0

BASELINE_NAMES = sorted(path.stem for path in BASELINES.glob("[!_]*.py"))


@pytest.fixture
def _compiler() -> None:
    """Only where the C programs can be built."""
    try:
        compiler.compiler()
    except MeasureError as error:
        pytest.skip(str(error))


@pytest.fixture(params=BASELINE_NAMES)
def baseline(
    request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer
) -> Iterator[tuple[str, int]]:
    """One server after the other: its name and its port."""
    name = request.param
    command = [sys.executable, str(BASELINES / f"{name}.py")]
    if "redis" in name:
        command.append(redis.url)
    process = processes.start(command, log=tmp_path / "baseline.log")
    yield name, int(process.ready["echo"].rpartition(":")[2])
    process.kill()
    assert "Traceback" not in process.log.read_text()


def test_baselines_are_right(baseline: tuple[str, int]) -> None:
    """PROTOCOL §1.1 to §1.4: split anywhere, many to a segment, any bytes, a tail at half-close."""
    _, port = baseline
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        replies = client.makefile("rb")
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"first\n":
            client.sendall(bytes([byte]))
        assert replies.readline() == b"first\n"
        client.sendall(b"\n\xff\0\r\nthree\nta")
        expected = b"first\n\n\n\xff\0\r\n\xff\0\r\nthree\n"
        assert replies.read(len(expected)) == expected
        client.sendall(b"il")
        client.shutdown(socket.SHUT_WR)
        assert replies.read() == b"three\ntail"


def test_baselines_outlive_a_reset(baseline: tuple[str, int]) -> None:
    """A client that resets its connection harms nobody, and is no traceback in the log."""
    _, port = baseline
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(b"a\n")
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        client.sendall(b"b\n")
        assert client.makefile("rb").readline() == b"b\n"


def test_every_baseline_has_a_row() -> None:
    """None is left over, and none is missing."""
    named = {word for row in rows.ROWS for word in row.template if str(BASELINES) in word}
    assert named == {str(BASELINES / f"{name}.py") for name in BASELINE_NAMES}


def bench(path: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """`fleet bench --quick …`: its status and its figures."""
    status = cli.main(["bench", "--quick", "--seconds", "0.05", "--json", str(path), *flags])
    report: dict[str, Any] = json.loads(path.read_text())
    return status, report


@pytest.mark.usefixtures("_compiler")
def test_a_quick_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows with and without Redis are measured, shown and written; the affinity is put back."""
    affinity = os.sched_getaffinity(0)
    wanted = f"{rows.FLOOR},{rows.REDIS_PY},{rows.COMMIT},{rows.SESSION}"
    status, report = bench(tmp_path / "new" / "b.json", "--rows", wanted, "--connections", "10")
    shown = capsys.readouterr().out

    assert status == 0, report["failed"]
    assert [run["row"] for run in report["runs"]] == wanted.split(",")
    assert report["runs"][0]["redis_us"] is None
    assert all(run["redis_us"] > 0 for run in report["runs"][1:])
    assert all(run["server_us"] > 0.5 for run in report["runs"])
    for text in ("CPU µs", *wanted.split(","), report["machine"]["kernel"]):
        assert text in shown
    assert os.sched_getaffinity(0) == affinity


@pytest.mark.usefixtures("_compiler")
def test_a_wrong_server_fails_the_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that forgets the previous line is a failed row and a bad status, not a fast one."""
    wrong = tmp_path / "wrong.py"
    source = (BASELINES / "asyncio_streams.py").read_text()
    assert "previous = line" in source
    wrong.write_text(source.replace("previous = line", "previous = b''"))
    row = rows.Server("wrong", (sys.executable, str(wrong)))
    monkeypatch.setattr(rows, "ROWS", (rows.ROWS[0], row))

    status, report = bench(tmp_path / "b.json", "--connections", "10")

    assert status == 1
    assert [run["row"] for run in report["runs"]] == [rows.FLOOR]
    assert "10 wrong replies" in report["failed"][0]
    assert "FAILED 10 connections, round 1, wrong" in capsys.readouterr().out


@pytest.mark.usefixtures("_compiler")
def test_many_connections_on_one_daemon(tmp_path: Path) -> None:
    """The scenario runs through; at this size nothing but its failures are judged here."""
    _, report = bench(
        tmp_path / "b.json", "--scenario", "many", "--connections", "20", "--seconds", "1"
    )

    (outcome,) = report["outcomes"]
    assert outcome["round_trips"] >= 15


@pytest.mark.parametrize(
    "flags,words",
    [
        (["--rows", "nothing"], "fits no row"),
        (["--connections", "100000000"], "ulimit -Hn|ip_local_port_range"),
    ],
)
def test_what_cannot_be_measured_is_said(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for the person, and status 1."""
    assert cli.main(["bench", *flags]) == 1
    said = capsys.readouterr().err
    assert any(word in said for word in words.split("|"))
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "flags",
    [
        ["--connections", "0"],
        ["--rounds", "0"],
        ["--seconds", "nan"],
        ["--line-bytes", "31"],
        ["--scenario", "few"],
    ],
)
def test_wrong_flags_are_refused(flags: list[str]) -> None:
    """As argparse does, with status 2."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", *flags])
