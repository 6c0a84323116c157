"""The fifth question: is anything lost in rooms? The ledgers of the daemons, and of the load."""

from __future__ import annotations

from lab.dashboards.parts import Alarm, Number, Panels, Row, amounts, per_second, shares
from lab.dashboards.promql import rate, total

# What may not be, as Locust's members see it (loadtest/room_ledger.py).
_BROKEN = 'fate=~"lost|duplicated|reordered|altered"'

_PUBLISHED = total(rate("echod_room_publications_total"))
_VAIN = total(rate("echod_room_publications_vain_total"))

PANELS: Panels = {
    "Is there what may not be?": Row(4),
    "Messages lost silently, as daemons audit": Alarm(
        "Found in the store by a daemon's audit, and no trace of them had come. Members were told"
        " nothing. Must stay 0.",
        'sum(echod_room_messages_total{fate="lost"}) or vector(0)',
    ),
    "Messages lost, twice, late or wrong, as members see": Alarm(
        "What Locust's RoomUsers found in what they were sent. Must stay 0.",
        f"sum(locust_room_messages_total{{{_BROKEN}}}) or vector(0)",
    ),
    "Daemons that are deaf": Alarm(
        "What is published does not reach them now. They say so to HAProxy, make another"
        " subscription, and read what they missed.",
        total("echod_deaf"),
    ),
    "Messages declared missing": Number(
        "Told to members as GAP: trimmed before they came back. Not a silent loss; more than a"
        " few says that streams are kept too short.",
        'sum(echod_room_messages_total{fate="missing"}) or vector(0)',
    ),
    "What becomes of a message?": Row(),
    "Messages at daemons, by fate": per_second(
        "The daemons' ledger, one for each message, room and daemon: published came in order,"
        " recovered was read from the stream, duplicate came again and was not sent.",
        {"{{fate}}": total(rate("echod_room_messages_total"), "fate")},
    ),
    "Messages at members, by fate": per_second(
        "The same as Locust's RoomUsers see it, one for each message and member.",
        {"{{fate}}": total(rate("locust_room_messages_total"), "fate")},
    ),
    "Messages read from the stream, by daemon": per_second(
        "Members that came back, and daemons that missed publications. High on one daemon alone:"
        " its subscription loses some.",
        {"{{instance}}": total(rate('echod_room_messages_total{fate="recovered"}'), "instance")},
    ),
    "Messages lost silently, by daemon": per_second(
        "The daemons' audit, by who should have sent them on. Must stay 0.",
        {"{{instance}}": total(rate('echod_room_messages_total{fate="lost"}'), "instance")},
    ),
    "Does what is published arrive?": Row(3),
    "Deaf daemons": amounts(
        "1 while publications don't arrive at a daemon, its own heartbeat among them.",
        {"{{instance}}": "max by (instance) (echod_deaf)"},
    ),
    "Subscriptions made, and those found deaf": per_second(
        "One at a daemon's start; more says that its connection to Redis broke, or was deaf.",
        {
            "made": total(rate("echod_subscriptions_total")),
            "deaf": total(rate("echod_subscriptions_deaf_total")),
        },
    ),
    "Holes, lapsed leases, and histories that began anew": per_second(
        "A hole is a publication that came too early; the stream was read. A lapsed lease may"
        " have cost posts that look for daemons. A new history: members heard `lost`.",
        {
            "holes": total(rate("echod_room_holes_total")),
            "leases": total(rate("echod_leases_lapsed_total")),
            "anew": total(rate("echod_room_histories_lost_total")),
        },
    ),
    "How much is said, and to whom?": Row(3),
    "Posts and deliveries": per_second(
        "A post is one write; it is delivered to every member of its room.",
        {
            "posts": total(rate("echod_room_posts_total")),
            "deliveries": total(rate("echod_room_deliveries_total")),
        },
    ),
    "Memberships, by daemon": amounts(
        "One for each connection and room.",
        {"{{instance}}": total("echod_room_members", "instance")},
        stacked=True,
    ),
    "Publications that came in vain": shares(
        "Of all that reached a daemon, those for rooms without a member there: none by the route"
        " `room`, but for the seconds in which a room is let go. Without any, 0.",
        {"in vain": f"{_VAIN} / ({_PUBLISHED} > 0) or {_PUBLISHED}"},
    ),
}
