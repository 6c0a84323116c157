"""Grafana's dashboards: what the code makes, in one style, asking what Prometheus understands."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from lab.dashboards import __main__ as files
from lab.fleet.grafana import TAG
from tests.config.checks import ROOT, check
from tests.monitored import DASHBOARDS, panels, queries

if TYPE_CHECKING:
    from pathlib import Path

# In the order of their titles, which is that of the list on Grafana's page.
QUESTIONS = {
    "well": "1 · Is the fleet well?",
    "client": "2 · What does a client feel?",
    "bottleneck": "3 · Which part is the bottleneck?",
    "daemon": "4 · What does one daemon do?",
    "rooms": "5 · Rooms: is anything lost?",
}

# What a title may not be made of: words for the panel instead of what it shows.
EMPTY_WORDS = re.compile(
    r"\b(metrics?|stat(s|istics)?|graph|chart|panel|overview|misc)\b", re.IGNORECASE
)


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    """The file of a dashboard."""
    found: Path = request.param
    return found


@pytest.fixture
def page(path: Path) -> dict[str, Any]:
    """A dashboard."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_files_are_what_the_code_makes() -> None:
    """`python -m lab.dashboards` changes nothing: no file was edited by hand, or left over."""
    assert {path.name: path.read_text() for path in DASHBOARDS} == files.texts()


def test_writing_leaves_nothing_else(tmp_path: Path) -> None:
    """A dashboard that no code makes any more goes away."""
    (tmp_path / "old.json").write_text("{}")
    assert {path.name for path in files.write(tmp_path)} == set(files.texts())
    assert {path.name for path in tmp_path.iterdir()} == set(files.texts())


def test_the_questions_in_order() -> None:
    """Five questions, and Grafana opens with the first."""
    pages = {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}
    assert {name: page["title"] for name, page in pages.items()} == QUESTIONS
    assert sorted(QUESTIONS.values()) == list(QUESTIONS.values())
    assert len({page["uid"] for page in pages.values()}) == len(pages)
    home = re.search(r"HOME_DASHBOARD_PATH: (\S+)", (ROOT / "docker-compose.yml").read_text())
    assert home
    assert home[1] == "/etc/grafana/dashboards/well.json"


def test_nothing_to_edit(page: dict[str, Any]) -> None:
    """Not editable, and the one source by its fixed uid, which is provisioned.

    Beside it there are Grafana's own notes, in which drills write what they do.
    """
    assert page["editable"] is False
    assert page["tags"] == ["echofleet"]
    source = ROOT / "monitoring" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    assert "uid: prometheus\n" in source.read_text()
    (notes,) = [note for note in page["annotations"]["list"] if note["name"] == "Drills"]
    assert notes.pop("datasource") == {"type": "grafana", "uid": "-- Grafana --"}
    assert notes["target"]["tags"] == [TAG]
    found = list(sources(page))
    assert found
    assert all(one == {"type": "prometheus", "uid": "prometheus"} for one in found)


def test_panels_explain_themselves(path: Path, page: dict[str, Any]) -> None:
    """A panel has a title, a description in sentences, and a unit; a row asks a question."""
    assert page["title"].endswith("?")
    assert all(panel["title"].endswith("?") for panel in page["panels"] if panel["type"] == "row")
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    titles = [panel["title"] for panel in panels(path)]
    assert len(set(titles)) == len(titles)
    for panel in panels(path):
        title, text = panel["title"], panel["description"]
        assert re.fullmatch(r"[A-Z][^.!?]+", title), title
        assert not EMPTY_WORDS.search(title), title
        assert text.endswith("."), title
        assert len(text) > len(title), title
        assert panel["fieldConfig"]["defaults"]["unit"], title


def test_series_have_names(path: Path) -> None:
    """Every query names its series, and no two of a panel do so alike."""
    for panel in panels(path):
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends), panel["title"]
        assert len(set(legends)) == len(legends), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(legends)


def test_rates_fit_every_zoom(path: Path) -> None:
    """A range is $__rate_interval, which grows with the time that is looked at, never fixed."""
    for panel in panels(path):
        for target in panel["targets"]:
            ranges = set(re.findall(r"\[([^]]+)\]", target["expr"]))
            assert ranges <= {"$__rate_interval"}, panel["title"]


def test_no_panel_covers_another(page: dict[str, Any]) -> None:
    """The panels lie side by side on the 24 columns, without a hole in a line."""
    cells: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        place = panel["gridPos"]
        own = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    lines = {row for _, row in cells}
    assert cells == {(column, row) for column in range(24) for row in lines}


def test_queries_parse(promtool: str, path: Path, tmp_path: Path) -> None:
    """Every query is PromQL: promtool accepts it as a rule."""
    rules = [
        {"record": f"dashboard:query{number}", "expr": expr}
        for number, expr in enumerate(queries(path))
    ]
    assert rules
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    check([promtool, "check", "rules", str(file)])


def test_a_daemon_is_chosen() -> None:
    """Every query of the fourth dashboard is about the daemon of the variable, which exists."""
    path = next(path for path in DASHBOARDS if path.stem == "daemon")
    (variable,) = json.loads(path.read_text())["templating"]["list"]
    assert variable["name"] == "daemon"
    for panel in panels(path):
        for target in panel["targets"]:
            assert 'instance="$daemon"' in target["expr"], panel["title"]


def sources(part: Any) -> list[dict[str, str]]:  # noqa: ANN401 — as json.loads
    """Every data source that is named anywhere in a dashboard."""
    if isinstance(part, list):
        return [one for item in part for one in sources(item)]
    if not isinstance(part, dict):
        return []
    own = [part["datasource"]] if "datasource" in part else []
    return own + [one for item in part.values() for one in sources(item)]
