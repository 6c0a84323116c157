"""Settings: where they come from. What they may be is test_config_values.py's."""

from __future__ import annotations

import dataclasses

import pytest

from echod.config import Config, flag_of, parse, variable_of


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
    environ = {"ECHOD_LINE_BYTES_MAX": "1000", "ECHOD_PROXY_PROTOCOL": "true"}
    assert parse([], environ).line_bytes_max == 1000
    assert parse(["--line-bytes-max", "500"], environ).line_bytes_max == 500
    assert parse([], environ).proxy_protocol
    assert not parse(["--no-proxy-protocol"], environ).proxy_protocol


def test_help_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` gives each flag, its variable and its reason, and shows no variable's value."""
    with pytest.raises(SystemExit):
        parse(["--help"], {"ECHOD_STORE": "redis://:hunter2@h"})
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    assert "hunter2" not in text
    for spec in dataclasses.fields(Config):
        assert flag_of(spec.name) in text
        assert variable_of(spec.name) in text
