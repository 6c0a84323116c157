"""Who is put under load: routes and peers by name, locks without a host."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from lab.measure.errors import MeasureError
from lab.measure.fanout import systems as fanout_systems
from lab.measure.fanout.systems import ROUTES, daemons
from lab.measure.peers import install, servers


def test_names_are_checked() -> None:
    """A route or a peer that there is not is refused, with those that there are."""
    fanout_systems.require(ROUTES)
    with pytest.raises(MeasureError, match="there are broadcast, room, directed"):
        fanout_systems.require(["pigeon"])
    with pytest.raises(MeasureError, match="all, none, socketio-redis"):
        fanout_systems.choose_peers(["pigeon"])
    assert fanout_systems.choose_peers(["none"]) == ({}, {})


def test_systems_have_names_of_their_own() -> None:
    """Or their points would be mixed up."""
    systems = [daemons(route, tick_s) for route in ROUTES for tick_s in (0.0, 0.02)]
    assert len({system.name for system in systems}) == len(systems)
    assert daemons("room", 0.02).title == "echod, room, tick 20 ms"


def test_a_peer_that_cannot_be_had_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installer that fails: the reason is told in its last words, and nothing counts as there."""
    for name, text in (
        ("node", "echo v22.0.0"),
        ("npm", "echo 'no such network' >&2; exit 1"),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(2):
        programs, left_out = fanout_systems.choose_peers(["socketio-redis"])
        assert programs == {}
        assert "no such network" in left_out["socketio-redis"]


def test_an_old_node_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is installed."""
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.19.0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(install.PeerError, match=r"v18\.19\.0"):
        install.node_directory(tmp_path)


def test_what_is_complete_is_not_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was broken off is."""
    made = []

    def run(command: list[str], directory: Path) -> str:
        made.append(command[0])
        if len(made) == 2:
            raise install.PeerError("broken off")
        return "v22.0.0" if command[-1] == "--version" else str(directory)

    monkeypatch.setattr(install, "_run", run)
    monkeypatch.setattr(install, "_require_node", lambda: None)
    first = install.node_directory(tmp_path)
    with pytest.raises(install.PeerError):
        install.python_program(tmp_path)
    assert made == ["npm", sys.executable]
    assert install.node_directory(tmp_path) == first
    assert install.python_program(tmp_path).name == "python"
    assert len(made) == 4, "the virtual environment and its packages, once more"


def test_locks_are_whole_and_name_no_host() -> None:
    """Every package pinned and hashed; whoever installs has a registry of their own."""
    lock = json.loads((install.HERE / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert not any("resolved" in one for one in packages.values())
    wanted = json.loads((install.HERE / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    requirements = install.REQUIREMENTS.read_text()
    assert "://" not in requirements
    pinned = re.findall(r"^([a-z0-9._-]+)==([^ ]+)", requirements, re.MULTILINE)
    for line in (install.HERE / "requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert tuple(line.split("==")) in pinned
    assert requirements.count("--hash=sha256:") >= len(pinned)


def test_every_peer_speaks_what_the_generator_knows() -> None:
    """Its speech is one of c/fanout_settings.h."""
    header = Path(fanout_systems.__file__).parents[1] / "c" / "fanout_settings.h"
    for peer in servers.PEERS:
        assert f'"{peer.speech}"' in header.read_text()
