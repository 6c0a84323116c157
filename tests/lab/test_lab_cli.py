"""The `fleet` command: what it refuses before anything is started."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lab.cli import main
from lab.fleet.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FREE = [
    "--port",
    "0",
    "--session-port",
    "0",
    "--stats-port",
    "0",
    "--locust-port",
    "0",
    "--prometheus-port",
    "0",
]


@pytest.fixture(autouse=True)
def nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary directories would go to `tmp_path`, and none of these tests may make one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argv, complaint",
    [
        (["up", "--daemons", "0"], "argument --daemons: '0': must be a whole number from 1 to 64"),
        (["up", "--daemons", "four"], "'four': must be a whole number"),
        (["up", "--shards", "2"], "argument --shards: 2: must be 1 (one Redis), or 3 to 16"),
        (["up", "--shards", "17"], "argument --shards: '17': must be a whole number from 1 to 16"),
        (["up", "--shard-replicas", "5"], "argument --shard-replicas: '5': must be a whole number"),
        (["up", "--port", "65536"], "argument --port: '65536': must be a whole number from 0"),
        (["up", "--durability", "perhaps"], "argument --durability: invalid choice: 'perhaps'"),
        (["up", "--appendfsync", "never"], "argument --appendfsync: invalid choice: 'never'"),
        ([], "required: command"),
    ],
)
def test_bad_flags(argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A flag that can't be is named, with what it must be."""
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting, complaint",
    [
        ("ECHO_PORT=echo", "argument --port: 'echo': must be"),
        ("ECHOD_REPLICAS=1000", "argument --daemons: '1000': must be"),
        ("SHARDS=2", "argument --shards: 2: must be"),
        ("SHARD_REPLICAS=many", "argument --shard-replicas: 'many': must be"),
        ("ECHOD_DRAIN_S=-1", "--drain-s=-1.0: must be 0.01 to "),
    ],
)
def test_bad_variables(
    setting: str,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A variable is held to what its flag is, the daemons' own too, before anything is made."""
    monkeypatch.setenv(*setting.split("="))

    with pytest.raises(SystemExit) as caught:
        main(["up"])

    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--shard-replicas", "1"], "--shard-replicas 1: one Redis has no replicas"),
        (["--shards", "10", "--shard-replicas", "4"], "50 processes of Redis, more than 48"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each alone would do."""
    assert main(["up", *FREE, *flags]) == 1
    assert complaint in capsys.readouterr().err


def test_secrets_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt folder is no new one, without the TLS that was asked for."""
    folder = tmp_path / "none"

    assert main(["up", *FREE, "--secrets", str(folder)]) == 1
    assert f"fleet: --secrets {folder}: no such folder" in capsys.readouterr().err
    assert not folder.exists()


def test_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is named with its flag and variable before anything is started."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]

        assert main(["up", *FREE, "--port", str(port)]) == 1

    complaint = capsys.readouterr().err
    assert f"port {port} (the echo): Address already in use" in complaint
    assert "--port or ECHO_PORT" in complaint


def test_a_missing_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server program that is not there is named before anything is started."""
    monkeypatch.setenv("ECHOFLEET_HAPROXY", str(tmp_path / "none"))

    assert main(["up", *FREE]) == 1
    assert f"fleet: ECHOFLEET_HAPROXY={tmp_path}/none: no such program" in capsys.readouterr().err
