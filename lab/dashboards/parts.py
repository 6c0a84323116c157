"""What the dashboards are made of: a query, a number, a graph, and rows of them.

Every panel has a title, a unit and a description, for one can't be made without. Nothing
can be edited on the page: what is worth a change is worth one here.

The format is the classic one, which every Grafana reads from files; the SDK would rather see
the newer one used.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard

from lab.fleet.grafana import TAG as DRILL

if TYPE_CHECKING:
    from collections.abc import Sequence

    Panel = stat.Panel | timeseries.Panel

AnyPanel = TypeVar("AnyPanel", stat.Panel, timeseries.Panel)

# As the provisioned data source has it.
SOURCE = common.DataSourceRef(type_val="prometheus", uid="prometheus")

TAG = "echofleet"

# Grafana keeps notes itself; `fleet drill --grafana` writes one for each of its steps.
NOTES = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")
NOTES_MAX = 100

Queries = Mapping[str, str]
"""PromQL, by the name of each series that it gives."""

# Grafana's grid has 24 columns.
WIDTH = 24
NUMBER_HEIGHT = 4
GRAPH_HEIGHT = 8

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a question; their widths fill lines of 24."""

    question: str
    panels: Sequence[Panel]


def rate(counter: str) -> str:
    """A counter's growth a second."""
    return f"rate({counter}[$__rate_interval])"


def total(expr: str, by: str = "") -> str:
    """The sum over all series, or over those that have the same labels `by`."""
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"


def quantiles(histogram: str, selector: str = "") -> Queries:
    """The usual ones of a histogram, over all that match."""
    buckets = total(rate(f"{histogram}_bucket{selector}"), "le")
    return {name: f"histogram_quantile({share}, {buckets})" for name, share in QUANTILES.items()}


def or_none(expr: str, label: str) -> str:
    """`expr`, or a 0 called `none`: a series that is born with its first event has no data yet."""
    return f'{expr} or on() label_replace(vector(0), "{label}", "none", "", "")'


def number(  # noqa: PLR0913 — what each number must have
    title: str, unit: str, description: str, expr: str, *, width: int = 4, bad_from: float = 0
) -> stat.Panel:
    """The last value of a query; red from `bad_from` on, if that is given."""
    steps = [dashboard.Threshold(color="green")]
    if bad_from:
        steps.append(dashboard.Threshold(value=bad_from, color="red"))
    return (
        _panel(stat.Panel(), title, unit, description)
        .height(NUMBER_HEIGHT)
        .span(width)
        .thresholds(
            builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
        )
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(title, expr, "A"))
    )


def graph(  # noqa: PLR0913 — what each graph must have
    title: str,
    unit: str,
    description: str,
    queries: Queries,
    *,
    width: int = 12,
    stacked: bool = False,
) -> timeseries.Panel:
    """Series over time, from 0; `stacked` when their sum means something."""
    panel = (
        _panel(timeseries.Panel(), title, unit, description)
        .height(GRAPH_HEIGHT)
        .span(width)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .targets(
            [
                _target(legend, expr, name)
                for (legend, expr), name in zip(queries.items(), "ABCDEFGH", strict=False)
            ]
        )
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    return panel


def page(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    variables: Sequence[builders.QueryVariable] = (),
) -> dashboard.Dashboard:
    """A whole dashboard: rows of panels, alerts and drills marked in every graph, links to the others."""
    made = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .annotation(_alerts())
        .annotation(_drills())
        .link(
            builders.DashboardLink("The other questions")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(as_dropdown=False)
            # In sight, not in a menu.
            .placement("")
            .keep_time(keep_time=True)
        )
    )
    for variable in variables:
        made.with_variable(variable)
    numbers = itertools.count(1)
    for row in rows:
        made.with_row(builders.Row(row.question).id(next(numbers)))
        for panel in row.panels:
            made.with_panel(panel.id(next(numbers)))
    return made.build()


def _panel(panel: AnyPanel, title: str, unit: str, description: str) -> AnyPanel:
    return panel.title(title).unit(unit).description(description).datasource(SOURCE)


def _target(legend: str, expr: str, ref_id: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .datasource(SOURCE)
        .expr(expr)
        .legend_format(legend)
        .range()
        .ref_id(ref_id)
    )


def _alerts() -> builders.AnnotationQuery:
    """When an alert fired, a mark in every graph: what else changed then?"""
    return (
        builders.AnnotationQuery()
        .name("Alerts")
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color("red")
        .placement("")
        .expr('ALERTS{alertstate="firing"}')
        .step("5s")
        .title_format("{{alertname}}")
        .text_format("{{instance}}")
    )


class _Notes(dashboard.AnnotationTarget, Dataquery):
    """Grafana's notes by tag: the SDK has the type, and does not know that it is a query."""


class _NotesBuilder(Builder[Dataquery]):
    def build(self) -> Dataquery:
        return _Notes(limit=NOTES_MAX, match_any=True, tags=[DRILL], type_val="tags")


def _drills() -> builders.AnnotationQuery:
    """What a drill broke and mended, in the graphs that show what it did."""
    return (
        builders.AnnotationQuery()
        .name("Drills")
        .datasource(NOTES)
        .enable(enable=True)
        .icon_color("blue")
        .placement("")
        .target(_NotesBuilder())
    )
