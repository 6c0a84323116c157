"""What operators and the balancer ask: HTTP on the admin port, one line on the agent's.

    /metrics   Prometheus
    /livez     200: the loop turns, or nobody would answer
    /readyz    200: started and not draining; whether it is degraded is in the body
    agent      `up ready 100%`, `up ready 1%` (degraded) or `drain`; then closed

The agent's words are HAProxy's ("agent-check", configuration manual 5.2). A daemon whose
store is away, or that has no file left, asks for next to nothing instead of stepping out:
if it is alone in that, the others take the load, and if all are, they share it as before
(docs/adr/0004).

Nobody holds a place here: a connection is one question, which must be asked, answered and
read within `ASK_S_MAX`, and of too many the oldest gives way.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer
from gevent.socket import SHUT_RDWR, socket
from prometheus_client import make_wsgi_app

from echod.limits.capacity import Crowd
from echod.ports.accepting import Acceptor

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable

    from echod.admin.exposition import Registry
    from echod.config import Config
    from echod.limits.capacity import Capacity
    from echod.loop.clock import Clock

# Scrapers, healthchecks and people at once; a daemon has a handful.
ASKERS_MAX = 64
# From accept to the last byte of the answer.
ASK_S_MAX = 5.0
# The request and its headers; Prometheus's have some 400.
HEAD_BYTES_MAX = 8_192


class _Head:
    """What an asker sends, up to `HEAD_BYTES_MAX`, as pywsgi reads it; a body is never read."""

    def __init__(self, file: Any) -> None:  # noqa: ANN401 — gevent's
        self._file = file
        self._left = HEAD_BYTES_MAX

    @property
    def closed(self) -> bool:
        """See `io`."""
        closed: bool = self._file.closed
        return closed

    def readline(self, most: int = HEAD_BYTES_MAX) -> bytes:
        """See `io`; at the bound it has ended, and so it has when the connection breaks."""
        try:
            line: bytes = self._file.readline(min(most, self._left))
        except OSError:
            return b""
        self._left -= len(line)
        return line

    def read(self, _: int = -1) -> bytes:
        """See `io`."""
        return b""


class _OneQuestion(WSGIHandler):
    """Answers one request, and closes: between two nobody could say whether one more comes."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:  # noqa: ANN401 — gevent's
        super().__init__(sock, address, server)
        self.rfile: Any = _Head(self.rfile)

    def read_request(self, raw_requestline: str) -> Any:  # noqa: ANN401 — as gevent's types have it
        """See `WSGIHandler`."""
        read: Any = super().read_request(raw_requestline)
        self.close_connection = True
        return read

    def finalize_headers(self) -> None:
        """See `WSGIHandler`; the asker hears that this was all."""
        super().finalize_headers()
        headers: Any = self.response_headers
        kept = [each for each in headers if each[0] != b"Connection"]
        headers[:] = [*kept, (b"Connection", b"close")]


class _Asker:
    """A connection to the admin port. Shut down under its greenlet, it ends by itself."""

    __slots__ = ("_sock", "ends_at")

    def __init__(self, sock: Any, ends_at: float) -> None:  # noqa: ANN401 — gevent's
        self._sock = sock
        self.ends_at = ends_at

    def drop(self) -> None:
        """The greenlet reads an end, or finds that nobody takes its answer."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)


class Admin:
    """Both ports. `state` answers (draining, degraded)."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        capacity: Capacity,
        clock: Clock,
        state: Callable[[], tuple[bool, bool]],
    ) -> None:
        """Bind both ports.

        Raises:
            ConfigError: an address can't be had.
        """
        self._clock = clock
        self._state = state
        self._name = config.name
        self._metrics = make_wsgi_app(registry.prometheus)
        counts = registry.metrics
        self._door = Acceptor("admin_port", self._ask, config, capacity, counts)
        self._agent = Acceptor("agent_port", self._tell, config, capacity, counts)
        self.address, self.agent_address = self._door.address, self._agent.address
        self._askers: Crowd[_Asker] = Crowd("asker", ASKERS_MAX, _Asker.drop, counts)
        self._http: Any = WSGIServer(
            # Never started: connections come from `_door`.
            (config.host, config.admin_port),
            self._answer,
            log=None,
            error_log=None,
            handler_class=_OneQuestion,
        )

    def start(self) -> None:
        """Begin to answer."""
        self._door.start()
        self._agent.start()

    def tick(self) -> None:
        """End what takes too long; and see `Acceptor.tick`."""
        now_s = self._clock.now_s
        for asker in self._askers:
            if now_s < asker.ends_at:
                break  # those behind it came later
            self._askers.shed()
        self._door.tick()
        self._agent.tick()

    def stop(self) -> None:
        """Close both ports."""
        self._door.stop()
        self._agent.stop()

    def _ask(self, sock: _socket.socket, address: Any) -> None:  # noqa: ANN401 — as accept's
        wrapped = socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        asker = _Asker(wrapped, self._clock.now_s + ASK_S_MAX)
        self._askers.add(asker)
        gevent.spawn(self._serve, asker, wrapped, address)

    def _serve(self, asker: _Asker, sock: Any, address: Any) -> None:  # noqa: ANN401 — gevent's
        try:
            with sock:
                self._http.handle(sock, address)
        finally:
            self._askers.discard(asker)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401 — WSGI
        path = environ["PATH_INFO"]
        if path == "/metrics":
            samples: Iterable[bytes] = self._metrics(environ, start_response)
            return samples
        draining, degraded = self._state()
        body = {"name": self._name, "draining": draining, "degraded": degraded}
        status = "200 OK"
        if path == "/readyz":
            status = "503 Service Unavailable" if draining else status
        elif path != "/livez":
            status, body = "404 Not Found", {"paths": ["/metrics", "/livez", "/readyz"]}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(body).encode() + b"\n"]

    def _tell(self, sock: _socket.socket, _address: Any) -> None:  # noqa: ANN401 — as accept's
        """At once, without waiting: a new connection's buffer has room for a word."""
        draining, degraded = self._state()
        word = b"drain\n" if draining else b"up ready 1%\n" if degraded else b"up ready 100%\n"
        try:
            sock.send(word)
        except OSError:
            pass  # HAProxy did not wait; it asks again
        finally:
            sock.close()
