"""The first question: is the fleet well? What fires, who is missing, and how it has been."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from lab.dashboards.parts import Row, graph, number, or_none, page, quantiles, rate, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard


def well() -> Dashboard:
    """The page that Grafana opens with."""
    return page(
        "fleet-well",
        "1 · Is the fleet well?",
        "All green is well. What an alert means and what to do: docs/alerts.md.",
        [_NOW, _alerts(), _SO_FAR],
    )


_NOW = Row(
    "Is anything wrong now?",
    [
        number(
            "Alerts that fire",
            units.Short,
            "Alerts of monitoring/prometheus/rules that fire now. 0 is well; which they are"
            " stands below, and on Alertmanager's page.",
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            bad_from=1,
        ),
        number(
            "Daemons that are missing",
            units.Short,
            "Asked for (ECHOD_REPLICAS) less those that answer Prometheus. Below 0: somebody"
            " scaled up by hand.",
            'fleet:daemons:expected - (count(up{job="echod"} == 1) or vector(0))',
            bad_from=1,
        ),
        number(
            "Daemons that are degraded",
            units.Short,
            "Their store is away or answers too late, or they hear no room. HAProxy sends them"
            " next to nobody new while others are well.",
            "count(echod_degraded == 1 or echod_deaf == 1) or vector(0)",
            bad_from=1,
        ),
        number(
            "Connections",
            units.Short,
            "Clients connected now, over all daemons and ports; health checks are not counted.",
            total("echod_connections"),
        ),
        number(
            "Lines answered",
            units.CountsPerSecond,
            "Replies sent a second, over all daemons. With durability commit each was on disk"
            " before.",
            total(rate("echod_lines_answered_total")),
        ),
        number(
            "Losses of data",
            units.Short,
            "Times that a daemon found the store to have lost what it had acknowledged, since"
            " the daemons started. Anything but 0 is beyond what the fleet promises.",
            total("echod_store_data_losses_total"),
            bad_from=1,
        ),
    ],
)


def _alerts() -> Row:
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return Row(
        "Which alerts fire, and who can serve?",
        [
            graph(
                "Alerts, by name",
                units.Short,
                "Each alert with the number of its instances while it fires. `none` is well.",
                {"{{alertname}}": or_none(firing, "alertname")},
            ),
            graph(
                "Servers in the balance, by backend",
                units.Short,
                "Daemons that pass HAProxy's checks and want clients. At 0 new clients are"
                " refused, or reach a daemon by the fallback without checks.",
                {"{{proxy}}": 'haproxy_backend_active_servers{proxy!~".+_unchecked"}'},
            ),
        ],
    )


_SO_FAR = Row(
    "Is it shared fairly, and answered soon?",
    [
        graph(
            "Connections, by daemon",
            units.Short,
            "HAProxy gives a new client to the daemon with the fewest, so the bands are about"
            " equally high. One that leaves goes down to 0 before it disappears.",
            {"{{instance}}": total("echod_connections", "instance")},
            stacked=True,
        ),
        graph(
            "Lines answered, by daemon",
            units.CountsPerSecond,
            "Replies sent a second by each daemon.",
            {"{{instance}}": total(rate("echod_lines_answered_total"), "instance")},
            stacked=True,
        ),
        graph(
            "Reply time",
            units.Seconds,
            "From a line's arrival at its daemon to its reply's leaving, the wait for the"
            " store included, over all daemons. The way there and back is not in it.",
            quantiles("echod_reply_seconds"),
        ),
        graph(
            "Daemons that are degraded, or leave",
            units.Short,
            "Degraded: the store is away or late. Deaf: what is published in rooms does not"
            " arrive. Draining: told to leave, and letting its clients finish.",
            {
                "degraded": total("echod_degraded"),
                "deaf": total("echod_deaf"),
                "draining": total("echod_draining"),
            },
        ),
    ],
)
