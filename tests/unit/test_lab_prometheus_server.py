"""`lab.prometheus_server.config`: what the containers' Prometheus has, with named targets."""

from __future__ import annotations

import json
import re

from lab.local import ROOT
from lab.prometheus_server import config


def test_targets_stand_under_their_jobs() -> None:
    """Each job has its addresses, and the rules are those given."""
    made = json.loads(config({"echod": ["127.0.0.1:1", "127.0.0.1:2"]}, ROOT / "rules" / "*.yml"))

    assert made["rule_files"] == [str(ROOT / "rules" / "*.yml")]
    assert made["scrape_configs"] == [
        {
            "job_name": "echod",
            "static_configs": [{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}],
        }
    ]


def test_jobs_and_interval_are_the_containers() -> None:
    """Rules and dashboards name jobs and count on the interval: both must fit both places."""
    made = json.loads(config({"echod": [], "haproxy": []}, ROOT))
    containers = (ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text()

    jobs = re.findall(r"job_name: (\w+)", containers)
    assert {job["job_name"] for job in made["scrape_configs"]} <= set(jobs)
    assert f"scrape_interval: {made['global']['scrape_interval']}" in containers
