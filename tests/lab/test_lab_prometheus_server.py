"""`lab.fleet.prometheus_server.config`: what the containers' Prometheus has, with named targets."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab.fleet.local import ROOT
from lab.fleet.prometheus_server import config

if TYPE_CHECKING:
    from pathlib import Path


def test_targets_stand_under_their_jobs() -> None:
    """Each job has its addresses, and the rules are those given."""
    rules = [ROOT / "rules" / "*.yml"]
    made = json.loads(config({"echod": ["127.0.0.1:1", "127.0.0.1:2"]}, rules))

    assert made["rule_files"] == [str(ROOT / "rules" / "*.yml")]
    assert made["scrape_configs"] == [
        {
            "job_name": "echod",
            "static_configs": [{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}],
        }
    ]


def test_jobs_and_intervals_are_the_containers() -> None:
    """Rules and dashboards name jobs and count on the intervals: both must fit both places."""
    made = json.loads(config({"echod": [], "haproxy": [], "locust": [], "prometheus": []}, []))
    containers = (ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text()

    jobs = re.findall(r"job_name: (\w+)", containers)
    assert {job["job_name"] for job in made["scrape_configs"]} <= set(jobs)
    for name, value in made["global"].items():
        assert f"{name}: {value}\n" in containers


def test_the_expected_number_is_a_rule(tmp_path: Path) -> None:
    """What is asked for reaches Prometheus as a series, by the script that starts it."""
    stand_in = tmp_path / "prometheus"
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    script = ROOT / "monitoring" / "prometheus" / "start.sh"
    done = subprocess.run(
        ["sh", str(script), "--a", "b c"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "ECHOD_REPLICAS": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "--a b c\n"
    made = (tmp_path / "expected" / "daemons.yml").read_text()
    assert "record: fleet:daemons:expected" in made
    assert "expr: vector(7)" in made


@pytest.mark.parametrize("text", ["four", "4 ", "-1", "4)+vector(1", "1.5"])
def test_what_is_no_number(text: str, tmp_path: Path) -> None:
    """It would be an expression that Prometheus does not read, or another than was meant."""
    script = ROOT / "monitoring" / "prometheus" / "start.sh"
    done = subprocess.run(
        ["sh", str(script)],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "ECHOD_REPLICAS": text},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr == f"start.sh: ECHOD_REPLICAS={text}: must be a whole number\n"


def test_nobody_said_how_many() -> None:
    """Without the number it does not start: an alert that can't fire would look like none."""
    script = ROOT / "monitoring" / "prometheus" / "start.sh"
    done = subprocess.run(
        ["sh", str(script)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False
    )

    assert done.returncode
    assert b"how many daemons are expected" in done.stderr
