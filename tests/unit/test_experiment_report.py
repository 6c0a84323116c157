"""Reports: one file that needs no other, its index, and the raw data beside it."""

from __future__ import annotations

import csv
import json
import os
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from lab.errors import LabError
from lab.measure import clocks
from lab.measure.errors import MeasureError
from lab.measure.models import systems
from lab.report import page, plots, results
from lab.report.answers import SAME, Answer
from lab.report.page import Plot, Report, Table

if TYPE_CHECKING:
    from pathlib import Path

REPORT = Report(
    title="It's <a> test & more",
    question="What is `x < y`?",
    lead="Between 1.0-2.0 s.",
    answers=[Answer("Is it?", SAME, "Who knows."), Answer("And?", "yes", "It is.")],
    plots=[Plot("one", "A plot", "See it.", '<svg role="img" aria-label="A plot"></svg>')],
    tables=[Table("A table", "Of figures.", ("name", "µs"), [("<b>", "1.0 (0.9-1.1)")])],
    method=["Like this."],
    machine=[("CPU", "one-two 1-2")],
    commands=["fleet experiment x --a '1-2'"],
    files=[("a.csv", "figures")],
    date="2030-01-02 03:04:05 +0000",
    reading="As they are.",
    warnings=["Careful."],
)
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Every tag must be closed; collects what a page would load, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As the base class."""
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "data"}
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As the base class."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """As the base class."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """As the base class."""
        self.text += data


def drawn(directory: Path) -> str:
    """A real plot as a part of a page."""
    with plots.look():
        figure, (axes,) = plots.canvas(2.0)
        axes.plot([1, 2], [3, 4], color=plots.BLUE)
        axes.set_xlabel("seconds")
    return plots.save(figure, directory, "plot", 'A "label" & <more>')


def test_a_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    """Tags are balanced, everything is escaped, links go within the page."""
    svg = drawn(tmp_path)
    plot = Plot("one", "A plot", "See it.", svg)
    text = page.render(replace(REPORT, plots=[plot], agreement="This run agrees."))
    read = Page(text)
    assert not read.open
    assert all(link.startswith("#") for link in read.loads)
    assert not re.findall(r"url\((?!#)", text)
    assert "@import" not in text
    assert "It\N{RIGHT SINGLE QUOTATION MARK}s <a> test & more" in read.text
    assert "<code>x &lt; y</code>" in text
    assert "1.0\N{EN DASH}2.0 s" in read.text
    for said in (
        "Careful.",
        "Who knows.",
        "See it.",
        "Like this.",
        "a.csv",
        "1.0",
        "This run agrees.",
    ):
        assert said in read.text
    assert "--a '1-2'" in read.text, "a command stays as it must be typed"
    assert "one-two 1-2" in read.text


def test_a_plot_follows_the_readers_scheme(tmp_path: Path) -> None:
    """Inline its ink is the page's colour; the files have their own; the label is heard."""
    svg = drawn(tmp_path)
    assert svg.startswith("<svg")
    assert plots.INK not in svg
    assert "currentColor" in svg
    assert plots.BLUE in svg
    assert 'aria-label="A &quot;label&quot; &amp; &lt;more>"' in svg
    assert plots.INK in (tmp_path / "plot.svg").read_text()
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_is_the_same_file_for_the_same_figures(tmp_path: Path) -> None:
    """No date and no random name in it."""
    assert drawn(tmp_path) == drawn(tmp_path)


def test_runs_are_listed_and_held_against_each_other(tmp_path: Path) -> None:
    """The newest first; a changed verdict is named, changed figures are not."""

    def write(date: str, verdict: str, command: str = "fleet experiment x") -> tuple[Path, str]:
        answers = [Answer("Is it?", verdict, f"figures of {date}")]
        said = results.against_the_last(tmp_path, command, answers)
        directory = results.new_directory(tmp_path, "x", datetime(2030, 1, 2, tzinfo=UTC))
        report = replace(REPORT, date=date, answers=answers)
        results.write_run(directory, report, "x", command, failed=False)
        return directory, said or ""

    first, said = write("2030-01-01", "yes")
    assert not said
    second, said = write("2030-01-02", "yes")
    assert second != first
    assert said == f"agrees with {first.name} in every answer"
    write("2030-01-03", "no", "fleet experiment x --other")
    third, said = write("2030-01-04", SAME)
    assert said == f"leaves open what was decided, or the reverse, in {second.name}: Is it?"
    fourth, said = write("2030-01-05", "no")
    assert said == f"leaves open what was decided, or the reverse, in {third.name}: Is it?"
    _, said = write("2030-01-06", "yes")
    assert said == f"answers otherwise than {fourth.name}: Is it?"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    index = results.write_index(tmp_path).read_text()
    read = Page(index)
    assert not read.open
    assert len(read.loads) == 6
    assert all((tmp_path / link).is_file() for link in read.loads)
    assert index.index("2030-01-06") < index.index("2030-01-01")
    assert json.loads((third / "run.json").read_text())["failed"] is False


def test_csv_has_every_column_of_every_row(tmp_path: Path) -> None:
    """What a row lacks is empty."""
    results.write_csv(tmp_path / "a.csv", [{"a": 1}, {"a": 2, "b": "x,y"}])
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"a": "1", "b": ""}, {"a": "2", "b": "x,y"}]


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the way is an error for the person, before anything is measured."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="file"):
        results.new_directory(tmp_path / "file", "x", datetime(2030, 1, 2, tzinfo=UTC))


def test_the_cpu_clock_counts_ended_threads() -> None:
    """What a thread used that is no more is still in it; a missing process is an error."""
    used_s = 0.0

    def burn() -> None:
        nonlocal used_s
        while used_s < 0.02:
            used_s = time.thread_time()

    before = clocks.cpu_time(os.getpid())
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    assert clocks.cpu_time(os.getpid()).total - before.total >= used_s
    with pytest.raises(MeasureError, match="No such process"):
        clocks.cpu_time(2**22)


def test_systems_are_selected_by_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the story's order; without Node.js its servers are left out, with the reason."""
    chosen, left_out = systems.select(["fleet_*", "serial"])
    assert [system.name for system in chosen] == ["serial", "fleet_1", "fleet_2", "fleet_4"]
    assert not left_out
    with pytest.raises(MeasureError, match="gevent_streamserver"):
        systems.select(["nothing"])
    monkeypatch.setenv("PATH", "")
    chosen, left_out = systems.select(["node_*", "serial"])
    assert [system.name for system in chosen] == ["serial"]
    assert set(left_out) == {"node_callbacks", "node_async"}
    with pytest.raises(MeasureError, match="nothing is left"):
        systems.select(["node_*"])


def test_every_variant_has_its_file() -> None:
    """What the table names is there."""
    for system in systems.SYSTEMS:
        assert system.daemons or (systems.VARIANTS / system.file).is_file()
