"""A report as one HTML file that needs no other: styles and plots are in it. Pure.

It follows the reader's light or dark scheme; plots draw in `currentColor` (plots.py). The words
stand here, the elements in `*.html`, the looks in `style.css`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from lab.report.answers import SAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lab.report.answers import Answer

Shown = TypeVar("Shown")


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing and the sentence that says what to see in it."""

    name: str
    """Of its files, without the suffix."""
    title: str
    caption: str
    svg: str
    """Inline: an <svg> element."""


@dataclass(frozen=True, slots=True)
class Table:
    """The first column names the row, the others are figures."""

    title: str
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(
        cls,
        title: str,
        caption: str,
        shown: Iterable[Shown],
        columns: Mapping[str, Callable[[Shown], str]],
    ) -> Table:
        """A row for each of `shown`; each column is its header and the cell under it."""
        rows = [[cell(one) for cell in columns.values()] for one in shown]
        return cls(title, caption, list(columns), rows)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a reader gets.

    What follows `files` is of the run, and can be filled in when it is over.
    """

    title: str
    question: str
    lead: str
    """The answer in one paragraph."""
    answers: Sequence[Answer]
    plots: Sequence[Plot]
    tables: Sequence[Table]
    method: Sequence[str]
    """Paragraphs."""
    files: Sequence[tuple[str, str]]
    """What lies beside the report, and what is in it."""
    machine: Sequence[tuple[str, str]] = ()
    commands: Sequence[str] = ()
    date: str = ""
    reading: str = ""
    """How to read the answers."""
    warnings: Sequence[str] = ()
    """Why the figures must not be trusted; shown first."""
    agreement: str = ""
    """How the answers agree with those of the run before."""


APOSTROPHE, EN_DASH = "\N{RIGHT SINGLE QUOTATION MARK}", "\N{EN DASH}"


def prose(text: str) -> Markup:
    """Text as HTML: a typographer's apostrophes and dashes; between backticks it is code."""
    text = re.sub(r"(?<=[\d%])-(?=\d)", EN_DASH, text.replace("'", APOSTROPHE))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 — escaped


def figure(text: str) -> Markup:
    """A cell: a figure, its range in small print under it."""
    shown, bracket, rest = text.partition(" (")
    small = Markup("<small>({}</small>").format(prose(rest)) if bracket else ""
    return prose(shown) + small


# A name that a template does not know is an error, not an empty place.
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
_WORDS = Environment(undefined=StrictUndefined)  # noqa: S701 — no HTML; `prose` escapes them
_PAGES.filters.update(prose=prose, figure=figure)


def paragraphs(template: Path, **known: object) -> list[str]:
    """A report's paragraphs, which stand in a template with a blank line between them."""
    text = _WORDS.from_string(template.read_text()).render(known)
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def render(report: Report) -> str:
    """The whole file."""
    return _PAGES.get_template("report.html").render(report=report, unsure=SAME)


def render_index(runs: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The list of all runs: (directory's name, run.json)."""
    return _PAGES.get_template("index.html").render(runs=runs)
