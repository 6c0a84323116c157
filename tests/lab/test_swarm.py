"""lab/swarm.py: the machines' labels, the settings, and what is said before it is done."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lab import swarm

if TYPE_CHECKING:
    from pathlib import Path

NEW: dict[str, dict[str, str]] = {"node1": {}, "node2": {}, "node3": {}}

# A docker that knows one machine, and writes down what it is asked.
DOCKER = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$1 $2" in
  "stack config") echo "services: {redis: {}, server: {}}" ;;
  "service ls") echo "$THERE" ;;
  "node ls") echo id1 ;;
  "node inspect") echo "node1 active ready $LABELS" ;;
esac
"""


def test_the_shell_has_the_last_word() -> None:
    """Comments and empty lines are none."""
    text = "# A=0\nA=1\n\nB=2\n#C=3\n"
    assert swarm.settings(text, {"B": "4"}) == {"A": "1", "B": "4"}


def test_new_machines_get_labels() -> None:
    """One for each place of data; one has the monitoring."""
    assert swarm.labels(NEW, NEW, "cluster") == [
        ("node1", "echofleet.redis=0"),
        ("node2", "echofleet.redis=1"),
        ("node3", "echofleet.redis=2"),
        ("node3", "echofleet.watch=yes"),
    ]
    assert swarm.labels({"only": {}}, {"only"}, "redis") == [
        ("only", "echofleet.redis=0"),
        ("only", "echofleet.watch=yes"),
    ]


def test_a_label_stays_where_it_is() -> None:
    """Whatever order the names have: the data are there."""
    machines = {**NEW, "node3": {"echofleet.redis": "0"}, "node1": {"echofleet.watch": "yes"}}
    assert swarm.labels(machines, NEW, "redis") == []
    assert swarm.labels(machines, NEW, "cluster") == [
        ("node1", "echofleet.redis=1"),
        ("node2", "echofleet.redis=2"),
    ]
    # Though the machine with the data takes no containers now.
    assert swarm.labels(machines, {"node1", "node2"}, "redis") == []


@pytest.mark.parametrize(
    "machines, ready, store, what",
    [
        (NEW, {"node1", "node2"}, "cluster", "echofleet.redis=2"),
        ({}, set(), "redis", "echofleet.redis=0"),
        (
            {"a": {"echofleet.redis": "0"}, "b": {"echofleet.redis": "0"}},
            {"a"},
            "redis",
            "the same",
        ),
    ],
)
def test_machines_that_do_not_do(
    machines: dict[str, dict[str, str]], ready: set[str], store: str, what: str
) -> None:
    """Too few, and two that would both have the data."""
    with pytest.raises(swarm.SwarmError, match=what):
        swarm.labels(machines, ready, store)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a `docker` of our own was asked, a line each."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("THERE", "")
    monkeypatch.setenv("LABELS", "{}")
    for name in swarm.OWN_IMAGES:
        monkeypatch.setenv(name, "an-image:1")
    return tmp_path / "asked"


def changes(asked: Path) -> list[str]:
    """Which commands it was given that change something."""
    return [
        line
        for line in asked.read_text().splitlines()
        if line.startswith(("node update", "stack deploy"))
    ]


def test_a_dry_run_changes_nothing(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says all that would be changed."""
    assert swarm.main(["--dry-run"]) == 0
    assert changes(asked) == []
    said = capsys.readouterr().out
    assert "docker node update --label-add echofleet.redis=0 node1" in said
    assert "docker stack deploy" in said


def test_labels_come_before_the_stack(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command was said before."""
    assert swarm.main([]) == 0
    done = changes(asked)
    assert [line.split()[0] for line in done] == ["node", "node", "stack"]
    said = capsys.readouterr().out
    for line in done:
        assert f"docker {line}" in said


@pytest.mark.parametrize(
    "there, store", [("echofleet_redis-0-0", "redis"), ("echofleet_redis", "cluster")]
)
def test_another_store_is_refused(
    asked: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    there: str,
    store: str,
) -> None:
    """A forgotten option would begin with an empty one."""
    monkeypatch.setenv("THERE", there)
    assert swarm.main(["--store", store]) == 1
    assert "another store" in capsys.readouterr().err
    assert changes(asked) == []


def test_lost_data_are_not_replaced_by_none(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the store of a stack that runs is to be, a person says."""
    monkeypatch.setenv("THERE", "echofleet_redis")
    assert swarm.main([]) == 1
    assert "no machine has echofleet.redis=0" in capsys.readouterr().err
    assert changes(asked) == []


def test_an_update_leaves_the_labels(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has changed is left to Swarm."""
    monkeypatch.setenv("THERE", "echofleet_redis")
    monkeypatch.setenv("LABELS", '{"echofleet.redis": "0", "echofleet.watch": "yes"}')
    assert swarm.main([]) == 0
    assert [line.split()[0] for line in changes(asked)] == ["stack"]


def test_images_have_to_be_named(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Swarm builds none."""
    monkeypatch.delenv("SERVER_IMAGE")
    assert swarm.main([]) == 1
    assert "SERVER_IMAGE" in capsys.readouterr().err
    assert not asked.exists()
