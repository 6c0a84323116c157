"""The second question: what does a client feel? Waiting, being cut off, being refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from lab.dashboards.parts import Query, Row, graph, or_none, page, quantiles

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard


def client() -> Dashboard:
    """From the client's side: what the load measures, and what the fleet counts."""
    return page(
        "fleet-client",
        "2 · What does a client feel?",
        "How long it waits, and what it hears when it gets no reply (docs/protocol.md §4).",
        [_seen(), _waits(), _ends(), _sessions(), _rooms(), _refused()],
    )


# A loop of the article's client is ten seconds of its own pauses.
_WAITED = 'locust_request_seconds_bucket{name!="loop"}[$__rate_interval]'


def _seen() -> Row:
    failures = "sum by (name, error) (rate(locust_failures_total[$__rate_interval]))"
    return Row(
        "What does the load see?",
        [
            graph(
                "Time of a request, by its name",
                units.Seconds,
                "p99 as Locust's clients measure it, HAProxy and the network included. `since due`"
                " counts from when the request was to be sent: what a client in a closed loop"
                " does not feel while it waits.",
                [
                    Query(
                        f"histogram_quantile(0.99, sum by (name, le) (rate({_WAITED})))",
                        "{{name}}",
                    )
                ],
            ),
            graph(
                "Failures that the load counts, by error",
                units.CountsPerSecond,
                "Requests that failed. `WrongReply` must never be; every other is a client that was"
                " refused, cut or kept waiting. `none` is well.",
                [Query(or_none(failures, "error"), "{{name}} {{error}}")],
            ),
        ],
    )


def _waits() -> Row:
    return Row(
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
                [
                    Query(
                        'haproxy_backend_connect_time_average_seconds{proxy!~".+_unchecked"}',
                        "{{proxy}}",
                    )
                ],
            ),
            graph(
                "Lines that wait for the store",
                units.Short,
                "Read, and not yet answered. Grows when commits are slow.",
                [Query("sum(echod_lines_waiting)", "lines")],
            ),
            graph(
                "What waits for clients to take it",
                units.BytesIEC,
                "In the daemons' outboxes and the kernel's behind them. Clients that read slowly fill"
                " them; one over its limit, or too many together, end with `slow-consumer`.",
                [Query("sum(echod_unsent_bytes)", "unsent")],
            ),
        ],
    )


def _ends() -> Row:
    closed = "sum by (port, reason) (rate(echod_connections_closed_total[$__rate_interval]))"
    errors = (
        "sum by (reason) (rate(echod_connections_closed_total"
        '{reason!~"client|reset"}[$__rate_interval]))'
    )
    return Row(
        "How does its connection end?",
        [
            graph(
                "Connections that come and go",
                units.CountsPerSecond,
                "Clients accepted and gone, a second. The article's stay ten seconds.",
                [
                    Query(
                        "sum by (port) (rate(echod_connections_accepted_total[$__rate_interval]))",
                        "{{port}} came",
                    ),
                    Query(
                        "sum by (port) (rate(echod_connections_closed_total[$__rate_interval]))",
                        "{{port}} went",
                    ),
                ],
            ),
            graph(
                "Connections that end, by reason",
                units.CountsPerSecond,
                "`client` is the usual end: the client left. `reset`: it broke off. Every other"
                " reason is the error code that the daemon closed with.",
                [Query(or_none(closed, "reason"), "{{port}} {{reason}}")],
            ),
            graph(
                "Errors that clients hear, by code",
                units.CountsPerSecond,
                "Connections that the daemon closed with an error (docs/protocol.md §4 says what a"
                " client should do). `none` is well; `draining` is a daemon that left.",
                [Query(or_none(errors, "reason"), "{{reason}}")],
                width=24,
            ),
        ],
    )


def _sessions() -> Row:
    return Row(
        "Does its session go on?",
        [
            graph(
                "Sessions that begin, go on, and end",
                units.CountsPerSecond,
                "The session port (docs/protocol.md §2). Resumed: a client came back, to this daemon"
                " or another, and went on where it was. Ended: by `QUIT`.",
                [
                    Query(f"sum(rate(echod_sessions_{what}_total[$__rate_interval]))", what)
                    for what in ("opened", "resumed", "ended")
                ],
                width=24,
            ),
        ],
    )


def _rooms() -> Row:
    return Row(
        "What does it hear of its rooms?",
        [
            graph(
                "Messages posted and delivered",
                units.CountsPerSecond,
                "Posted: `SAY`s sent to the store. Arrived: publications that came to a daemon, one"
                " for each that has members. Delivered: to a member, one for each.",
                [
                    Query("sum(rate(echod_room_posts_total[$__rate_interval]))", "posted"),
                    Query("sum(rate(echod_room_publications_total[$__rate_interval]))", "arrived"),
                    Query("sum(rate(echod_room_deliveries_total[$__rate_interval]))", "delivered"),
                ],
            ),
            graph(
                "Messages, by what became of them",
                units.CountsPerSecond,
                "The ledger (docs/metrics.md). `published` came in order, `recovered` was read"
                " later, `missing` was told as `GAP`; `lost` nobody was told of, and must be 0.",
                [
                    Query(
                        "sum by (fate) (rate(echod_room_messages_total[$__rate_interval]))",
                        "{{fate}}",
                    )
                ],
            ),
        ],
    )


def _refused() -> Row:
    return Row(
        "Is it let in at all?",
        [
            graph(
                "Clients refused for their source's limit",
                units.CountsPerSecond,
                "Closed by HAProxy before they cost a daemon anything: one address had too many"
                " connections, or too many new ones a second (haproxy.cfg).",
                [
                    Query(
                        "sum by (proxy) (rate(haproxy_frontend_denied_connections_total"
                        "[$__rate_interval]))",
                        "{{proxy}}",
                    )
                ],
            ),
            graph(
                "Connections that wait for their address's turn",
                units.Short,
                "Left unread, on average, because their address has sent more bytes than it may a"
                " second (source_bytes_max). It is slowed down, nobody else is.",
                [
                    Query(
                        "sum(rate(echod_source_paused_seconds_total[$__rate_interval]))",
                        "connections",
                    )
                ],
            ),
            graph(
                "Daemons that HAProxy could not reach",
                units.CountsPerSecond,
                "Failed connects to a daemon. A retry goes to another one, and the client feels a"
                " moment's wait; an error is what is left after the last retry.",
                [
                    Query(
                        "sum(rate(haproxy_backend_retry_warnings_total[$__rate_interval]))",
                        "retries",
                    ),
                    Query(
                        "sum(rate(haproxy_backend_redispatch_warnings_total[$__rate_interval]))",
                        "sent to another daemon",
                    ),
                    Query(
                        "sum(rate(haproxy_backend_connection_errors_total[$__rate_interval]))",
                        "errors",
                    ),
                ],
                width=24,
            ),
        ],
    )
