"""Settings: where they come from, and that wrong ones are named."""

from __future__ import annotations

import dataclasses

import pytest

from echod.config import Config, ConfigError, flag_of, parse, variable_of


def test_defaults_are_the_protocols_table() -> None:
    """PROTOCOL's table of limits."""
    config = parse([], {})
    assert (config.line_bytes_max, config.connections_max, config.inflight_lines_max) == (
        8192, 10_000, 1000,
    )  # fmt: skip
    assert (config.outbox_bytes_max, config.send_s_max, config.echo_idle_s_max) == (1 << 20, 10, 5)
    assert (config.commit_s_max, config.drain_s, config.session_ttl_s) == (2, 10, 300)


def test_flag_beats_variable_beats_default() -> None:
    """The order in which a setting is looked for."""
    environ = {"ECHOD_LINE_BYTES_MAX": "100", "ECHOD_PROXY_PROTOCOL": "true"}
    assert parse([], environ).line_bytes_max == 100
    assert parse(["--line-bytes-max", "50"], environ).line_bytes_max == 50
    assert parse([], environ).proxy_protocol
    assert not parse(["--no-proxy-protocol"], environ).proxy_protocol


@pytest.mark.parametrize(
    "settings",
    [
        {"echo_port": 65_536},
        {"line_bytes_max": 0},
        {"commit_s_max": -1.0},
        {"durability": "maybe"},
        {"reader": "thread"},
        {"store": "mysql://x"},
        {"proxy_networks": "10.0.0.0/99"},
        {"lease_s": 0.5},
        {"announcement_s": 0.5},
        {"room_s_max": 89.0},
        {"marker_s": 5.0},
        {"room_linger_s": 46.0},
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object]) -> None:
    """The error names the flag that has to be mended."""
    with pytest.raises(ConfigError, match=flag_of(next(iter(settings)))):
        Config(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["abc", "1.5"])
def test_a_number_that_is_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that can't be parsed ends the program with its flag's name."""
    with pytest.raises(SystemExit):
        parse([], {"ECHOD_LINE_BYTES_MAX": text})
    assert "--line-bytes-max" in capsys.readouterr().err


def test_help_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` gives each flag, its variable and its reason."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    for spec in dataclasses.fields(Config):
        assert flag_of(spec.name) in text
        assert variable_of(spec.name) in text
