"""`echod.limits.sources`: the rate of a source, whose turn it is, and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.limits.sources import PURSE_S, Source, Sources, key_of

RATE = 1_000
RECEIVE = 160
TICK_S = 0.1


class Client:
    """As a connection: receives what has come of it, unless its source may send no more."""

    def __init__(self, sources: Sources, peer: str, now_s: float) -> None:
        self.sources = sources
        self.source: Source = sources.join(peer, now_s)
        self.now_s = now_s
        self.sent = 0  # and not yet read
        self.read: list[tuple[float, int]] = []
        self.turns = 0

    def ready(self) -> bool:
        """Whether the loop has something to tell it: it does not wait for its turn."""
        return self.sent > 0 and self not in (self.source.waiting or ())

    def readable(self) -> None:
        """Receive once."""
        if self.source.left <= 0 and not self.sources.admits(self.source, self.now_s):
            self.sources.wait(self.source, self, self.now_s)
            return
        size = min(self.sent, RECEIVE)
        self.sent -= size
        self.source.left -= size
        self.read.append((self.now_s, size))

    def read_on(self) -> None:
        """See `Receiver`."""
        self.turns += 1
        self.readable()

    def leave(self) -> None:
        """Close."""
        self.sources.part(self.source, self, self.now_s)


class Loop:
    """As a daemon: time passes, and whoever can be read is told so."""

    def __init__(self, connections: int) -> None:
        self.sources = Sources(RATE)
        self.now_s = 0.0
        self.clients = [self._client() for _ in range(connections)]
        self.gone: list[Client] = []

    def _client(self) -> Client:
        return Client(self.sources, "192.0.2.1:1", self.now_s)

    def tick(self) -> None:
        """A tenth of a second later."""
        self.now_s += TICK_S
        for client in self.clients:
            client.now_s = self.now_s
        self.sources.turn(self.now_s)

    def serve(self) -> None:
        """All that can be read now."""
        while ready := [client for client in self.clients if client.ready()]:
            for client in ready:
                client.readable()

    def come_anew(self, number: int) -> None:
        """A client leaves and is back."""
        self.clients[number].leave()
        self.gone.append(self.clients[number])
        self.clients[number] = self._client()

    def read(self) -> list[tuple[float, int]]:
        """All that was received, by time."""
        return sorted(entry for client in (*self.clients, *self.gone) for entry in client.read)


# How many ticks pass, and then: which client sends how much, or leaves and comes anew.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from((1, 1, 1, 7, 40)),
        st.lists(
            st.tuples(
                st.integers(0, 5), st.sampled_from(("send", "send", "again")), st.integers(1, 900)
            ),
            max_size=8,
        ),
    ),
    max_size=40,
)


@given(EVENTS)
def test_the_rate(events: list[tuple[int, list[tuple[int, str, int]]]]) -> None:
    """In any time a source is read its rate and a second's worth more, and one receive.

    However many connections it has, and though it comes anew again and again.
    """
    loop = Loop(6)
    for ticks, what in events:
        for _ in range(ticks):
            loop.tick()
        for number, event, size in what:
            if event == "again":
                loop.come_anew(number)
            loop.clients[number].sent += size
        loop.serve()
        if ticks > 1:
            loop.sources.sweep(loop.now_s)
    read = loop.read()
    for first, (begin_s, _) in enumerate(read):
        had = 0
        for at_s, size in read[first:]:
            had += size
            assert had <= RATE * (at_s - begin_s + 1) + RECEIVE


@given(st.lists(st.integers(0, 900), min_size=1, max_size=6))
def test_in_the_end(sizes: list[int]) -> None:
    """What was sent is read in its time, and when all have gone nothing is remembered."""
    loop = Loop(len(sizes))
    for client, size in zip(loop.clients, sizes, strict=True):
        client.sent = size
    loop.serve()
    for _ in range(int(sum(sizes) / (RATE * TICK_S)) + 1):
        loop.tick()
        loop.serve()
    assert sum(client.sent for client in loop.clients) == 0
    for client in loop.clients:
        client.leave()
    loop.sources.sweep(loop.now_s + 2 * PURSE_S)
    assert (len(loop.sources), loop.sources.held, loop.sources.waiting) == (0, 0, 0)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(1, 40))
def test_in_turn(sizes: list[int], connections: int) -> None:
    """The oldest of those who wait is read on, once a turn; the others keep their places."""
    sources = Sources(RATE)
    clients = [Client(sources, "192.0.2.1:1", 0.0) for _ in range(connections)]
    source = clients[0].source
    source.left = 0.0
    turns = [0] * connections
    for tick in range(1, 30):
        for number, client in enumerate(clients):
            client.sent = sizes[(tick + number) % len(sizes)]
            if client not in (source.waiting or ()):
                client.readable()
        before = list(source.waiting or ())
        for client in clients:
            client.now_s = tick * TICK_S
        sources.turn(tick * TICK_S)
        after = list(source.waiting or ())
        called = [number for number, client in enumerate(clients) if client.turns != turns[number]]
        turns = [client.turns for client in clients]
        assert {clients[number] for number in called} == set(before[: len(called)])
        assert after[: len(before) - len(called)] == before[len(called) :]
        assert source.left <= 0 or not after


def test_a_newcomer_is_not_before_those_who_wait() -> None:
    """A connection that comes while others of its source wait is behind them."""
    sources = Sources(RATE)
    old = Client(sources, "192.0.2.1:1", 0.0)
    old.source.left = -10.0
    old.sent = 10 * RECEIVE
    old.readable()
    new = Client(sources, "192.0.2.1:2", 0.2)
    new.sent = RECEIVE
    new.readable()
    assert (old.read, new.read) == ([], [])
    old.now_s = new.now_s = 0.2
    sources.turn(0.2)
    assert old.read == [(0.2, RECEIVE)]
    assert new.turns == 1
    assert new.read == [(0.2, RECEIVE)]


def test_waiting_is_counted() -> None:
    """How often, how long, and who waits now; asked twice is once."""
    sources = Sources(RATE)
    client = Client(sources, "192.0.2.1:1", 0.0)
    client.source.left = 0.0
    client.readable()
    client.readable()
    assert (sources.pauses, sources.held, sources.waiting) == (1, 1, 1)
    sources.turn(0.5)
    assert (sources.pauses, sources.held, sources.waiting) == (1, 0, 0)
    assert sources.waited_s == 0.5


def test_who_leaves_while_waiting_waits_no_more() -> None:
    """It is not called, and the source is not held."""
    sources = Sources(RATE)
    client = Client(sources, "192.0.2.1:1", 0.0)
    client.source.left = 0.0
    client.readable()
    client.leave()
    assert (sources.held, sources.waiting) == (0, 0)
    sources.turn(1.0)
    assert client.turns == 0


def test_a_debt_is_found_again() -> None:
    """A source that comes again has what it left, and is a new one when all is paid."""
    sources = Sources(RATE)
    client = Client(sources, "192.0.2.1:1", 0.0)
    client.source.left = -100.0
    client.leave()
    sources.sweep(0.3)
    assert Client(sources, "192.0.2.1:9", 0.3).source is client.source
    client.leave()
    sources.sweep(0.6)  # 100 and half a second's worth are paid
    assert len(sources) == 0


def test_one_does_not_wait_for_another() -> None:
    """A source in debt costs no other anything."""
    sources = Sources(RATE)
    full = Client(sources, "192.0.2.1:1", 0.0)
    full.source.left = 0.0
    full.readable()
    other = Client(sources, "192.0.2.2:1", 0.0)
    other.sent = RECEIVE
    other.readable()
    assert other.read == [(0.0, RECEIVE)]


@pytest.mark.parametrize(
    "peer,key",
    [
        ("192.0.2.9:12345", "192.0.2.9"),
        ("[2001:db8:1:2:3:4:5:6]:12345", "20010db800010002::"),
        ("[2001:db8:1:2::9]:1", "20010db800010002::"),
        ("[2001:db8:1:3::9]:1", "20010db800010003::"),
        ("[::ffff:192.0.2.9]:12345", "192.0.2.9"),
        ("[fe80::1%eth0]:1", "fe80000000000000::"),
        ("", ""),
    ],
)
def test_what_a_source_is(peer: str, key: str) -> None:
    """An IPv4 address, IPv6's /64, and one for all of whom nobody says where they are."""
    assert key_of(peer) == key
