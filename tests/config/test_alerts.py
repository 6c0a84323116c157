"""The alert rules: each is fired by a test and not fired by another, and says what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.config.checks import ROOT, check
from tests.monitored import RULES, alerts, metrics

TESTS = sorted((ROOT / "monitoring" / "prometheus" / "tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "alerts.md"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_rules(promtool: str, path: Any) -> None:  # noqa: ANN401 — pytest's parameter
    """Promtool plays the series, and sees the alerts that are written down, and no other."""
    check([promtool, "test", "rules", str(path)])


def test_each_is_fired_and_not_fired() -> None:
    """Both, by a test that feeds what the alert looks at."""
    fired, quiet = set(), set()
    for path in TESTS:
        for one in yaml.safe_load(path.read_text())["tests"]:
            fed = set().union(*(metrics(series["series"]) for series in one["input_series"]))
            for expected in one["alert_rule_test"]:
                name = expected["alertname"]
                if expected["exp_alerts"]:
                    fired.add(name)
                elif fed & looked_at(name):
                    quiet.add(name)
    assert fired == set(alerts())
    assert quiet == set(alerts())


@pytest.mark.parametrize("name", sorted(alerts()))
def test_each_says_what_to_do(name: str) -> None:
    """A severity, a summary, a description, and a section of docs/alerts.md."""
    rule = alerts()[name]
    notes = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(notes) == {"summary", "description", "runbook"}
    assert not notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    assert notes["runbook"] == f"docs/alerts.md#{name.lower()}"
    section = sections()[name]
    assert "**Means.**" in section
    assert "**Do.**" in section


def test_no_runbook_is_left_over() -> None:
    """The sections are the alerts, in the order of the files."""
    assert set(sections()) == set(alerts())


def sections() -> dict[str, str]:
    """The runbooks, by their headings."""
    parts = re.split(r"^### (\w+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def looked_at(name: str) -> set[str]:
    """The metrics of an alert, those of the rules that it is made of included."""
    recorded = {
        rule["record"]: metrics(rule["expr"])
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    named = metrics(alerts()[name]["expr"])
    return named.union(*(recorded.get(metric, set()) for metric in named))
