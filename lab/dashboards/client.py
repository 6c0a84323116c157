"""The second question: what does a client feel? Waiting, being cut off, being refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from lab.dashboards.parts import Row, graph, or_none, page, quantiles, rate, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard


def client() -> Dashboard:
    """From the client's side: what the load measures, and what the fleet counts."""
    return page(
        "fleet-client",
        "2 · What does a client feel?",
        "How long it waits, and what it hears when it gets no reply (docs/protocol.md §4).",
        [_seen(), _WAITS, _ends(), _SESSIONS, _ROOMS, _REFUSED],
    )


# A loop of the article's client is ten seconds of its own pauses.
_WAITED = 'locust_request_seconds_bucket{name!="loop"}[$__rate_interval]'


def _seen() -> Row:
    failures = total(rate("locust_failures_total"), "name, error")
    return Row(
        "What does the load see?",
        [
            graph(
                "Time of a request, by its name",
                units.Seconds,
                "p99 as Locust's clients measure it, HAProxy and the network included. `since due`"
                " counts from when the request was to be sent: what a client in a closed loop"
                " does not feel while it waits.",
                {"{{name}}": f"histogram_quantile(0.99, sum by (name, le) (rate({_WAITED})))"},
            ),
            graph(
                "Failures that the load counts, by error",
                units.CountsPerSecond,
                "Requests that failed. `WrongReply` must never be; every other is a client that was"
                " refused, cut or kept waiting. `none` is well.",
                {"{{name}} {{error}}": or_none(failures, "error")},
            ),
        ],
    )


_WAITS = Row(
    "How long do the parts let it wait?",
    [
        graph(
            "Reply time",
            units.Seconds,
            "From a line's arrival at its daemon to its reply's leaving, over all daemons."
            " What HAProxy and the network add is in the load's own figures.",
            quantiles("echod_reply_seconds"),
        ),
        graph(
            "Connect time, by backend",
            units.Seconds,
            "What a new client waits for HAProxy to find it a daemon: the mean of the last"
            " 1,024 connections. A refused or silent daemon costs a retry.",
            {"{{proxy}}": 'haproxy_backend_connect_time_average_seconds{proxy!~".+_unchecked"}'},
        ),
        graph(
            "Lines that wait for the store",
            units.Short,
            "Read, and not yet answered. Grows when commits are slow.",
            {"lines": total("echod_lines_waiting")},
        ),
        graph(
            "What waits for clients to take it",
            units.BytesIEC,
            "In the daemons' outboxes and the kernel's behind them. Clients that read slowly fill"
            " them; one over its limit, or too many together, end with `slow-consumer`.",
            {"unsent": total("echod_unsent_bytes")},
        ),
    ],
)


def _ends() -> Row:
    closed = total(rate("echod_connections_closed_total"), "port, reason")
    errors = total(rate('echod_connections_closed_total{reason!~"client|reset"}'), "reason")
    return Row(
        "How does its connection end?",
        [
            graph(
                "Connections that come and go",
                units.CountsPerSecond,
                "Clients accepted and gone, a second. The article's stay ten seconds.",
                {
                    "{{port}} came": total(rate("echod_connections_accepted_total"), "port"),
                    "{{port}} went": total(rate("echod_connections_closed_total"), "port"),
                },
            ),
            graph(
                "Connections that end, by reason",
                units.CountsPerSecond,
                "`client` is the usual end: the client left. `reset`: it broke off. Every other"
                " reason is the error code that the daemon closed with.",
                {"{{port}} {{reason}}": or_none(closed, "reason")},
            ),
            graph(
                "Errors that clients hear, by code",
                units.CountsPerSecond,
                "Connections that the daemon closed with an error (docs/protocol.md §4 says what a"
                " client should do). `none` is well; `draining` is a daemon that left.",
                {"{{reason}}": or_none(errors, "reason")},
                width=24,
            ),
        ],
    )


_SESSIONS = Row(
    "Does its session go on?",
    [
        graph(
            "Sessions that begin, go on, and end",
            units.CountsPerSecond,
            "The session port (docs/protocol.md §2). Resumed: a client came back, to this daemon"
            " or another, and went on where it was. Ended: by `QUIT`.",
            {
                what: total(rate(f"echod_sessions_{what}_total"))
                for what in ("opened", "resumed", "ended")
            },
            width=24,
        ),
    ],
)


_ROOMS = Row(
    "What does it hear of its rooms?",
    [
        graph(
            "Messages posted and delivered",
            units.CountsPerSecond,
            "Posted: `SAY`s sent to the store. Arrived: publications that came to a daemon, one"
            " for each that has members. Delivered: to a member, one for each.",
            {
                "posted": total(rate("echod_room_posts_total")),
                "arrived": total(rate("echod_room_publications_total")),
                "delivered": total(rate("echod_room_deliveries_total")),
            },
        ),
        graph(
            "Messages, by what became of them",
            units.CountsPerSecond,
            "The ledger (docs/metrics.md). `published` came in order, `recovered` was read"
            " later, `missing` was told as `GAP`; `lost` nobody was told of, and must be 0.",
            {"{{fate}}": total(rate("echod_room_messages_total"), "fate")},
        ),
    ],
)


_REFUSED = Row(
    "Is it let in at all?",
    [
        graph(
            "Clients refused for their source's limit",
            units.CountsPerSecond,
            "Closed by HAProxy before they cost a daemon anything: one address had too many"
            " connections, or too many new ones a second (haproxy.cfg).",
            {"{{proxy}}": total(rate("haproxy_frontend_denied_connections_total"), "proxy")},
        ),
        graph(
            "Connections that wait for their address's turn",
            units.Short,
            "Left unread, on average, because their address has sent more bytes than it may a"
            " second (source_bytes_max). It is slowed down, nobody else is.",
            {"connections": total(rate("echod_source_paused_seconds_total"))},
        ),
        graph(
            "Daemons that HAProxy could not reach",
            units.CountsPerSecond,
            "Failed connects to a daemon. A retry goes to another one, and the client feels a"
            " moment's wait; an error is what is left after the last retry.",
            {
                "retries": total(rate("haproxy_backend_retry_warnings_total")),
                "sent to another daemon": total(rate("haproxy_backend_redispatch_warnings_total")),
                "errors": total(rate("haproxy_backend_connection_errors_total")),
            },
            width=24,
        ),
    ],
)
