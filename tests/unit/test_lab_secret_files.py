"""`lab.fleet.secret_files`: what is made, for whom it is readable, and what is kept."""

from __future__ import annotations

import datetime as dt
import json
import re
import stat
from typing import TYPE_CHECKING

import pytest

from lab.cli import main
from lab.fleet import secret_files
from lab.fleet.certificates import LEAF_DAYS, Pair
from lab.fleet.secret_files import make_certificates, make_passwords

if TYPE_CHECKING:
    from pathlib import Path


NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

# Each container runs as a user of its own, and must be able to read what it is handed.
OF_CONTAINERS = {
    "redis_echod", "redis_exporter.json", "redis_replica", "redis_admin",
    "haproxy.pem", "clients_ca.pem", "ca.pem",
}  # fmt: skip


def test_who_can_read_what(tmp_path: Path) -> None:
    """The folder is its owner's; in it, keys that no container needs are too."""
    folder = tmp_path / "own"
    make_passwords(folder)
    make_certificates(folder, ["localhost"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    readable = {path.name for path in folder.iterdir() if path.stat().st_mode & stat.S_IROTH}
    assert readable == OF_CONTAINERS


def test_every_password_is_another(tmp_path: Path) -> None:
    """Four users, four passwords, each of letters that redis/start.sh takes."""
    make_passwords(tmp_path)
    exporter = set(json.loads((tmp_path / "redis_exporter.json").read_text()).values())
    names = ("redis_echod", "redis_replica", "redis_admin")
    others = {(tmp_path / name).read_text().strip() for name in names}
    assert len(exporter | others) == 4
    assert all(re.fullmatch(r"[\w-]{43}", one, re.ASCII) for one in exporter | others)


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    """Made again, nothing changes; one that is missing is made alone."""
    make_passwords(tmp_path)
    make_certificates(tmp_path, ["localhost"], NOW)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert make_passwords(tmp_path) + make_certificates(tmp_path, ["localhost"], NOW) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "redis_echod").unlink()
    assert make_passwords(tmp_path) == ["redis_echod"]


def test_certificates_are_renewed_in_time(tmp_path: Path) -> None:
    """Before the year is over the leaves are made anew, by the authority that clients know."""
    make_certificates(tmp_path, ["localhost"], NOW)
    authority = (tmp_path / "ca.pem").read_bytes()
    old = Pair.read((tmp_path / "haproxy.pem").read_bytes())
    later = NOW + dt.timedelta(days=LEAF_DAYS - 29)
    assert not old.due(later - dt.timedelta(days=2))
    assert make_certificates(tmp_path, ["localhost"], later) == ["haproxy.pem", "client.pem"]
    assert (tmp_path / "ca.pem").read_bytes() == authority
    new = Pair.read((tmp_path / "haproxy.pem").read_bytes())
    new.certificate.verify_directly_issued_by(
        Pair.read((tmp_path / "authority.pem").read_bytes()).certificate
    )
    assert not new.due(later)


def test_the_command_says_how_they_are_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fleet secrets` makes everything, and tells the next command."""
    assert main(["secrets", "--dir", str(tmp_path / "own"), "--name", "example.org"]) == 0
    assert f"SECRETS={tmp_path / 'own'} docker compose up" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "own").iterdir()} == OF_CONTAINERS | {
        "authority.pem", "client.pem",
    }  # fmt: skip
    assert secret_files.has_certificate(tmp_path / "own")


@pytest.mark.parametrize("name", ["", "a b", "a_b", "a..b", "-a", "é", "1.2.3.4/8", "a:1"])
def test_a_name_that_is_none(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate of it would fit no client's address."""
    assert main(["secrets", "--dir", str(tmp_path), f"--name={name}"]) == 1
    assert f"{name!r}: must be a host name or an address" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in the way is an error with its name, not a traceback."""
    (tmp_path / "file").touch()
    assert main(["secrets", "--dir", str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
