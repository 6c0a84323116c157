"""The first question: is the fleet well? What fires, who is missing, and how it has been."""

from __future__ import annotations

from grafana_foundation_sdk.models import units

from lab.dashboards.parts import Alarm, Number, Panels, Row, amounts, per_second, seconds
from lab.dashboards.promql import or_none, quantiles, rate, total

_FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'

# Of a daemon's slots, those whose shard serves it; as the daemon sees it that sees most.
_SERVED = f"max({total('echod_shard_slots * echod_shard_serves', 'job, instance')})"

PANELS: Panels = {
    "Is anything wrong now?": Row(6),
    "Alerts that fire": Alarm(
        "Alerts of monitoring/prometheus/rules that fire now. 0 is well; which they are stands"
        " below, and on Alertmanager's page.",
        'count(ALERTS{alertstate="firing", severity!="info"}) or vector(0)',
    ),
    "Daemons that are missing": Alarm(
        "Asked for (ECHOD_REPLICAS) less those that answer Prometheus. Below 0: somebody scaled"
        " up by hand.",
        'fleet:daemons:expected - (count(up{job="echod"} == 1) or vector(0))',
    ),
    "Daemons that are degraded": Alarm(
        "Their store is away or answers too late, or they hear no room. HAProxy sends them next"
        " to nobody new while others are well.",
        "count(echod_degraded == 1 or echod_deaf == 1) or vector(0)",
    ),
    "Connections": Number(
        "Clients connected now, over all daemons and ports; health checks are not counted.",
        total("echod_connections"),
    ),
    "Lines answered": Number(
        "Replies sent a second, over all daemons. With durability commit each was on disk before.",
        total(rate("echod_lines_answered_total")),
        unit=units.CountsPerSecond,
    ),
    "Losses of data": Alarm(
        "Times that a daemon found the store to have lost what it had acknowledged, since the"
        " daemons started. Anything but 0 is beyond what the fleet promises.",
        total("echod_store_data_losses_total"),
    ),
    "Does every shard of the store serve?": Row(6),
    "Shards": Number(
        "Of which the store is made, as the daemons know. One Redis is one.",
        "max(count by (job, instance) (echod_shard_serves))",
    ),
    "Slots that nobody serves": Alarm(
        "Of the store's 16384, those whose shard serves no daemon.", f"16384 - {_SERVED}"
    ),
    "Daemons that miss a shard": Alarm(
        "They don't reach it, or it answers too late, or they don't hear it.",
        "count(min by (job, instance) (echod_shard_serves) == 0) or vector(0)",
    ),
    "Replicas of the shard with fewest": Number(
        "That live, as the nodes say. An alert fires if one more death would stop the shard.",
        "min(echod_shard_replicas) or vector(0)",
    ),
    "Slots on their way": Number(
        "From one shard to another, now. An alert fires if they do not arrive.",
        "max(echod_slots_moving)",
    ),
    "Clocks apart": Number(
        "From the clock of the Redis node that is behind to that of the one ahead.",
        "max(echod_clocks_apart_seconds)",
        bad_from=1,
        unit=units.Seconds,
    ),
    "Where are daemons at home, and what failed over?": Row(3),
    "Daemons at home, by shard": amounts(
        "New sessions of a daemon are born on one shard, called by its master. The bands are about"
        " equally high.",
        {"{{master}}": "count by (master) (echod_home_info)"},
        stacked=True,
    ),
    "Shards that serve, by daemon": amounts(
        "Each line falls while a shard fails over. One that falls alone: that daemon is cut off.",
        {"{{instance}}": total("echod_shard_serves", "instance")},
    ),
    "Failovers": amounts(
        "Times that another node became a shard's master, since the daemons started.",
        {"failovers": f"max({total('echod_shard_failovers_total', 'job, instance')})"},
    ),
    "Which alerts fire, and who can serve?": Row(),
    "Alerts, by name": amounts(
        "Each alert with the number of its instances while it fires. `none` is well.",
        {"{{alertname}}": or_none(_FIRING, "alertname")},
    ),
    "Servers in the balance, by backend": amounts(
        "Daemons that pass HAProxy's checks and want clients. At 0 new clients are refused, or"
        " reach a daemon by the fallback without checks.",
        {"{{proxy}}": 'haproxy_backend_active_servers{proxy!~".+_unchecked"}'},
    ),
    "Is it shared fairly, and answered soon?": Row(),
    "Connections, by daemon": amounts(
        "HAProxy gives a new client to the daemon with the fewest, so the bands are about equally"
        " high. One that leaves goes down to 0 before it disappears.",
        {"{{instance}}": total("echod_connections", "instance")},
        stacked=True,
    ),
    "Lines answered, by daemon": per_second(
        "Replies sent a second by each daemon.",
        {"{{instance}}": total(rate("echod_lines_answered_total"), "instance")},
        stacked=True,
    ),
    "Reply time": seconds(
        "From a line's arrival at its daemon to its reply's leaving, the wait for the store"
        " included, over all daemons. The way there and back is not in it.",
        quantiles("echod_reply_seconds"),
    ),
    "Daemons that are degraded, or leave": amounts(
        "Degraded: the store is away or late. Deaf: what is published in rooms does not arrive."
        " Draining: told to leave, and letting its clients finish.",
        {
            "degraded": total("echod_degraded"),
            "deaf": total("echod_deaf"),
            "draining": total("echod_draining"),
        },
    ),
}
