"""What can go wrong for a client of either port: a class each, with one argument out of few.

Few, because Locust's failures page groups by `repr`; what is particular is in `str`:

    ClientError
    ├── ConnectFailed   the connection was not made: the errno's name, or why
    ├── ServerError     `ERR <code> <text>` instead of a reply: the code
    ├── WrongReply      what the server may not say: which kind of difference
    ├── EarlyClose      the end, or a reset, with a reply still due: which of them
    ├── ReplyTimeout    no whole reply by the deadline: what had come
    └── of the session port only, where the caller has to decide:
        ├── RolledBack  the store has lost answered lines (§2.1, §5)
        ├── SessionLost the session is gone: unknown, ended or expired
        └── Overtaken   others wrote to a session that is `shared`
"""

from __future__ import annotations

import errno
import socket


class ClientError(Exception):
    """What a server did, or did not do, against the protocol or a client's needs."""

    def __init__(self, kind: str, detail: object = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


class ConnectFailed(ClientError):  # noqa: N818 — named as people read it in Locust's table
    """No connection; `kind` is `timeout`, `unknown host`, or an errno's name."""


class ServerError(ClientError):
    """The server said `ERR`; `kind` is its code, `detail` its text."""


class WrongReply(ClientError):  # noqa: N818 — as ConnectFailed
    """What the server may not say; `detail` is the `Difference`."""


class EarlyClose(ClientError):  # noqa: N818 — as ConnectFailed
    """The connection ended with replies due; `kind` is `end of stream` or an errno's name.

    `ETIMEDOUT`: the other kernel is not there any more (sockets.py).
    """


class ReplyTimeout(ClientError):  # noqa: N818 — as ConnectFailed
    """The deadline passed; `kind` is `silence`, `part of a reply` or `no end of stream`."""


class RolledBack(ClientError):  # noqa: N818 — as ConnectFailed
    """The store lost lines that were answered; `kind` is `rolled-back`.

    Attributes:
        seq: the last line that it still has, None where the server did not say.
    """

    def __init__(self, seq: int | None, detail: object = "") -> None:
        super().__init__("rolled-back", detail)
        self.seq = seq


class SessionLost(ClientError):  # noqa: N818 — as ConnectFailed
    """The server knows no such session (any more); `kind` is `unknown-session`."""


class Overtaken(ClientError):  # noqa: N818 — as ConnectFailed
    """Another owner of a shared session went on meanwhile; `kind` is `shared session`."""


def kind_of(error: OSError) -> str:
    """One of few names for an error: no address, port or localised text."""
    if isinstance(error, socket.gaierror):
        return "unknown host"
    if error.errno is None:
        return "timeout"
    return errno.errorcode.get(error.errno, "unknown errno")
