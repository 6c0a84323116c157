"""`fleet chat`: --host and --port, one or several of each, as addresses."""

from __future__ import annotations

import argparse

import pytest

from lab.chat import cli
from lab.errors import LabError


@pytest.mark.parametrize(
    "argv, found",
    [
        (["--host", "a"], ["a:1235"]),
        (["--port", "1", "2"], ["127.0.0.1:1", "127.0.0.1:2"]),
        (["--host", "a,b"], ["a:1235", "b:1235"]),
        (["--host", "a:1, b:2"], ["a:1", "b:2"]),
        (["--host", "a:1,b", "--port", "3", "4"], ["a:1", "b:3", "b:4"]),
        (["--host", "[::1]:5,[::2]"], ["::1:5", "::2:1235"]),
    ],
)
def test_addresses(argv: list[str], found: list[str]) -> None:
    """A host without a port of its own has all that --port gives."""
    assert [f"{host}:{port}" for host, port in cli._addresses(parsed(argv))] == found  # noqa: SLF001


@pytest.mark.parametrize("host", ["a:b", "a:", ",", "::1", "a:70000"])
def test_what_is_no_address(host: str) -> None:
    """The words name the flag and the form."""
    with pytest.raises(LabError, match=r"^--host=.*must be HOST:PORT"):
        cli._addresses(parsed(["--host", host]))  # noqa: SLF001


def parsed(argv: list[str]) -> argparse.Namespace:
    """As `fleet chat` parses."""
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    return parser.parse_args(["chat", *argv])
