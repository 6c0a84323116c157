"""The fan-out's load generator: right servers pass in all three speeches, every fault is found."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lab.measure import compiler
from lab.measure.errors import MeasureError
from lab.measure.fanout.measure import Fanout, Result, Settings
from tests.lab.fanout_servers import CLOSE, frame, right, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEECHES = ("echod", "socketio", "channels")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built generator."""
    try:
        compiler.compiler()
    except MeasureError as error:
        pytest.skip(str(error))
    return compiler.build(tmp_path_factory.mktemp("cache")) / "fanout"


def settings(speech: str, rooms: int = 3) -> Settings:
    """A short run: rooms of four, some sixty posts."""
    return Settings(
        speech, rooms, members=4, posts_per_s=200, seconds=0.2, warm_up_s=0.1, answer_s_max=1.0
    )


def play(
    program: Path,
    log: Path,
    speech: str,
    fault: Callable[[int, int, bytes], list[bytes]] = right,
    rooms: int = 3,
) -> tuple[Result, str]:
    """What it measured, and what it said."""
    with (
        serving(speech, fault) as (ports, _),
        Fanout(program, ports, settings(speech, rooms), log) as load,
    ):
        load.await_connected()
        load.go()
        load.await_measured()
        return load.await_result(), load.words()


@pytest.mark.parametrize("speech", SPEECHES)
def test_right_servers_pass(program: Path, tmp_path: Path, speech: str) -> None:
    """Every post reaches the four members of its room, whichever port they are at."""
    with serving(speech) as (ports, rooms):
        with Fanout(program, ports, settings(speech), tmp_path / "log") as load:
            load.await_connected()
            assert sorted(map(len, rooms.members.values())) == [4, 4, 4]
            load.go()
            load.await_measured()
            result = load.await_result()
        assert len(set(rooms.texts)) == len(rooms.texts), "no two posts are alike"
        assert {len(text) for text in rooms.texts} == {64}
        if speech != "echod":
            assert rooms.pongs == 12, "every ping is answered"
    assert (result.lost, result.reordered) == (0, 0), result.explain()
    assert 0.1 < result.seconds < 5
    assert result.posts == pytest.approx(200 * result.seconds, abs=20)
    # Where it begins, up to all of the warm-up's 20 posts may still be on their way; at its end,
    # as many of its own.
    assert result.deliveries == pytest.approx(4 * result.posts, abs=4 * 20 + 16)
    assert sum(count for _, count in result.histogram_ns) >= result.deliveries, "and late ones"


@pytest.mark.parametrize("speech", SPEECHES)
def test_a_missing_delivery_is_found(program: Path, tmp_path: Path, speech: str) -> None:
    """One member of a room misses one post."""

    def drop(who: int, number: int, message: bytes) -> list[bytes]:
        return [] if (who, number) == (2, 5) else [message]

    result, _ = play(program, tmp_path / "log", speech, drop)
    assert result.missing == 3, "one in each room"
    assert result.lost == 3


@pytest.mark.parametrize("speech", SPEECHES)
def test_a_repeated_delivery_is_found(program: Path, tmp_path: Path, speech: str) -> None:
    """One member gets one post twice."""

    def repeat(who: int, number: int, message: bytes) -> list[bytes]:
        return [message, message] if (who, number) == (1, 4) else [message]

    result, words = play(program, tmp_path / "log", speech, repeat)
    assert result.duplicated == 3
    assert "again" in words


@pytest.mark.parametrize("speech", SPEECHES)
def test_a_changed_byte_is_found(program: Path, tmp_path: Path, speech: str) -> None:
    """The last byte of one text is another: no post, and the post itself is missing."""

    def spoil(who: int, number: int, message: bytes) -> list[bytes]:
        if (who, number) != (0, 3):
            return [message]
        at = max(message.rfind(bytes([letter])) for letter in b"abcdefghijklmnopqrstuvwxyz")
        return [message[:at] + b"!" + message[at + 1 :]]

    result, words = play(program, tmp_path / "log", speech, spoil)
    assert (result.wrong, result.missing) == (3, 3)
    assert "no post" in words


@pytest.mark.parametrize("speech", SPEECHES)
def test_another_order_is_told(program: Path, tmp_path: Path, speech: str) -> None:
    """Two posts change places for one member: it gets both, out of order."""
    held: list[bytes] = []

    def swap(who: int, number: int, message: bytes) -> list[bytes]:
        if (who, number) == (3, 4):
            held.append(message)
            return []
        return [message, *held] if (who, number) == (3, 5) else [message]

    result, _ = play(program, tmp_path / "log", speech, swap, rooms=1)
    assert result.reordered
    assert result.lost == 0


def test_an_order_of_its_own_is_told(program: Path, tmp_path: Path) -> None:
    """Offsets run on without a hole, but for one member two of them are other posts."""
    texts: dict[int, bytes] = {}

    def exchange(who: int, number: int, message: bytes) -> list[bytes]:
        words = message.split(b" ", 4)
        if number == 4:
            texts[who] = words[4]
            return [message] if who != 3 else []
        if who != 3 or number != 5:
            return [message]
        begin = b" ".join(words[:2])
        return [
            b"%b 4 %b %b" % (begin, words[3], words[4]),
            b"%b 5 %b %b" % (begin, words[3], texts[3]),
        ]

    result, words = play(program, tmp_path / "log", "echod", exchange, rooms=1)
    assert result.reordered == 2
    assert "out of order" in words


def test_a_message_of_another_room_is_found(program: Path, tmp_path: Path) -> None:
    """A name that the member never joined."""

    def stray(who: int, number: int, message: bytes) -> list[bytes]:
        if (who, number) != (0, 2):
            return [message]
        return [b"MSG elsewhere " + message.split(b" ", 2)[2]]

    result, _ = play(program, tmp_path / "log", "echod", stray)
    assert result.wrong == 3


@pytest.mark.parametrize(
    "speech, message",
    [
        ("echod", b"ERR slow-consumer read faster\n"),
        ("socketio", frame(b"41")),
        ("channels", frame(b"\x03\xf3", CLOSE)),
        ("channels", b"\x01\x01a"),
    ],
    ids=["error", "disconnect", "close", "fragment"],
)
def test_what_no_server_may_say_is_found(
    program: Path, tmp_path: Path, speech: str, message: bytes
) -> None:
    """It is shown, and the member is lost with what it misses from then on."""

    def say(who: int, number: int, delivery: bytes) -> list[bytes]:
        return [message] if (who, number) == (1, 2) else [delivery]

    result, words = play(program, tmp_path / "log", speech, say)
    assert result.wrong == 3
    assert result.missing > 3
    assert "unexpected" in words


def test_an_early_end_is_found(program: Path, tmp_path: Path) -> None:
    """A server that speaks otherwise hangs up: nobody is in a room, and nothing is measured."""
    with (
        serving("channels") as (ports, _),
        Fanout(program, ports, replace(settings("echod"), join_s_max=2), tmp_path / "log") as load,
    ):
        with pytest.raises(MeasureError):
            load.await_connected()
        assert "0 of 12 members joined" in load.words()


@pytest.mark.parametrize(
    "flags",
    [
        ["--ports", "0"],
        ["--ports", "1,"],
        ["--ports", "1", "--speech", "morse"],
        ["--ports", "1", "--rooms", "0"],
        ["--ports", "1", "--text-bytes", "101"],
        ["--ports", "1", "--wrong", "1"],
        [],
    ],
)
def test_wrong_flags_are_refused(program: Path, flags: list[str]) -> None:
    """With exit status 2, and a reason."""
    done = subprocess.run(
        [str(program), *flags], capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 2
    assert done.stderr
