"""Two people on two daemons of a real fleet: one daemon is killed, and the talk goes on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab import web
from lab.chat.screen import Chat
from lab.cli import main
from lab.fleet.local import Fleet, Plan
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from textual.pilot import Pilot

WAIT_S = 60.0
SAID = 30


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Two daemons behind HAProxy."""
    with Fleet(Plan(tmp_path / "fleet", daemons=2)) as running:
        yield running


class Plain:
    """`fleet chat --plain` in a process of its own."""

    def __init__(self, port: int, log: Path) -> None:
        self._log = log
        argv = [sys.executable, "-m", "lab.cli", "chat", "--plain", "--port", str(port)]
        with log.open("wb") as out:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=out)

    def type(self, line: str) -> None:
        """As a person would."""
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def lines(self) -> list[str]:
        """What it has shown."""
        return self._log.read_text().splitlines()

    def await_line(self, part: str) -> str:
        """The first line with this in it."""
        return until(
            lambda: next((line for line in self.lines() if part in line), ""), WAIT_S, part
        )

    def end(self) -> int:
        """End of stdin; its status."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(WAIT_S)


def members(fleet: Fleet, name: str) -> int:
    """Memberships at a daemon."""
    url = f"http://{fleet.parts[name].ready['admin']}/metrics"
    with web.page(url, timeout=10) as page:
        lines = page.read().decode().splitlines()
    return int(
        next(float(one.split()[1]) for one in lines if one.startswith("echod_room_members "))
    )


async def shown(pilot: Pilot[None], app: Chat, part: str) -> str:
    """The first line of the pane with this in it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for line in app.lines:
                if part in line:
                    return line
            await pilot.pause(0.02)


async def typed(pilot: Pilot[None], text: str) -> None:
    """Key by key."""
    names = {" ": "space", "/": "slash"}
    await pilot.press(*[names.get(key, key) for key in text], "enter")


def test_the_talk_goes_on(fleet: Fleet, tmp_path: Path) -> None:
    """One in a terminal, one with lines; the first's daemon dies; both get everything, in order."""
    host, _, port = fleet.ready["session"].rpartition(":")
    app = Chat([(host, int(port))], "lobby")

    async def talk() -> None:
        async with app.run_test(size=(100, 30)) as pilot:
            await shown(pilot, app, "in lobby")
            first = next(name for name in ("echod1", "echod2") if members(fleet, name))
            other = Plain(int(port), tmp_path / "plain.log")
            await asyncio.to_thread(other.await_line, "in lobby")
            assert [members(fleet, name) for name in ("echod1", "echod2")] == [1, 1]
            await typed(pilot, "hello")
            await asyncio.to_thread(other.await_line, f"{app.talk.name}: hello")
            await typed(pilot, "/who")
            assert await shown(pilot, app, "in the room, on") == "2 in the room, on 2 daemons"

            for number in range(SAID):
                other.type(f"before or during {number}")
                if number == SAID // 2:
                    fleet.parts[first].kill()
            await shown(pilot, app, "connection lost")
            await shown(pilot, app, "reconnected at")
            await shown(pilot, app, "nothing is missing")
            await typed(pilot, "still here")
            await asyncio.to_thread(other.await_line, f"{app.talk.name}: still here")
            await shown(pilot, app, f"during {SAID - 1}")
            others = [line.split(": ")[1] for line in app.lines if "before or during" in line]
            assert others == [f"before or during {number}" for number in range(SAID)]

            name = other.await_line("you are").split()[3].strip(";")
            await typed(pilot, f"/tell {name} psst")
            await shown(pilot, app, f"told {name}")
            await asyncio.to_thread(other.await_line, f"whisper\t{app.talk.name} tells you: psst")
            assert other.end() == 0
            await typed(pilot, "/quit")

    asyncio.run(talk())
    assert app.return_code == 0


def test_a_script_in_a_pipe(fleet: Fleet) -> None:
    """Everything typed before the end is said, and its answers shown."""
    port = fleet.ready["session"].rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", "chat", "--plain", "--room=attic", "--port", port],
        input="one\n/who\n/tell nobodyhere hello\n/tell x y\n/what\n\x1b[31mtwo\n",
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    kinds = [line.split("\t") for line in done.stdout.splitlines()]
    name = next(text for _, text in kinds if text.startswith("you are")).split()[2].strip(";")
    assert ["own", f"{name}: one"] in kinds
    assert ["own", f"{name}: \ufffd[31mtwo"] in kinds
    assert ["note", "1 in the room, on 1 daemons"] in kinds
    assert any(kind == "alert" and "can't be sent" in text for kind, text in kinds)
    assert any(kind == "note" and text.startswith("/who") for kind, text in kinds)


def test_where_it_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one it says what to do; a room's name is refused at once."""
    assert main(["chat", "--port", "1"]) == 1
    assert "--plain" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["chat", "--room", "no room"])
