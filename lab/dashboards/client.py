"""The second question: what does a client feel? Waiting, being cut off, being refused."""

from __future__ import annotations

from lab.dashboards.parts import Panels, Row, amounts, per_second, seconds, sizes
from lab.dashboards.promql import or_none, quantile, quantiles, rate, total

_FAILURES = total(rate("locust_failures_total"), "name, error")

_CLOSED = total(rate("echod_connections_closed_total"), "port, reason")
_ERRORS = total(rate('echod_connections_closed_total{reason!~"client|reset"}'), "reason")

PANELS: Panels = {
    "What does the load see?": Row(),
    # Without the loop of the article's client, which is ten seconds of its own pauses.
    "Time of a request, by its name": seconds(
        "p99 as Locust's clients measure it, HAProxy and the network included. `since due` counts"
        " from when the request was to be sent: what a client in a closed loop does not feel while"
        " it waits.",
        {"{{name}}": quantile(0.99, 'locust_request_seconds_bucket{name!="loop"}', by="name")},
    ),
    "Failures that the load counts, by error": per_second(
        "Requests that failed. `WrongReply` must never be; every other is a client that was"
        " refused, cut or kept waiting. `none` is well.",
        {"{{name}} {{error}}": or_none(_FAILURES, "error")},
    ),
    "How long do the parts let it wait?": Row(),
    "Reply time": seconds(
        "From a line's arrival at its daemon to its reply's leaving, over all daemons. What"
        " HAProxy and the network add is in the load's own figures.",
        quantiles("echod_reply_seconds"),
    ),
    "Connect time, by backend": seconds(
        "What a new client waits for HAProxy to find it a daemon: the mean of the last 1,024"
        " connections. A refused or silent daemon costs a retry.",
        {"{{proxy}}": 'haproxy_backend_connect_time_average_seconds{proxy!~".+_unchecked"}'},
    ),
    "Lines that wait for the store": amounts(
        "Read, and not yet answered. Grows when commits are slow.",
        {"lines": total("echod_lines_waiting")},
    ),
    "What waits for clients to take it": sizes(
        "In the daemons' outboxes and the kernel's behind them. Clients that read slowly fill"
        " them; one over its limit, or too many together, end with `slow-consumer`.",
        {"unsent": total("echod_unsent_bytes")},
    ),
    "How does its connection end?": Row(),
    "Connections that come and go": per_second(
        "Clients accepted and gone, a second. The article's stay ten seconds.",
        {
            "{{port}} came": total(rate("echod_connections_accepted_total"), "port"),
            "{{port}} went": total(rate("echod_connections_closed_total"), "port"),
        },
    ),
    "Connections that end, by reason": per_second(
        "`client` is the usual end: the client left. `reset`: it broke off. Every other reason is"
        " the error code that the daemon closed with.",
        {"{{port}} {{reason}}": or_none(_CLOSED, "reason")},
    ),
    "Errors that clients hear, by code": per_second(
        "Connections that the daemon closed with an error (docs/protocol.md §4 says what a client"
        " should do). `none` is well; `draining` is a daemon that left.",
        {"{{reason}}": or_none(_ERRORS, "reason")},
        wide=True,
    ),
    "Does its session go on?": Row(1),
    "Sessions that begin, go on, and end": per_second(
        "The session port (docs/protocol.md §2). Resumed: a client came back, to this daemon or"
        " another, and went on where it was. Ended: by `QUIT`.",
        {
            what: total(rate(f"echod_sessions_{what}_total"))
            for what in ("opened", "resumed", "ended")
        },
    ),
    "What does it hear of its rooms?": Row(),
    "Messages posted and delivered": per_second(
        "Posted: `SAY`s sent to the store. Arrived: publications that came to a daemon, one for"
        " each that has members. Delivered: to a member, one for each.",
        {
            "posted": total(rate("echod_room_posts_total")),
            "arrived": total(rate("echod_room_publications_total")),
            "delivered": total(rate("echod_room_deliveries_total")),
        },
    ),
    "Messages, by what became of them": per_second(
        "The ledger (docs/metrics.md). `published` came in order, `recovered` was read later,"
        " `missing` was told as `GAP`; `lost` nobody was told of, and must be 0.",
        {"{{fate}}": total(rate("echod_room_messages_total"), "fate")},
    ),
    "Is it let in at all?": Row(),
    "Clients refused for their source's limit": per_second(
        "Closed by HAProxy before they cost a daemon anything: one address had too many"
        " connections, or too many new ones a second (haproxy.cfg).",
        {"{{proxy}}": total(rate("haproxy_frontend_denied_connections_total"), "proxy")},
    ),
    "Connections that wait for their address's turn": amounts(
        "Left unread, on average, because their address has sent more bytes than it may a second"
        " (source_bytes_max). It is slowed down, nobody else is.",
        {"connections": total(rate("echod_source_paused_seconds_total"))},
    ),
    "Daemons that HAProxy could not reach": per_second(
        "Failed connects to a daemon. A retry goes to another one, and the client feels a"
        " moment's wait; an error is what is left after the last retry.",
        {
            "retries": total(rate("haproxy_backend_retry_warnings_total")),
            "sent to another daemon": total(rate("haproxy_backend_redispatch_warnings_total")),
            "errors": total(rate("haproxy_backend_connection_errors_total")),
        },
        wide=True,
    ),
}
