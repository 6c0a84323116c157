"""`fleet experiment` as a person calls it: smoke runs, wrong replies, the report in a browser."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import matplotlib.image
import psutil
import pytest

from lab import cli
from lab.fleet import processes
from lab.measure import compiler
from lab.measure.errors import MeasureError
from lab.measure.models import systems
from lab.measure.serving import port_of
from lab.measure.shards.measure import born

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.alone

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1000, 1600

# A lying server: right, but for the previous line. As server/variants/*.py are run.
LIAR = """
import json, os, socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
server = Server(("127.0.0.1", 0), Echo)
address = "127.0.0.1:%d" % server.server_address[1]
print(json.dumps({"event": "ready", "echo": address, "pid": os.getpid()}), flush=True)
server.serve_forever()
"""


def children() -> set[int]:
    """The processes below this one."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def the_run(results: Path, name: str) -> Path:
    """The directory of the only run."""
    (directory,) = results.glob(f"{name}-*")
    return directory


@pytest.fixture(scope="module", autouse=True)
def before() -> set[int]:
    """Who runs below this process before any experiment: other tests' session fixtures."""
    return children()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run of `models`: its directory."""
    results = tmp_path_factory.mktemp("models")
    only = "serial,threads,gevent_streamserver,asyncio_*,fleet_1"
    argv = ["experiment", "models", "--quick", "--only", only, "--results", str(results)]
    assert cli.main(argv) == 0
    return the_run(results, "models")


def test_models(models: Path, before: set[int]) -> None:
    """Every system in every repeat, all parts measured, nothing left running."""
    measured = rows(models / "runs.csv")
    assert len(measured) == 2 * 6
    names = [row["system"] for row in measured]
    assert names[6:] == names[5::-1], "the second turn is the reverse of the first"
    for row in measured:
        fleet = row["system"] == "fleet_1"
        assert float(row["loop_s"]) >= 0.04
        assert float(row["servers_cpu_s"]) > 0
        assert float(row["servers_most_bytes"]) >= float(row["servers_idle_bytes"]) > 0
        assert bool(row["redis_cpu_s"]) is fleet
        assert bool(row["haproxy_cpu_s"]) is fleet
        assert 0 <= float(row["others"]) <= 1
        assert int(row["served_at_once"]) == 1 or row["system"] != "serial"
    visits = rows(models / "visits.csv")
    assert len(visits) == 2 * (5 * 10 + 3)
    assert not any(row["fault"] for row in visits)
    for name in ("loop-times", "served-at-once", "cpu", "memory"):
        assert (models / f"{name}.png").is_file()
        assert (models / f"{name}.svg").is_file()
    run = json.loads((models / "run.json").read_text())
    assert "Is it at least 5 times slower to serve one client at a time?" in {
        answer["question"] for answer in run["answers"]
    }
    assert models.name in (models.parent / "index.html").read_text()
    assert children() <= before


def test_wrong_replies_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1; the report is written and says what was wrong first."""
    (tmp_path / "threads.py").write_text(LIAR)
    monkeypatch.setattr(systems, "VARIANTS", tmp_path)
    results = tmp_path / "results"
    argv = ["experiment", "models", "--quick", "--only", "threads", "--results", str(results)]
    assert cli.main(argv) == 1
    assert "10 of 10 visits failed; the first: reply 2, byte" in capsys.readouterr().out
    directory = the_run(results, "models")
    assert "visits failed" in (directory / "report.html").read_text()
    assert json.loads((directory / "run.json").read_text())["failed"]


def test_scaling(tmp_path: Path, before: set[int]) -> None:
    """Every shape on every number of daemons; parts that are not there cost nothing."""
    try:
        compiler.compiler()
    except MeasureError as error:
        pytest.skip(str(error))
    argv = ["experiment", "scaling", "--quick", "--daemons", "1,2", "--shards", "1,2"]
    assert cli.main([*argv, "--results", str(tmp_path)]) == 0
    directory = the_run(tmp_path, "scaling")
    points = rows(directory / "points.csv")
    assert len(points) == 5 * 2
    assert {(row["daemons"], row["homes"]) for row in points if row["shards"] == "2"} == {
        ("1", "1, 0"),
        ("2", "1, 1"),
    }
    for row in points:
        assert float(row["round_trips_per_s"]) > 0
        assert float(row["daemons_us"]) > 0
        assert (float(row["redis_us"]) > 0) is (row["stored"] == "True")
        assert (float(row["haproxy_us"]) > 0) is (row["proxied"] == "True")
        assert 0 < float(row["machine_busy"]) < 1.01
        assert 0 <= float(row["others"]) <= 1
    (held,) = rows(directory / "c10k.csv")
    assert held["connections"] == "300"
    assert float(held["accepts_per_s"]) > 0
    report = (directory / "report.html").read_text()
    assert "Does one daemon hold 10,000 connections?" in report
    assert "What would be full first on 64 CPUs with shards enough?" in report
    assert children() <= before


def test_shards(tmp_path: Path, before: set[int]) -> None:
    """Sessions are where they are said to be; every system is measured under its loads."""
    try:
        compiler.compiler()
    except MeasureError as error:
        pytest.skip(str(error))
    argv = ["experiment", "shards", "--quick", "--shards", "3", "--connections", "1,6"]
    assert cli.main([*argv, "--results", str(tmp_path)]) == 0
    directory = the_run(tmp_path, "shards")
    points = rows(directory / "points.csv")
    used = {(row["system"], row["load"]): row["shards_used"] for row in points}
    assert used == {
        **{(name, load): shards for name, load, shards in (
            ("one Redis", "1 connection", "1"), ("one Redis", "6 connections", "1"),
            ("shards, at home", "1 connection", "1"), ("shards, at home", "6 connections", "1"),
            ("shards, spread", "6 connections", "3"),
            ("shards, a replica", "1 connection", "1"), ("shards, a replica", "6 connections", "1"),
        )},
        **{(name, "posts"): "" for name in ("one Redis", "shards, at home", "shards, a replica")},
    }  # fmt: skip
    for row in points:
        assert min(float(row[name]) for name in ("per_s", "daemon_us", "store_us")) > 0
        assert float(row["p99_us"]) >= float(row["p50_us"]) > 0
    report = (directory / "report.html").read_text()
    assert "if sessions are spread over all shards than at home?" in report
    for name in ("cpu", "latency"):
        assert (directory / f"{name}.png").is_file()
    assert children() <= before


def test_a_session_that_is_not_born(tmp_path: Path) -> None:
    """Who does not welcome it is named with its words; so is who does not listen."""
    program = tmp_path / "liar"
    program.write_text(LIAR)
    process = processes.start([sys.executable, str(program)], log=tmp_path / "liar.log")
    port = port_of(process.ready["echo"])
    try:
        with pytest.raises(MeasureError, match="HELLO was answered by b'HELLO"):
            born([port], 1)
    finally:
        process.kill()
    with pytest.raises(MeasureError, match=f"HELLO to port {port}: .*refused"):
        born([port], 1)


@pytest.mark.parametrize(
    "argv,complaint",
    [
        (["models", "--clients", "0"], "--clients: 0: must be 1 to"),
        (["models", "--pause-scale", "9"], "--pause-scale: 9: must be 0.001 to 4"),
        (["models", "--repeat", "many"], "--repeat: invalid int value: 'many'"),
        (["scaling", "--daemons", "1,0"], "--daemons: 1,0: numbers of daemons are 1 to"),
        (["scaling", "--shards", "0,4"], "--shards: 0,4: numbers of shards are 1 to 8"),
        (["shards", "--shards", "1"], "--shards: 1: must be 2 to 8"),
        (["shards", "--connections", "1,0"], "--connections: 0: must be 1 to"),
        ([], "required: experiment"),
    ],
)
def test_bad_flags(argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is named, with what it must be."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["experiment", *argv])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser() -> str:
    """A Chromium on PATH."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no {' or '.join(BROWSERS)} on PATH")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_in_a_browser(models: Path, browser: str, tmp_path: Path, scheme: str) -> None:
    """It is drawn: its paper, its ink and the plots' colours are on the screen."""
    shot = tmp_path / "report.png"
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--virtual-time-budget=5000", f"--window-size={WIDTH},{HEIGHT}"),
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        *(f"--screenshot={shot}", f"file://{models / 'report.html'}"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=90)
    pixels = matplotlib.image.imread(shot)[:, :, :3]
    assert pixels.shape[:2] == (HEIGHT, WIDTH)
    brightness = pixels.mean(axis=2)
    paper, ink = (brightness > 0.9).mean(), (brightness < 0.25).mean()
    if scheme == "dark":
        paper, ink = ink, paper
    assert paper > 0.7, "mostly paper"
    assert 0.005 < ink < 0.2, "with text on it"
    blue = (abs(pixels - (0.0, 0x72 / 255, 0xB2 / 255)) < 0.05).all(axis=2)
    assert blue.sum() > 500, "and the plots"
