"""A local fleet for drills: links where a drill cuts them, parts that can be started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lab.fleet import haproxy_server
from lab.fleet.haproxy_server import Daemon
from lab.fleet.local import ROOT, Fleet, Plan

if TYPE_CHECKING:
    from lab.drill.network import Link, Network

LINKED_PORTS: Final = ("echo", "session", "agent")


class DrillFleet(Fleet):
    """A fleet with links where the drill cuts them, whose parts can be started again."""

    def __init__(self, plan: Plan, network: Network | None, links: frozenset[str]) -> None:
        super().__init__(plan)
        self.links: dict[str, list[Link]] = {}
        self._network = network
        self._wanted = links
        self._store_urls: dict[str, str] = {}
        self._seen: dict[str, Daemon] = {}
        self._redis_port = 0

    def store_url_of(self, daemon: str, redis_url: str) -> str:
        """Through a link of its own, if Redis's are wanted."""
        head, at, host_port = redis_url.removesuffix("/0").rpartition("@")
        self._redis_port = int(host_port.rpartition(":")[2])
        url = redis_url
        if self._network is not None and "redis" in self._wanted:
            url = f"{head}{at}{self._link(f'redis:{daemon}', host_port)}/0"
        self._store_urls[daemon] = url
        return url

    def seen_by_haproxy(self, daemon: Daemon) -> Daemon:
        """Each of its ports through a link, if the daemons' are wanted; the same one always."""
        if self._network is None or "daemon" not in self._wanted:
            return daemon
        if daemon.name not in self._seen:
            name = f"daemon:{daemon.name}"
            linked = {port: self._link(name, getattr(daemon, port)) for port in LINKED_PORTS}
            self._seen[daemon.name] = daemon._replace(**linked)
        return self._seen[daemon.name]

    def clients_address(self, port: str) -> str:
        """Where clients connect: HAProxy, or a link before it, if the clients' is wanted."""
        address: str = self.parts["haproxy"].ready[port]
        if self._network is None or "clients" not in self._wanted:
            return address
        return self._link("clients", address)

    def start_again(self, name: str) -> None:
        """A part that has ended, on the same ports and data; it is ready then.

        Raises:
            lab.fleet.processes.StartError: It did not start.
        """
        if name == "redis":
            self.redis = self._start_redis(self._redis_port)
        elif name == "haproxy":
            self.start_haproxy_again()
        else:
            ready = self.parts[name].ready
            self.parts[name] = self._start_daemon(name, self._store_urls[name], ready)
            self.parts[name].await_ready()

    def start_haproxy_again(self, replaces: int | None = None) -> None:
        """On the same ports; with `replaces`, another one's pid, as a reload."""
        ready = self.parts["haproxy"].ready
        echo, session, stats = (
            int(ready[port].rpartition(":")[2]) for port in ("echo", "session", "stats")
        )
        self.parts["haproxy"] = haproxy_server.start(
            self.plan.directory,
            ROOT / "haproxy" / "haproxy.cfg",
            [self.seen_by_haproxy(Daemon.of(daemon.ready)) for daemon in self.daemons],
            echo_port=echo,
            session_port=session,
            stats_port=stats,
            replaces=replaces,
        )

    def _link(self, name: str, target: str) -> str:
        if self._network is None:
            return target
        links = self.links.setdefault(name, [])
        link = self._network.add(f"{name}:{len(links)}", target)
        links.append(link)
        return link.address
