"""`fleet top` on a real `fleet up`: what it sees, what its keys do, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from lab.fleet import control
from lab.fleet.control import ControlError
from lab.top.model import Model, State
from lab.top.screen import Top
from lab.top.sources import ComposeSource, LocalSource
from lab.wait import until
from loadtest.client import PlainClient
from tests.fleet.fleet_process import GONE_S_MAX, controlled
from tests.fleet.watch import SEEN_S_MAX, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.top.model import View
    from tests.fleet.fleet_process import FleetUp


@pytest.fixture
def fleet(
    fleet_up: Callable[..., FleetUp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FleetUp:
    """Two daemons and no load, found by this process's `control.find`."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return controlled(fleet_up("--daemons=2", "--no-load"))


def states(view: View) -> list[State]:
    """Of the daemons."""
    return [row["state"] for row in view.daemons]


def test_it_sees_what_the_fleet_does(fleet: FleetUp) -> None:
    """Connections, lines and times of the daemon that serves them; HAProxy's and Redis's too."""
    watch = Watch()
    watch.view()
    with PlainClient(*fleet.address) as client:
        for number in range(50):
            client.ask(b"Hello World!:%d\n" % number)
        view = watch.view()

    assert states(view) == [State.UP, State.UP]
    assert [row["where"] for row in view.daemons] == [
        f"pid {fleet.pid_of(name)}" for name in ("echod1", "echod2")
    ]
    (row,) = (row for row in view.daemons if row["echo"])
    assert row["echo"] == view.all["echo"] == view.haproxy["echo"] == 1
    assert row["lines"] is not None
    assert row["lines"] > 0
    assert row["reply_p99_s"] is not None
    assert row["commit_p99_s"] is not None
    assert 0 < row["commit_p99_s"] < 30  # seconds, not milliseconds
    assert row["batch"] is not None
    assert 1 <= row["batch"] < 2  # the fleet writes beside the client now and then
    assert row["memory_bytes"] == pytest.approx(
        psutil.Process(fleet.pid_of(row["name"])).memory_info().rss, rel=0.1
    )
    assert view.haproxy["state"] is view.redis["state"] is State.UP
    assert (view.haproxy["echo_servers"], view.haproxy["session_servers"]) == (2, 2)
    assert view.redis["operations"] is not None
    assert view.redis["operations"] > 0
    assert view.redis["aof_failed"] is False
    assert all(one["balance"] == "up" for one in view.daemons)


def test_a_daemon_is_killed_and_started_again(fleet: FleetUp) -> None:
    """It is down, HAProxy says so too; it comes back on its ports, and is sent clients."""
    watch = Watch()

    watch.source.act("kill", "echod1")
    watch.until(lambda view: states(view) == [State.DOWN, State.UP], "its death in the view")
    watch.until(lambda view: view.haproxy["echo_servers"] == 1, "its death in HAProxy")
    until(lambda: fleet.says("was ended by SIGKILL"), SEEN_S_MAX, "the report of its death")
    with pytest.raises(ControlError, match="echod1: it does not run"):
        watch.source.act("kill", "echod1")

    said = watch.source.act("start", "echod1")
    view = watch.until(
        lambda view: states(view) == [State.UP, State.UP] and view.haproxy["echo_servers"] == 2,
        "its return",
    )
    assert said == f"echod1: started, {view.daemons[0]['where']}"
    assert view.daemons[0]["where"] != f"pid {fleet.pid_of('echod1')}"
    again = control.ask(control.find(), {"do": "look"})["fleet"]["daemons"]
    assert [{**one, "pid": 0} for one in again] == [
        {**one, "pid": 0} for one in fleet.ready["daemons"]
    ]
    with pytest.raises(ControlError, match="echod1: it has not ended"):
        watch.source.act("start", "echod1")


def test_a_daemon_is_frozen_and_thawed(fleet: FleetUp) -> None:
    """It is seen at once, costs the other rows nothing, and all is well after."""
    watch = Watch()

    watch.source.act("freeze", "echod2")
    view = watch.until(lambda view: states(view) == [State.UP, State.FROZEN], "the freeze")
    assert view.daemons[1]["memory_bytes"] is None
    watch.source.act("thaw", "echod2")
    watch.until(lambda view: states(view) == [State.UP, State.UP], "the thaw")
    assert psutil.Process(fleet.pid_of("echod2")).is_running()


def test_a_daemon_is_drained(
    fleet_up: Callable[..., FleetUp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is draining while it has a client, then down, and can be started again."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    fleet = controlled(fleet_up("--daemons=1", "--no-load", env={"ECHOD_DRAIN_S": "3"}))
    watch = Watch()

    with PlainClient(*fleet.address) as client:
        client.ask(b"here\n")
        watch.source.act("drain", "echod1")
        watch.until(lambda view: states(view) == [State.DRAINING], "the drain")
    watch.until(lambda view: states(view) == [State.DOWN], "its end")
    watch.source.act("start", "echod1")
    watch.until(lambda view: states(view) == [State.UP], "its return")


def test_the_servers_may_die_too(fleet: FleetUp) -> None:
    """HAProxy and Redis are shown as down or frozen; the daemons go on being shown."""
    watch = Watch()
    os.kill(fleet.pid_of("haproxy"), signal.SIGKILL)
    os.kill(fleet.pid_of("redis"), signal.SIGSTOP)

    view = watch.until(
        lambda view: (view.haproxy["state"], view.redis["state"]) == (State.DOWN, State.FROZEN),
        "HAProxy's death, and Redis's freeze",
    )
    assert all(row["memory_bytes"] for row in view.daemons)
    os.kill(fleet.pid_of("redis"), signal.SIGCONT)
    watch.until(lambda view: view.redis["state"] is State.UP, "Redis's return")


def test_the_keys_reach_the_fleet(fleet: FleetUp) -> None:
    """On the screen: the second daemon is killed and started, the first is left alone."""
    del fleet

    async def run() -> None:
        app = Top(LocalSource(control.find()), every_s=0.2)

        def shown() -> list[State]:
            return states(app.view) if app.view else []

        async with app.run_test(size=(160, 30)) as pilot, asyncio.timeout(SEEN_S_MAX):
            for keys, wanted in (
                ((), State.UP),
                (("down", "k"), State.DOWN),
                (("s",), State.UP),
                (("f",), State.FROZEN),
                (("t",), State.UP),
            ):
                await pilot.press(*keys)
                while shown() != [State.UP, wanted]:
                    await pilot.pause(0.05)
            await pilot.press("q")

    asyncio.run(run())


NO_OBJECT, NO_DAEMON = "a request is a JSON object", "there is no such daemon or node"


@pytest.mark.usefixtures("fleet")
def test_nonsense_is_refused() -> None:
    """In words; and the fleet goes on."""
    for said, answer in (
        (b"", NO_OBJECT),
        (b"nonsense\n", NO_OBJECT),
        (b"\xff\n", NO_OBJECT),
        (b"[" * 1_023 + b"\n", NO_OBJECT),
        (b"x" * 1_024, NO_OBJECT),
        (b"[1]\n", NO_OBJECT),
        (b'{"part": "echod1"}\n', NO_OBJECT),
        (b'{"do": ["kill"], "part": "echod1"}\n', NO_OBJECT),
        (b'{"do": "kill", "part": ["echod1"]}\n', NO_OBJECT),
        (b'{"do": "kill", "part": "haproxy"}\n', f"haproxy: {NO_DAEMON}"),
        (b'{"do": "kill"}\n', NO_DAEMON),
        (b'{"do": "drain", "part": "redis"}\n', "redis: only a daemon can be drained"),
        (b'{"do": "hand-over", "part": "redis"}\n', "redis: shard 0 has no replica"),
        (b'{"do": "hand-over", "part": "echod1"}\n', "echod1: only a master of Redis"),
        (b'{"do": "sing", "part": "echod1"}\n', "sing: what can be done is"),
    ):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(SEEN_S_MAX)
            asking.connect(str(control.find()))
            asking.sendall(said)
            asking.shutdown(socket.SHUT_WR)
            assert answer in json.loads(asking.makefile().readline())["error"], said

    assert states(Watch().view()) == [State.UP, State.UP]


def test_the_socket_is_its_users_alone(fleet: FleetUp) -> None:
    """Nobody else reaches it, and it goes with the fleet; one that is left over is passed over."""
    path = control.find()
    directory = path.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert path.name == f"{fleet.ready['pid']}.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(directory / "1.sock"))
    assert control.find(Path(fleet.ready["directory"])) == path
    with pytest.raises(ControlError, match="no `fleet up` of yours runs in /nowhere"):
        control.find(Path("/nowhere"))

    assert fleet.end(signal.SIGTERM) == 0
    assert not path.exists()
    with pytest.raises(ControlError, match="no `fleet up` of yours runs; start one"):
        control.find()


def test_a_directory_of_others_is_not_used(
    fleet_up: Callable[..., FleetUp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet runs without being looked at, and says why."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "echofleet").mkdir(mode=0o755)
    (tmp_path / "echofleet").chmod(0o755)

    fleet = fleet_up("--daemons=1", "--no-load")

    until(lambda: fleet.says("is not a directory of yours alone"), SEEN_S_MAX, "the reason")
    with PlainClient(*fleet.address) as client:
        client.ask(b"well\n")


def test_several_fleets_are_told_apart(
    fleet: FleetUp, fleet_up: Callable[..., FleetUp], tmp_path: Path
) -> None:
    """One has to say which, and both are named."""
    other = controlled(fleet_up("--daemons=1", "--no-load", f"--dir={tmp_path / 'other'}"))

    with pytest.raises(ControlError, match="2 fleets run, choose one") as refused:
        control.find()

    assert fleet.ready["directory"] in str(refused.value)
    assert control.find(tmp_path / "other").name == f"{other.ready['pid']}.sock"


def top(*flags: str) -> subprocess.CompletedProcess[str]:
    """`fleet top` as a person or a script calls it, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "lab.cli", "top", *flags],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.usefixtures("fleet")
def test_scripts_get_words_json_and_a_picture(tmp_path: Path) -> None:
    """`--once`, `--json`, `--do`, `--svg`: each prints, and ends."""
    text = top("--once", "--every", "0.2")
    assert text.returncode == 0
    assert "2 of 2 up" in text.stdout

    said: dict[str, Any] = json.loads(top("--once", "--json", "--every", "0.2").stdout)
    assert [row["name"] for row in said["daemons"]] == ["echod1", "echod2"]
    assert said["daemons"][0]["lines"] is not None

    assert top("--do", "freeze", "echod1").stdout == "echod1: frozen\n"
    picture = tmp_path / "images" / "top.svg"
    drawn = top("--svg", str(picture), "--every", "0.2", "--do", "thaw", "echod1")
    assert drawn.stdout == f"{picture}\n"
    svg = picture.read_text().replace("&#160;", " ")
    for words in ("2 of 2 up", "echod1: thawed", "echod1: frozen → up"):
        assert words in svg
    # A picture in a README fetches nothing.
    assert not re.search(r"url\(.?http|@font-face|<script", svg)


@pytest.mark.parametrize(
    "flags,words",
    [
        ((), "no `fleet up` of yours runs"),
        (("--json",), "--json goes with --once"),
        (("--compose", "--once", "--project", "no-such-project"), "docker"),
    ],
)
def test_what_cannot_be_shown_is_said(
    flags: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, status 1."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    done = top(*flags)

    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("fleet")
def test_a_screen_needs_a_terminal() -> None:
    """In a pipe it says what to do instead."""
    done = top()
    assert (done.returncode, done.stdout) == (1, "")
    assert "--once" in done.stderr
    assert top("--do", "sing", "echod1").returncode == 1


DOCKER = """\
#!{python}
import json, sys
with open({log!r}, "a") as log:
    print(" ".join(sys.argv[1:]), file=log)
if sys.argv[1] == "ps":
    print("one two three four")
elif sys.argv[1:3] == ["container", "inspect"]:
    def container(name, service, status="running"):
        return {{
            "Id": name * 20, "Name": "/f-" + name,
            "Config": {{"Labels": {{"com.docker.compose.service": service}}}},
            "State": {{"Status": status}},
            "NetworkSettings": {{"Networks": {{"f": {{"IPAddress": "127.0.0.1"}}}}}},
        }}
    print(json.dumps([
        container("server-10", "server", "exited"), container("server-9", "server"),
        container("haproxy-1", "haproxy"), container("redis-1", "redis", "paused"),
    ]))
elif sys.argv[1] == "kill" and sys.argv[-1] == "f-server-10":
    sys.exit("Container f-server-10 is not running")
"""


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on PATH")
def test_containers_are_seen_through_prometheus(
    fleet: FleetUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Docker says of each, and what a real Prometheus has of it, come together by address.

    Docker is played here; tests/stack has the real one.
    """
    log = tmp_path / "docker.log"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "docker"
    program.write_text(DOCKER.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    web = fleet.ready["prometheus"]["web"]
    os.kill(fleet.pid_of("echod2"), signal.SIGKILL)  # both have the same address here
    source, model = ComposeSource("echofleet", f"http://{web}"), Model()

    def seen() -> View | None:
        view = model.take(source.look())
        return (
            view
            if view.daemons[0]["lines"] is not None and view.haproxy["busy"] is not None
            else None
        )

    view = until(seen, 2 * SEEN_S_MAX, "two scrapes")
    assert view is not None
    nine, ten = view.daemons
    assert (nine["name"], nine["state"], ten["name"], ten["state"]) == (
        *("f-server-9", State.UP),
        *("f-server-10", State.DOWN),
    )
    assert nine["memory_bytes"] == pytest.approx(
        psutil.Process(fleet.pid_of("echod1")).memory_info().rss, rel=0.1
    )
    assert (view.haproxy["state"], view.redis["state"]) == (State.UP, State.FROZEN)

    for action, command in (
        ("drain", "kill --signal TERM f-server-9"),
        ("kill", "kill f-server-9"),
        ("freeze", "pause f-server-9"),
        ("thaw", "unpause f-server-9"),
        ("start", "start f-server-9"),
    ):
        assert source.act(action, "f-server-9").startswith("f-server-9: ")
        assert log.read_text().splitlines()[-1] == command
    with pytest.raises(Exception, match="f-server-10 is not running"):
        source.act("kill", "f-server-10")

    assert fleet.end(signal.SIGTERM) == 0
    without = model.take(source.look())
    assert without.daemons[0]["state"] is State.SILENT


def test_a_slow_fleet_is_waited_for_and_a_dead_one_told(fleet: FleetUp) -> None:
    """The end of `fleet up` is an error that the screen shows, not a traceback."""
    watch = Watch()
    watch.view()
    assert fleet.end(signal.SIGKILL) == -signal.SIGKILL

    began = time.monotonic()
    with pytest.raises(ControlError, match="the fleet has ended"):
        watch.view()
    assert time.monotonic() - began < GONE_S_MAX
