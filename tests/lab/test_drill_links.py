"""The links that can be cut: what each fault is to the two programs at its ends."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from lab.fleet import ports
from lab.fleet.links import IN, OUT, Network
from lab.fleet.ports import HOST
from lab.wait import until
from tests.lab.port_taker import could_be_given

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 30.0
SILENCE_S = 0.15


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """One thread for all links of these tests."""
    with Network() as made:
        yield made


class Ends:
    """A link to a listener of the test, and the ends of one connection through it."""

    def __init__(self, network: Network, name: str) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.listener.settimeout(PATIENCE_S)
        self.link = network.add(name, f"{HOST}:{self.listener.getsockname()[1]}")
        (self.address,) = self.link.addresses.values()
        self.near = self.connect()
        self.far = self.accept()

    def connect(self, patience_s: float = PATIENCE_S) -> socket.socket:
        """A new near end."""
        return socket.create_connection(ports.split(self.address), patience_s)

    def accept(self) -> socket.socket:
        """The far end of the oldest connection that has none."""
        far, _ = self.listener.accept()
        far.settimeout(PATIENCE_S)
        return far

    def close(self) -> None:
        """End all."""
        for sock in (self.near, self.far, self.listener):
            sock.close()


@pytest.fixture
def ends(network: Network, request: pytest.FixtureRequest) -> Iterator[Ends]:
    """A connection through a link of its own."""
    made = Ends(network, request.node.name)
    yield made
    made.close()


def silent(sock: socket.socket) -> bool:
    """Whether nothing comes, not even an end, for a moment."""
    sock.settimeout(SILENCE_S)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(PATIENCE_S)
    return False


def read(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or fewer before the end."""
    got = b""
    while len(got) < size and (data := sock.recv(65_536)):
        got += data
    return got


def test_bytes_pass(ends: Ends) -> None:
    """Both ways at once, more than any buffer holds, in order; then each end in turn."""
    chance = random.Random(1)
    away, back = chance.randbytes(9_000_000), chance.randbytes(7_000_000)
    got: dict[str, bytes] = {}
    threads = [
        threading.Thread(target=ends.near.sendall, args=(away,)),
        threading.Thread(target=ends.far.sendall, args=(back,)),
        threading.Thread(target=lambda: got.update(far=read(ends.far, len(away)))),
        threading.Thread(target=lambda: got.update(near=read(ends.near, len(back)))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert got == {"far": away, "near": back}

    ends.near.shutdown(socket.SHUT_WR)
    assert ends.far.recv(1) == b""
    ends.far.sendall(b"after the half-close")
    ends.far.close()
    assert read(ends.near, 1000) == b"after the half-close"
    until(lambda: not ends.link.count()["connections"], PATIENCE_S, "the end of the connection")


def test_a_reset_passes(ends: Ends) -> None:
    """Who breaks off is heard as that."""
    ends.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.near.close()

    with pytest.raises(ConnectionResetError):
        ends.far.recv(1)


@pytest.mark.parametrize("way", [OUT, IN])
def test_one_way_stands_still(ends: Ends, way: str) -> None:
    """The other goes on; what is held comes with `heal`, and is counted until then."""
    source, target = (ends.near, ends.far) if way == OUT else (ends.far, ends.near)
    ends.link.hold(way)

    source.sendall(b"held")
    target.sendall(b"the other way")

    assert read(source, 13) == b"the other way"
    assert silent(target)
    held = {way: 4, {OUT: IN, IN: OUT}[way]: 0}
    until(lambda: ends.link.count()["held"] == held, PATIENCE_S, "it to be on the way")
    ends.link.heal()
    assert read(target, 4) == b"held"


def test_one_way_is_released(ends: Ends) -> None:
    """It delivers what was held; the other goes on standing still."""
    ends.link.hold()
    ends.near.sendall(b"away")
    ends.far.sendall(b"back")
    until(lambda: ends.link.count()["held"] == {OUT: 4, IN: 4}, PATIENCE_S, "both to be held")

    ends.link.release(IN)

    assert read(ends.near, 4) == b"back"
    assert silent(ends.far)
    ends.link.heal()
    assert read(ends.far, 4) == b"away"


def test_what_is_on_the_way_outlives_its_sender(ends: Ends) -> None:
    """The sender resets its connection, and its bytes come all the same, then the end."""
    ends.link.hold()
    ends.near.sendall(b"late")
    until(lambda: ends.link.count()["held"][OUT] == 4, PATIENCE_S, "the bytes to be on the way")
    ends.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.near.close()
    assert silent(ends.far)

    ends.link.heal()

    assert read(ends.far, 100) == b"late"


def test_connects_are_lost_while_cut(ends: Ends) -> None:
    """No answer to a SYN: neither a connection nor a refusal; after `heal` there is one."""
    ends.link.hold()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            ends.connect(SILENCE_S)

    ends.link.heal()

    with ends.connect() as near:
        near.sendall(b"again")
        served = iter(ends.accept, None)  # the lost ones' SYNs may have been repeated
        for far in served:
            with far, contextlib.suppress(OSError):
                if read(far, 5) == b"again":
                    break


def test_connects_are_refused(ends: Ends) -> None:
    """At once; the connection that is there goes on."""
    ends.link.refuse()
    with pytest.raises(ConnectionRefusedError):
        ends.connect()
    ends.near.sendall(b"on")
    assert read(ends.far, 2) == b"on"

    ends.link.heal()

    ends.connect().close()


@pytest.mark.skipif(sys.platform != "linux", reason="no other system can keep a port")
def test_a_link_that_refuses_keeps_its_port(ends: Ends) -> None:
    """Nobody else is given it meanwhile, whatever has become of its connections."""
    ends.link.refuse()
    ends.link.reset()

    assert not could_be_given(ports.split(ends.address)[1])


def test_a_fault_that_fails_says_so(ends: Ends) -> None:
    """The call raises what went wrong; the others go on."""
    ends.link.refuse()
    port = ports.split(ends.address)[1]
    with socket.create_server((HOST, port)), pytest.raises(OSError, match="in use"):
        ends.link.heal()

    ends.link.heal()

    ends.connect().close()


def test_a_bug_is_told_at_the_end() -> None:
    """What fails in the thread is not lost."""
    network = Network()
    link = network.add("far", f"{HOST}:{ports.reserve()}")
    link.loop.call_soon_threadsafe(lambda: 1 / 0)
    link.count()

    with pytest.raises(ZeroDivisionError):
        network.close()


def test_links_of_one_name_are_cut_as_one(network: Network) -> None:
    """To two targets: their connections are counted together."""
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        targets = [f"{HOST}:{server.getsockname()[1]}" for server in (one, other)]
        link, same = (network.add("both", target) for target in targets)
        assert link is same
        nears = [socket.create_connection(ports.split(link.addresses[to])) for to in targets]
        until(lambda: link.count()["connections"] == 2, PATIENCE_S, "both connections")

        link.reset()

        for near in nears:
            with near, pytest.raises(ConnectionResetError):
                near.recv(1)


def test_a_reset(ends: Ends) -> None:
    """Both ends hear it, and what was held is lost."""
    ends.link.hold(OUT)
    ends.near.sendall(b"lost")
    until(lambda: ends.link.count()["held"][OUT] == 4, PATIENCE_S, "the bytes to be on the way")

    assert ends.link.reset()["connections"] == 1

    for end in (ends.near, ends.far):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    assert ends.link.count()["connections"] == 0


@pytest.mark.parametrize("dead", ["near", "far"])
def test_half_open(ends: Ends, dead: str) -> None:
    """One end has gone; the other may send as it likes, and hears nothing."""
    gone, left = (ends.near, ends.far) if dead == "near" else (ends.far, ends.near)

    ends.link.half_open(dead)

    with pytest.raises(ConnectionResetError):
        gone.recv(1)
    left.sendall(b"is anybody there?")
    assert silent(left)


def test_stranded_bytes(ends: Ends) -> None:
    """The sender is reset, a new connection passes at once; the old one's bytes come later."""
    ends.link.hold(OUT)
    ends.near.sendall(b"stranded")
    until(lambda: ends.link.count()["held"][OUT] == 8, PATIENCE_S, "the bytes to be on the way")

    ends.link.strand()

    with pytest.raises(ConnectionResetError):
        ends.near.recv(1)
    with ends.connect() as near:
        near.sendall(b"at once")
        served = iter(ends.accept, None)
        for far in served:
            with far, contextlib.suppress(OSError):
                if read(far, 7) == b"at once":
                    break
    assert silent(ends.far)
    ends.link.heal()
    assert read(ends.far, 100) == b"stranded"


def test_a_target_that_is_not_there(network: Network) -> None:
    """A connect is reset: as near to a refusal as a proxy comes."""
    nobody = f"{HOST}:{ports.reserve()}"
    address = ports.split(network.add("nobody", nobody).addresses[nobody])
    with pytest.raises(ConnectionResetError):  # perhaps before connect has returned
        socket.create_connection(address, PATIENCE_S).recv(1)


@pytest.mark.parametrize("lasting", [False, True])
def test_deafen_cuts_the_subscription_alone(ends: Ends, *, lasting: bool) -> None:
    """The connection that said SUBSCRIBE stands still, others pass; so does what follows it."""
    other_near, other_far = ends.connect(), ends.accept()
    ends.near.sendall(b"SUBSCRIBE inbox\r\n")
    assert ends.far.recv(100) == b"SUBSCRIBE inbox\r\n"
    assert ends.link.deafen(lasting=lasting)["deaf"] == 1

    ends.far.sendall(b"a message")
    other_near.sendall(b"a post")
    assert other_far.recv(100) == b"a post"
    other_far.sendall(b"its answer")
    assert other_near.recv(100) == b"its answer"
    assert silent(ends.near)

    next_near, next_far = ends.connect(), ends.accept()
    next_near.sendall(b"HELLO 3\r\n")
    assert next_far.recv(100) == b"HELLO 3\r\n"
    next_near.sendall(b"SUBSCRIBE inbox\r\n")
    assert silent(next_far) == lasting

    ends.link.heal()
    assert ends.near.recv(100) == b"a message"
    if lasting:
        assert next_far.recv(100) == b"SUBSCRIBE inbox\r\n"
    for sock in (other_near, other_far, next_near, next_far):
        sock.close()


def test_heal_ends_deafness(ends: Ends) -> None:
    """Who subscribes afterwards is heard."""
    ends.link.deafen(lasting=True)
    ends.link.heal()
    ends.near.sendall(b"SUBSCRIBE inbox\r\n")
    assert ends.far.recv(100) == b"SUBSCRIBE inbox\r\n"
