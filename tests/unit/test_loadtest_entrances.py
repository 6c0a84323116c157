"""Which entrance a client tries: those that live, equally often; a dead one seldom, and again."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.entrances import (
    AWAY_S_FIRST,
    AWAY_S_MAX,
    ENTRANCES_MAX,
    Address,
    Entrances,
    blames,
    parse,
)
from loadtest.errors import (
    ClientError,
    ConnectFailed,
    EarlyClose,
    ReplyTimeout,
    RolledBack,
    ServerError,
    SessionLost,
    WrongReply,
)

THREE: tuple[Address, ...] = tuple((f"10.0.0.{n}", 1235) for n in (1, 2, 3))


@dataclass
class World:
    """Entrances that die and come back, and clients who share what they know of them."""

    entrances: Entrances
    dead: set[Address] = field(default_factory=set)
    now_s: float = 1_000.0
    tries: list[tuple[float, Address]] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def try_one(self, last: Address | None = None) -> Address:
        """One attempt, which ends at once."""
        chosen = self.entrances.choose(self.now_s, self.chance, last=last)
        self.tries.append((self.now_s, chosen))
        if chosen in self.dead:
            self.entrances.failed(chosen, self.now_s)
        else:
            self.entrances.served(chosen)
        return chosen

    def connect(self) -> int:
        """Attempts until one serves."""
        attempts = 1
        while self.try_one() in self.dead:
            attempts += 1
        return attempts


@given(
    st.integers(1, 5),
    st.integers(0, 1_000_000),
    st.lists(
        st.tuples(
            st.sampled_from(["die", "live", "try", "leave", "wait"]),
            st.integers(0, 4),
            st.floats(0, 2 * AWAY_S_MAX),
        ),
        max_size=60,
    ),
)
def test_whatever_happens(count: int, seed: int, history: list[tuple[str, int, float]]) -> None:
    """The module's `live`, `seldom` and `back`, against a model that knows the failures."""
    addresses = [(f"h{n}", n + 1) for n in range(count)]
    world = World(Entrances(*addresses), chance=random.Random(seed))
    # Of each that failed and has not served since: when it was tried the last time.
    failed: dict[Address, float] = {}
    for what, number, wait_s in history:
        address = addresses[number % count]
        if what == "die":
            world.dead.add(address)
        elif what == "live":
            world.dead.discard(address)
        elif what == "wait":
            world.now_s += wait_s
        else:
            last = address if what == "leave" else None
            chosen = world.try_one(last)
            good = [one for one in addresses if one not in failed]
            if chosen in failed:
                assert world.now_s - failed[chosen] >= AWAY_S_FIRST or not good
            if chosen == last:
                assert not [one for one in good if one != last]
            failed.pop(chosen, None)
            if chosen in world.dead:
                failed[chosen] = world.now_s
    # Whatever it was, all are tried again once they live.
    world.dead.clear()
    world.now_s += AWAY_S_MAX
    assert {world.try_one() for _ in range(200)} == set(addresses)


@settings(max_examples=30)
@given(st.integers(0, 1_000_000), st.floats(0.5, 30))
def test_a_dead_one_of_three_costs_one_timeout_and_then_seldom_one(
    seed: int, every_s: float
) -> None:
    """In an hour of connects: one connect never waits twice, and tries are ever further apart."""
    world = World(Entrances(*THREE), dead={THREE[0]}, chance=random.Random(seed))
    begin_s = world.now_s
    while world.now_s < begin_s + 3_600:
        assert world.connect() <= 2
        world.now_s += every_s
    tries = [at_s for at_s, one in world.tries if one == THREE[0]]
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert all(gap >= min(AWAY_S_MAX, AWAY_S_FIRST * 2**n) for n, gap in enumerate(gaps))
    assert len(tries) <= 3_600 / AWAY_S_MAX + 6


@settings(max_examples=20)
@given(st.integers(0, 1_000_000))
def test_those_that_live_have_equal_shares_and_who_is_back_gets_its_own(seed: int) -> None:
    """3,000 connects over an outage: halves while it lasts, thirds once it is over."""
    world = World(Entrances(*THREE), chance=random.Random(seed))
    for dead, share in (((), 1 / 3), (THREE[:1], 1 / 2), ((), 1 / 3)):
        world.dead = set(dead)
        world.connect()
        world.now_s += AWAY_S_MAX
        for _ in range(30):  # who is back is found by one of the first
            world.connect()
        world.tries.clear()
        for _ in range(3_000):
            world.connect()
        counts = Counter(one for _, one in world.tries if one not in world.dead)
        for one in THREE:
            assert abs(counts[one] / 3_000 - (0 if one in dead else share)) < 0.06


def test_one_connection_tries_a_dead_one_while_others_go_elsewhere() -> None:
    """Its time has come: the first that chooses it claims it, until that one says how it went."""
    entrances, chance = Entrances(*THREE[:2]), random.Random(1)
    entrances.failed(THREE[0], 0.0)
    now_s = AWAY_S_FIRST
    chosen = [entrances.choose(now_s, chance) for _ in range(100)]
    assert chosen.count(THREE[0]) == 1
    entrances.served(THREE[0])
    assert {entrances.choose(now_s, chance) for _ in range(100)} == set(THREE[:2])


def test_connections_that_fail_together_are_one_failure() -> None:
    """A thousand cut at one moment leave an entrance alone no longer than one does."""
    entrances, chance = Entrances(*THREE), random.Random(1)
    for _ in range(1_000):
        entrances.failed(THREE[0], 0.0)
    seen = [entrances.choose(AWAY_S_FIRST, chance) for _ in range(100)]
    assert THREE[0] in seen


def test_all_dead_are_tried_in_turn() -> None:
    """None is forgotten, however long it lasts."""
    world = World(Entrances(*THREE), dead=set(THREE))
    for _ in range(3_000):
        world.try_one()
        world.now_s += 0.1
    for at in range(0, 2_990, 10):
        seen = {one for _, one in world.tries[at : at + 10]}
        assert seen == set(THREE)


def test_who_was_left_is_not_tried_again_while_another_lives() -> None:
    """`last`, a reason beside death: a drain, an end of the stream."""
    entrances, chance = Entrances(*THREE), random.Random(1)
    for last in THREE:
        assert all(entrances.choose(0.0, chance, last=last) != last for _ in range(50))
    assert Entrances(THREE[0]).choose(0.0, chance, last=THREE[0]) == THREE[0]


def test_others() -> None:
    """Whether it is worth while to go elsewhere at once."""
    entrances = Entrances(*THREE[:2])
    assert entrances.others(THREE[0])
    entrances.failed(THREE[1], 0.0)
    assert not entrances.others(THREE[0])
    assert entrances.others(THREE[0], known=THREE)
    assert not Entrances(THREE[0]).others(THREE[0])


def test_what_names_stood_for_is_forgotten() -> None:
    """A name gets new addresses for ever; what is known stays bounded."""
    entrances, chance = Entrances(("fleet", 1235)), random.Random(1)
    for n in range(10 * ENTRANCES_MAX):
        known = [(f"10.1.{n // 250}.{n % 250}", 1235)]
        entrances.failed(entrances.choose(float(n), chance, known=known), float(n))
    assert len(entrances._away) <= ENTRANCES_MAX + 1  # noqa: SLF001 — what must stay bounded


@pytest.mark.parametrize("count", [0, ENTRANCES_MAX + 1])
def test_how_many(count: int) -> None:
    """None, or too many, are a mistake."""
    with pytest.raises(ValueError, match=f"^{count} addresses"):
        Entrances(*((f"h{n}", 1) for n in range(count)))


@pytest.mark.parametrize(
    "text, found",
    [
        ("a:1", [("a", 1)]),
        ("a:1, b.c:65535", [("a", 1), ("b.c", 65_535)]),
        ("[::1]:1235,127.0.0.1:1235", [("::1", 1235), ("127.0.0.1", 1235)]),
    ],
)
def test_parse(text: str, found: list[Address]) -> None:
    """One, or several."""
    assert parse(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:1,", "::1:1", "a:\N{SUPERSCRIPT TWO}"],
)
def test_what_is_no_address(text: str) -> None:
    """The words say the form."""
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        parse(text)


def test_too_many_addresses() -> None:
    """At once, and not when the last is tried."""
    with pytest.raises(ValueError, match="65 addresses, at most 64"):
        parse(",".join(f"h:{n}" for n in range(1, ENTRANCES_MAX + 2)))


@pytest.mark.parametrize(
    "error, before, after",
    [
        (ConnectFailed("ECONNREFUSED"), True, True),
        (ReplyTimeout("silence"), True, True),
        (EarlyClose("ETIMEDOUT"), True, True),
        (EarlyClose("EHOSTUNREACH"), True, True),
        # A HAProxy without daemons; once it has served, a daemon that died behind it.
        (EarlyClose("end of stream"), True, False),
        (EarlyClose("ECONNRESET"), True, False),
        (ServerError("busy"), True, False),
        (ServerError("draining"), True, False),
        (ServerError("unavailable"), False, False),
        (ServerError("taken-over"), False, False),
        (WrongReply("not the bytes owed"), False, False),
        (SessionLost("unknown-session"), False, False),
        (RolledBack(3), False, False),
    ],
    ids=repr,
)
def test_whose_fault_it_is(error: ClientError, *, before: bool, after: bool) -> None:
    """Before and after a server has answered through the entrance."""
    assert blames(error, served=False) == before
    assert blames(error, served=True) == after
