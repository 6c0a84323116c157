"""The fifth question: is anything lost in rooms? The ledgers of the daemons, and of the load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from lab.dashboards.parts import Row, graph, number, page, rate, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

# What may not be, as Locust's members see it (loadtest/room_ledger.py).
_BROKEN = 'fate=~"lost|duplicated|reordered|altered"'


def rooms() -> Dashboard:
    """Every message of every room, by what became of it."""
    return page(
        "fleet-rooms",
        "5 · Rooms: is anything lost?",
        "Each message has its fate on the way to each daemon, and on to each member"
        " (docs/metrics.md, loadtest/README.md). The upper row must stay 0.",
        [_NEVER, _FATES, _WAYS, _WORK],
    )


_NEVER = Row(
    "Is there what may not be?",
    [
        number(
            "Messages lost silently, as daemons audit",
            units.Short,
            "Found in the store by a daemon's audit, and no trace of them had come. Members"
            " were told nothing. Must stay 0.",
            'sum(echod_room_messages_total{fate="lost"}) or vector(0)',
            width=6,
            bad_from=1,
        ),
        number(
            "Messages lost, twice, late or wrong, as members see",
            units.Short,
            "What Locust's RoomUsers found in what they were sent. Must stay 0.",
            f"sum(locust_room_messages_total{{{_BROKEN}}}) or vector(0)",
            width=6,
            bad_from=1,
        ),
        number(
            "Daemons that are deaf",
            units.Short,
            "What is published does not reach them now. They say so to HAProxy, make another"
            " subscription, and read what they missed.",
            total("echod_deaf"),
            width=6,
            bad_from=1,
        ),
        number(
            "Messages declared missing",
            units.Short,
            "Told to members as GAP: trimmed before they came back. Not a silent loss; more"
            " than a few says that streams are kept too short.",
            'sum(echod_room_messages_total{fate="missing"}) or vector(0)',
            width=6,
        ),
    ],
)


_FATES = Row(
    "What becomes of a message?",
    [
        graph(
            "Messages at daemons, by fate",
            units.CountsPerSecond,
            "The daemons' ledger, one for each message, room and daemon: published came in"
            " order, recovered was read from the stream, duplicate came again and was not sent.",
            {"{{fate}}": total(rate("echod_room_messages_total"), "fate")},
        ),
        graph(
            "Messages at members, by fate",
            units.CountsPerSecond,
            "The same as Locust's RoomUsers see it, one for each message and member.",
            {"{{fate}}": total(rate("locust_room_messages_total"), "fate")},
        ),
        graph(
            "Messages read from the stream, by daemon",
            units.CountsPerSecond,
            "Members that came back, and daemons that missed publications. High on one daemon"
            " alone: its subscription loses some.",
            {
                "{{instance}}": total(
                    rate('echod_room_messages_total{fate="recovered"}'), "instance"
                )
            },
        ),
        graph(
            "Messages lost silently, by daemon",
            units.CountsPerSecond,
            "The daemons' audit, by who should have sent them on. Must stay 0.",
            {"{{instance}}": total(rate('echod_room_messages_total{fate="lost"}'), "instance")},
        ),
    ],
)


_WAYS = Row(
    "Does what is published arrive?",
    [
        graph(
            "Deaf daemons",
            units.Short,
            "1 while publications don't arrive at a daemon, its own heartbeat among them.",
            {"{{instance}}": "max by (instance) (echod_deaf)"},
            width=8,
        ),
        graph(
            "Subscriptions made, and those found deaf",
            units.CountsPerSecond,
            "One at a daemon's start; more says that its connection to Redis broke, or was deaf.",
            {
                "made": total(rate("echod_subscriptions_total")),
                "deaf": total(rate("echod_subscriptions_deaf_total")),
            },
            width=8,
        ),
        graph(
            "Holes, lapsed leases, and histories that began anew",
            units.CountsPerSecond,
            "A hole is a publication that came too early; the stream was read. A lapsed lease"
            " may have cost posts that look for daemons. A new history: members heard `lost`.",
            {
                "holes": total(rate("echod_room_holes_total")),
                "leases": total(rate("echod_leases_lapsed_total")),
                "anew": total(rate("echod_room_histories_lost_total")),
            },
            width=8,
        ),
    ],
)


_WORK = Row(
    "How much is said, and to whom?",
    [
        graph(
            "Posts and deliveries",
            units.CountsPerSecond,
            "A post is one write; it is delivered to every member of its room.",
            {
                "posts": total(rate("echod_room_posts_total")),
                "deliveries": total(rate("echod_room_deliveries_total")),
            },
            width=8,
        ),
        graph(
            "Memberships, by daemon",
            units.Short,
            "One for each connection and room.",
            {"{{instance}}": total("echod_room_members", "instance")},
            width=8,
            stacked=True,
        ),
        graph(
            "Publications that came in vain",
            units.PercentUnit,
            "Of all that reached a daemon, those for rooms without a member there: none by the"
            " route `room`, but for the seconds in which a room is let go. Without any, 0.",
            {
                "in vain": (
                    "sum(rate(echod_room_publications_vain_total[$__rate_interval]))"
                    " / (sum(rate(echod_room_publications_total[$__rate_interval])) > 0)"
                    " or sum(rate(echod_room_publications_total[$__rate_interval]))"
                )
            },
            width=8,
        ),
    ],
)
