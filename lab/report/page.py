"""A report as one HTML file that needs no other: styles and plots are in it. Pure.

Question and answer come first, then what there is to see, then the figures, then how it was
made. It follows the reader's light or dark scheme; plots draw in `currentColor` (plots.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from lab.report.answers import SAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.report.answers import Answer


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


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a reader gets."""

    title: str
    question: str
    lead: str
    """The answer in one paragraph."""
    answers: Sequence[Answer]
    plots: Sequence[Plot]
    tables: Sequence[Table]
    method: Sequence[str]
    """Paragraphs."""
    machine: Sequence[tuple[str, str]]
    commands: Sequence[str]
    files: Sequence[tuple[str, str]]
    """What lies beside the report, and what is in it."""
    date: str
    reading: str
    """How to read the answers."""
    warnings: Sequence[str] = field(default=())
    """Why the figures must not be trusted; shown first."""
    agreement: str = ""
    """How the answers agree with those of the run before."""


APOSTROPHE, EN_DASH = "\N{RIGHT SINGLE QUOTATION MARK}", "\N{EN DASH}"

STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --soft: #5a626c; --line: #d9dde2;
  --paper: #fdfdfc; --card: #f4f5f6; --accent: #0b63a5; --warn: #a33a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a3abb5; --line: #363c44;
  --paper: #14171a; --card: #1d2126; --accent: #7cc0f5; --warn: #ffab7a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 3rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .8rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 0 0 .25rem; }
p { margin: 0 0 .9rem; }
.date, figcaption, caption, .soft { color: var(--soft); font-size: .9rem; }
.question { font-size: 1.1rem; color: var(--soft); margin-bottom: 1.6rem; }
.lead { font-size: 1.15rem; padding: 1.1rem 1.3rem; background: var(--card);
  border-left: 4px solid var(--accent); border-radius: 0 6px 6px 0; }
.warning { padding: .8rem 1.1rem; border: 1px solid var(--warn); border-radius: 6px;
  color: var(--warn); overflow-wrap: anywhere; }
.answer { margin: 0 0 1.5rem; }
.verdict { display: inline-block; font-size: .85rem; font-weight: 600; color: var(--accent);
  margin-bottom: .2rem; }
.unsure { color: var(--soft); }
figure { margin: 0 0 2.6rem; }
figure svg { width: 100%; height: auto; display: block; color: var(--ink); }
figcaption { margin-top: .5rem; max-width: 44rem; }
.scroll { overflow-x: auto; margin-bottom: 2rem; }
.wide { width: min(74rem, 100vw - 2.5rem); margin-left: calc(50% - min(37rem, 50vw - 1.25rem)); }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums;
  width: 100%; }
caption { text-align: left; caption-side: bottom; padding-top: .5rem; }
th, td { padding: .38rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; white-space: nowrap; }
td small { display: block; color: var(--soft); white-space: nowrap; }
.facts th { width: 12rem; white-space: nowrap; color: var(--soft); }
.facts td { text-align: left; overflow-wrap: anywhere; }
code, pre { font: .88em/1.5 ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", monospace; }
pre { background: var(--card); padding: .9rem 1.1rem; border-radius: 6px; overflow-x: auto; }
a { color: var(--accent); }
@media print { body { font-size: 11pt; } figure, tr { break-inside: avoid; } }
"""


def prose(text: str) -> str:
    """Text as HTML: a typographer's apostrophes and dashes; between backticks it is code."""
    text = re.sub(r"(?<=[\d%])-(?=\d)", EN_DASH, text.replace("'", APOSTROPHE))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def render(report: Report) -> str:
    """The whole file."""
    parts = [
        f'<p class="date">{escape(report.date)}</p>',
        f"<h1>{prose(report.title)}</h1>",
        f'<p class="question">{prose(report.question)}</p>',
        *(f'<p class="warning">{prose(text)}</p>' for text in report.warnings),
        f'<p class="lead">{prose(report.lead)}</p>',
        "<h2>What to see</h2>",
        *map(_plot, report.plots),
        "<h2>Answers</h2>",
        f'<p class="soft">{prose(report.reading)}</p>',
        *([f'<p class="soft">{escape(report.agreement)}</p>'] if report.agreement else []),
        *map(_answer, report.answers),
        "<h2>Figures</h2>",
        *map(_table, report.tables),
        "<h2>How it was measured</h2>",
        *(f"<p>{prose(text)}</p>" for text in report.method),
        _facts(report.machine),
        "<h2>How to repeat it</h2>",
        f"<pre>{escape(chr(10).join(report.commands))}</pre>",
        "<p>Beside this file lie the raw figures and the plots:</p>",
        _facts(report.files),
    ]
    return document(report.title, "\n".join(parts))


def document(title: str, body: str) -> str:
    """A page in the reports' style."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _answer(answer: Answer) -> str:
    unsure = " unsure" if SAME in answer.verdict else ""
    return (
        f'<section class="answer"><h3>{prose(answer.question)}</h3>'
        f'<span class="verdict{unsure}">{prose(answer.verdict)}</span>'
        f"<p>{prose(answer.text)}</p></section>"
    )


def _plot(plot: Plot) -> str:
    return (
        f'<figure id="{escape(plot.name)}"><h3>{prose(plot.title)}</h3>\n{plot.svg}\n'
        f"<figcaption>{prose(plot.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{prose(header)}</th>' for header in table.headers)
    rows = "\n".join(_row(row) for row in table.rows)
    return (
        f'<h3>{prose(table.title)}</h3><div class="scroll wide"><table>'
        f"<caption>{prose(table.caption)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    name, *figures = cells
    return (
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_cell(cell)}</td>" for cell in figures)
        + "</tr>"
    )


def _cell(text: str) -> str:
    """A figure, its range in small print under it."""
    figure, bracket, rest = text.partition(" (")
    return prose(figure) + (f"<small>({prose(rest)}</small>" if bracket else "")


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in facts
    )
    return f'<div class="scroll"><table class="facts"><tbody>{rows}</tbody></table></div>'
