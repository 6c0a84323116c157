"""What the dashboards are made of: numbers and graphs, rows of them, a page.

Every panel has a title, a unit and a description, for one can't be made without. Nothing can be
edited on the page. The format is the classic one, which every Grafana reads from files; the SDK
would rather see the newer one used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard, units

from lab.fleet.grafana import TAG as DRILL

if TYPE_CHECKING:
    from lab.dashboards.promql import Queries

# As the provisioned data source has it.
SOURCE = common.DataSourceRef(type_val="prometheus", uid="prometheus")

TAG = "echofleet"

# Grafana keeps notes itself; `fleet drill --grafana` writes one for each of its steps.
NOTES = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")
NOTES_MAX = 100

# Grafana's grid has 24 columns.
WIDTH = 24
NUMBER_HEIGHT = 4
GRAPH_HEIGHT = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A question, which the panels after it answer, `across` of them in a line."""

    across: int = 2


@dataclass(frozen=True, slots=True)
class Number:
    """The last value of a query; red from `bad_from` on, if that is given."""

    description: str
    expr: str
    bad_from: float = 0
    unit: str = units.Short

    def panel(self, title: str) -> stat.Panel:
        """As the SDK has it."""
        steps = [dashboard.Threshold(color="green")]
        if self.bad_from:
            steps.append(dashboard.Threshold(value=self.bad_from, color="red"))
        return (
            stat.Panel()
            .height(NUMBER_HEIGHT)
            .thresholds(
                builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
            )
            .color_mode(common.BigValueColorMode.VALUE)
            .graph_mode(common.BigValueGraphMode.AREA)
            .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
            .with_target(_target(title, self.expr, "A"))
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """Series over time, from 0; `stacked` when their sum means something, `wide`: a whole line."""

    unit: str
    description: str
    queries: Queries
    stacked: bool = False
    wide: bool = False

    def panel(self, _title: str) -> timeseries.Panel:
        """As the SDK has it."""
        panel = (
            timeseries.Panel()
            .height(GRAPH_HEIGHT)
            .min(0)
            .line_width(1)
            .fill_opacity(30 if self.stacked else 5)
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
        )
        for (legend, expr), name in zip(self.queries.items(), "ABCDEFGH", strict=False):
            panel.with_target(_target(legend, expr, name))
        if self.stacked:
            stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
            panel.stacking(stacking.group("A"))
        return panel


# A number that should be 0, and graphs by what they show.
Alarm = partial(Number, bad_from=1)
amounts = partial(Graph, units.Short)
per_second = partial(Graph, units.CountsPerSecond)
seconds = partial(Graph, units.Seconds)
shares = partial(Graph, units.PercentUnit)
sizes = partial(Graph, units.BytesIEC)
traffic = partial(Graph, units.BytesPerSecondIEC)

Panels = Mapping[str, Row | Number | Graph]
"""Questions and the panels that answer them, from top to bottom, by their titles."""


def page(
    uid: str, title: str, description: str, panels: Panels, *variables: builders.QueryVariable
) -> dashboard.Dashboard:
    """A whole dashboard: alerts and drills are marked in every graph, links lead to the others."""
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
        .annotation(
            # When an alert fired: what else changed then?
            _marks("Alerts", SOURCE, "red")
            .expr('ALERTS{alertstate="firing"}')
            .step("5s")
            .title_format("{{alertname}}")
            .text_format("{{instance}}")
        )
        # What a drill broke and mended, in the graphs that show what it did.
        .annotation(_marks("Drills", NOTES, "blue").target(_NotesBuilder()))
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
        made.with_variable(variable.datasource(SOURCE))
    across = 1
    for number, (heading, what) in enumerate(panels.items(), start=1):
        if isinstance(what, Row):
            made.with_row(builders.Row(heading).id(number))
            across = what.across
        else:
            panel = what.panel(heading).id(number).title(heading).datasource(SOURCE)
            panel.unit(what.unit).description(what.description)
            wide = isinstance(what, Graph) and what.wide
            made.with_panel(panel.span(WIDTH if wide else WIDTH // across))
    return made.build()


def _target(legend: str, expr: str, ref_id: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(SOURCE).expr(expr)
    return query.legend_format(legend).range().ref_id(ref_id)


def _marks(name: str, source: common.DataSourceRef, colour: str) -> builders.AnnotationQuery:
    marks = builders.AnnotationQuery().name(name).datasource(source)
    return marks.enable(enable=True).icon_color(colour).placement("")


class _Notes(dashboard.AnnotationTarget, Dataquery):
    """Grafana's notes by tag: the SDK has the type, and does not know that it is a query."""


class _NotesBuilder(Builder[Dataquery]):
    def build(self) -> Dataquery:
        return _Notes(limit=NOTES_MAX, match_any=True, tags=[DRILL], type_val="tags")
