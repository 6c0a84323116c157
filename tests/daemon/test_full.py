"""A full daemon: refusing takes nothing from who is served, nor from what proves its health.

docs/adr/0004. `tests/fleet/test_full_fleet.py` plays it behind HAProxy.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from echod.admin.server import ASKERS_MAX
from echod.limits.capacity import CHECKS_MAX, HANDSHAKES_MAX, REFUSED_MAX
from lab.drill.stage.local import limit_files
from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_drain import agent_says
from tests.daemon.test_proxy_protocol import CLIENT, LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Echod

# Of what a daemon may have open, those that are neither clients' nor in a budget.
OTHER_FILES = 60
# Of the balancer's patience with a check, which has 400 ms (haproxy.cfg); a busy machine's.
CHECK_S_MAX = 15.0
# From a connection to the admin port to its end, if it asks nothing; and of a busy machine.
ASK_S_MAX = 5.0 + 10.0


class Full:
    """A daemon with `connections_max` clients behind a balancer; each is served until the end."""

    def __init__(self, daemon: Echod, connections_max: int) -> None:
        self.daemon = daemon
        self.served = [self.client() for _ in range(connections_max)]

    def client(self) -> socket.socket:
        """One that is served: its first line is answered."""
        sock = raw.connect(self.daemon.port)
        sock.sendall(CLIENT + b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        return sock

    def serves(self) -> None:
        """Everybody who was let in is answered, and so is a check."""
        for sock in self.served:
            sock.sendall(b"a\n")
            assert raw.read(sock, 4) == b"a\na\n"
        self.is_well()

    def is_well(self) -> None:
        """As the balancer finds out."""
        answer = raw.converse(self.daemon.port, [LOCAL + b"haproxy\n"], patience_s=CHECK_S_MAX)
        assert answer == b"haproxy\n"

    def cut_short(self, kind: str) -> float:
        """How many sockets of a kind gave way."""
        name = f'echod_sockets_cut_short_total{{kind="{kind}"}}'
        return self.daemon.metrics().get(name, 0.0)

    def files(self) -> int:
        """Open ones."""
        count: int = psutil.Process(self.daemon.process.pid).num_fds()
        return count


@contextlib.contextmanager
def closing(socks: list[socket.socket]) -> Iterator[list[socket.socket]]:
    """Close them at the end, whatever happens."""
    try:
        yield socks
    finally:
        for sock in socks:
            sock.close()


def resets(sock: socket.socket) -> bool:
    """Whether nobody is there any more to whom one could send."""
    try:
        sock.sendall(b"x")
    except OSError:
        return True
    return False


def full(echod: Callable[..., Echod], connections_max: int = 5, **settings: float) -> Full:
    """One that is."""
    daemon = echod(
        proxy_protocol=True, connections_max=connections_max, echo_idle_s_max=60, **settings
    )
    return Full(daemon, connections_max)


def test_refused_clients_that_stay(echod: Callable[..., Echod]) -> None:
    """Each is told `busy`, however many stay; few linger, and the daemon is well throughout."""
    there = full(echod, linger_s_max=60)
    count = 600
    with closing([]) as socks:
        for number in range(count):
            socks.append(raw.connect(there.daemon.port))
            socks[-1].sendall(CLIENT)
            if number % 100 == 0:
                there.is_well()
        for sock in socks:
            assert raw.read_all(sock).startswith(b"ERR busy ")
        there.serves()
        # Who was first may stay, who came too late is gone: what it sends is answered by a reset.
        until(lambda: resets(socks[-1]), 30, "the last to be closed for good")
        assert not any(resets(sock) for sock in socks[:REFUSED_MAX])
        assert there.daemon.closed("busy") == count
        assert there.cut_short("refused") == count - REFUSED_MAX
        assert there.files() < 5 + REFUSED_MAX + OTHER_FILES


def test_balancers_that_say_nothing(echod: Callable[..., Echod]) -> None:
    """Headers that never come: those that are missing longest go, and a check has its turn."""
    there = full(echod, proxy_s_max=60)
    beyond = 50
    with closing([raw.connect(there.daemon.port) for _ in range(HANDSHAKES_MAX + beyond)]) as socks:
        until(lambda: there.cut_short("handshake") >= beyond, 30, "those beyond to be closed")
        there.serves()
        assert there.files() < 5 + HANDSHAKES_MAX + OTHER_FILES
        assert raw.read_all(socks[0]) == b""
        socks[-1].sendall(LOCAL + b"late\n")
        assert raw.read(socks[-1], 5) == b"late\n"


def test_checks_that_stay(echod: Callable[..., Echod]) -> None:
    """A balancer that never ends its checks takes no place but other checks'."""
    there = full(echod)
    beyond = 10
    with closing([raw.connect(there.daemon.port) for _ in range(CHECKS_MAX + beyond)]) as socks:
        for sock in socks:
            sock.sendall(LOCAL + b"a\n")
            assert raw.read(sock, 2) == b"a\n"
        there.serves()
        assert raw.read_all(socks[0]) == b""
        assert there.cut_short("check") >= beyond
    assert there.daemon.metrics()['echod_connections{port="echo"}'] == 5


def test_who_is_leaving_makes_room(echod: Callable[..., Echod]) -> None:
    """Clients that were told why and stay have their old places, until others want them."""
    there = full(echod, linger_s_max=60, line_bytes_max=128)
    for sock in there.served:
        sock.sendall(b"longer than that" * 10 + b"\n")
        # The end of the stream is not that of the connection: it lingers.
        assert raw.read_all(sock).startswith(b"ERR line-too-long ")
    with closing(there.served):
        there.served = [there.client() for _ in range(5)]
        assert there.cut_short("departing") == 5
        there.serves()


def test_no_file_left(echod: Callable[..., Echod]) -> None:
    """Who is served stays so, newcomers are sent elsewhere, and balancer and scraper are answered.

    Connections that say nothing hold the spare files: they give way too.
    """
    there = full(echod, connections_max=5, proxy_s_max=60)
    there.served.pop().close()  # one more could be served, if there was a file
    daemon = there.daemon
    until(lambda: daemon.metrics()['echod_connections{port="echo"}'] == 4, 30, "a free place")
    until(lambda: agent_says(daemon) == b"up ready 100%\n", 30, "it to be well")
    limit_files(daemon.process.pid, full=True)
    with closing([raw.connect(daemon.port) for _ in range(60)]):
        for _ in range(20):
            there.serves()
            assert raw.converse(daemon.port, [CLIENT]).startswith(b"ERR busy no file ")
            assert agent_says(daemon) == b"up ready 1%\n"
            assert daemon.get("/readyz")[0] == 200
        assert daemon.metrics()["echod_accept_errors_total"] > 0
        assert "accept-paused" not in daemon.log()
    limit_files(daemon.process.pid, full=False)
    until(lambda: agent_says(daemon) == b"up ready 100%\n", 30, "files to be there again")
    with there.client():
        there.serves()


# The admin port.


def admin(daemon: Echod) -> int:
    """Its port."""
    return int(daemon.process.ready["admin"].rsplit(":", 1)[1])


def connected(daemon: Echod, port: int) -> int:
    """How many connections a port of a daemon has."""
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
        for one in psutil.Process(daemon.process.pid).net_connections("tcp")
    )


def test_askers_that_ask_nothing(echod: Callable[..., Echod]) -> None:
    """However many are connected, who asks is answered; and they are not there for long."""
    daemon = echod()
    with closing([raw.connect(admin(daemon)) for _ in range(150)]) as socks:
        begin = time.monotonic()
        for _ in range(10):
            assert daemon.get("/readyz")[0] == 200
        assert connected(daemon, admin(daemon)) <= ASKERS_MAX
        assert agent_says(daemon).startswith(b"up ready ")
        assert raw.read_all(socks[0]) == b""  # the oldest gave way
        assert raw.read_all(socks[-1]) == b""  # and of the newest the time was over
        assert time.monotonic() - begin < ASK_S_MAX
    name = 'echod_sockets_cut_short_total{kind="asker"}'
    assert daemon.metrics()[name] >= 150


def test_an_asker_that_drips(echod: Callable[..., Echod]) -> None:
    """A header that grows and never ends has the same time as one that never begins."""
    daemon = echod()
    begin = time.monotonic()
    with raw.connect(admin(daemon)) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        sock.settimeout(0.1)

        def dripped() -> bool:
            try:
                sock.sendall(b"x")
                return not sock.recv(1000)
            except TimeoutError:
                return False
            except OSError:
                return True

        until(dripped, ASK_S_MAX, "the deadline")
        assert time.monotonic() - begin > 4
    assert daemon.get("/livez")[0] == 200


def test_an_asker_without_measure(echod: Callable[..., Echod]) -> None:
    """A request has a size; what is beyond it is not kept."""
    daemon = echod()
    before = psutil.Process(daemon.process.pid).memory_info().rss
    with closing([raw.connect(admin(daemon)) for _ in range(20)]) as socks:
        for sock in socks:
            with contextlib.suppress(OSError):  # closed in its face
                sock.sendall(b"GET /livez HTTP/1.1\r\n")
                for _ in range(90):
                    sock.sendall(b"X: " + b"x" * 60_000 + b"\r\n")
        assert daemon.get("/livez")[0] == 200
        # Twenty requests of 5 MB came; of each no more than a buffer's worth is kept.
        assert psutil.Process(daemon.process.pid).memory_info().rss - before < 20 << 20


def test_an_asker_that_takes_nothing(echod: Callable[..., Echod]) -> None:
    """Questions without number, of which no answer is read: one is answered, then it is over."""
    daemon = echod()
    with closing([socket.socket() for _ in range(20)]) as socks:
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", admin(daemon)))
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        until(lambda: not connected(daemon, admin(daemon)), ASK_S_MAX, "all to be closed")
    assert daemon.get("/livez")[0] == 200


@pytest.mark.parametrize("said", [b"", b"what?\n"])
def test_agent_and_silence(echod: Callable[..., Echod], said: bytes) -> None:
    """A hundred that are connected to the agent's port and take nothing hold nobody up."""
    daemon = echod()
    port = int(daemon.process.ready["agent"].rsplit(":", 1)[1])
    with closing([raw.connect(port) for _ in range(100)]) as socks:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.sendall(said)
        assert agent_says(daemon).startswith(b"up ready ")


def test_one_question_a_connection(echod: Callable[..., Echod]) -> None:
    """The answer says so, as HTTP wants it, and the connection ends with it."""
    daemon = echod()
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        request = b"GET /livez %b\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % version
        with raw.connect(admin(daemon)) as sock:
            sock.sendall(request)
            head, _, body = raw.read_all(sock).partition(b"\r\n\r\n")
        assert head.lower().count(b"\r\nconnection: close") == 1
        assert head.lower().count(b"\r\nconnection:") == 1
        assert body.startswith(b"{")
    # It ended by itself, and not because its time was over.
    assert 'echod_sockets_cut_short_total{kind="asker"}' not in daemon.metrics()


def test_a_reset_in_the_queue(echod: Callable[..., Echod]) -> None:
    """Connections that were reset before they were accepted cost nobody anything."""
    there = full(echod)
    there.daemon.process.signal(19)
    try:
        for _ in range(200):
            sock = raw.connect(there.daemon.port)
            sock.sendall(CLIENT)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
    finally:
        there.daemon.process.signal(18)
    there.serves()
