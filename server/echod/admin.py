"""What operators and the balancer ask: HTTP on the admin port, one line on the agent's.

    /metrics   Prometheus
    /livez     200: the loop turns, or nobody would answer
    /readyz    200: started and not draining; whether it is degraded is in the body
    agent      `up ready 100%`, `up ready 1%` (degraded) or `drain`; then closed

The agent's words are HAProxy's ("agent-check", configuration manual 5.2). A daemon whose
store is away asks for next to nothing instead of stepping out: if it is alone in that,
the others take the load, and if all are, they share it as before (DESIGN D11).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer
from prometheus_client import make_wsgi_app

from echod import addresses
from echod.config import cannot_listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from echod.config import Config
    from echod.exposition import Registry

# Scrapers and balancers at once; a daemon has a handful.
ASKERS_MAX = 64
AGENT_SEND_S_MAX = 1.0


class Admin:
    """Both ports. `state` answers (draining, degraded)."""

    def __init__(
        self, config: Config, registry: Registry, state: Callable[[], tuple[bool, bool]]
    ) -> None:
        """Bind both ports.

        Raises:
            ConfigError: an address can't be had.
        """
        self._state = state
        self._name = config.name
        self._metrics = make_wsgi_app(registry.prometheus)
        self._http: Any = WSGIServer(
            (config.host, config.admin_port),
            self._answer,
            log=None,
            error_log=None,
            spawn=Pool(ASKERS_MAX),
        )
        self._agent: Any = StreamServer(
            (config.host, config.agent_port), self._tell, spawn=Pool(ASKERS_MAX)
        )
        for name, server in (("admin_port", self._http), ("agent_port", self._agent)):
            try:
                server.init_socket()
            except OSError as error:
                raise cannot_listen(name, config, error) from error
        self.address = addresses.show(*self._http.socket.getsockname()[:2])
        self.agent_address = addresses.show(*self._agent.socket.getsockname()[:2])

    def start(self) -> None:
        """Begin to answer."""
        self._http.start()
        self._agent.start()

    def stop(self) -> None:
        """Close both ports."""
        self._http.stop(timeout=0)
        self._agent.stop(timeout=0)

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

    def _tell(self, sock: Any, _address: Any) -> None:  # noqa: ANN401 — gevent's socket
        draining, degraded = self._state()
        word = b"drain\n" if draining else b"up ready 1%\n" if degraded else b"up ready 100%\n"
        try:
            sock.settimeout(AGENT_SEND_S_MAX)
            sock.sendall(word)
        except OSError:
            pass  # HAProxy did not wait; it asks again
        finally:
            sock.close()
