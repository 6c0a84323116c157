"""Which of several entrances a client tries next: pure logic; `sockets.py` connects.

    addresses ──▶ choose ──▶ connect ──▶ served      it serves: forget that it failed
                    ▲                └─▶ failed      leave it alone for a while
                    └────────────────────────┘

An entrance is an address where the fleet can be reached: a HAProxy, one of the addresses
behind a DNS name, or a daemon. Each reaches every session (PROTOCOL §2.1: *on whichever daemon
answers*), so a client may take any. It takes one at random of those that it does not know to
be dead. One that fails is left alone for `AWAY_S_FIRST`, then twice as long, up to
`AWAY_S_MAX`. After that it is one among the others again, for one connection: if it fails once
more, only that connection has waited for it. So of three entrances of which one is dead, a
client waits for the dead one once, then seldom, and never twice in a row.

The clients of a process may share an `Entrances`, from any greenlet or thread: then the first
that finds a dead entrance spares the others the wait.

Invariants (tests/unit/test_loadtest_entrances.py holds them for random histories):
  live    one that is left alone is chosen only where no other is known to be better;
  seldom  between two tries of a dead one are at least `AWAY_S_FIRST`, unless all are dead;
  back    none is left alone for longer than `AWAY_S_MAX`;
  spread  those that live are chosen equally often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loadtest.errors import ClientError, ConnectFailed, EarlyClose, ReplyTimeout, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

Address = tuple[str, int]
"""Host and port; the host is a name or a number."""

# Given, or behind names. A machine each is as many as any fleet of this kind has; what is kept
# of each is two numbers.
ENTRANCES_MAX: Final = 64
# A HAProxy that is restarted is back within a second or two.
AWAY_S_FIRST: Final = 2.0
# A machine that is back has its share of the new connections a minute later. A dead one costs a
# process one connect timeout (1 s) a minute.
AWAY_S_MAX: Final = 60.0

# The network's word that nobody is there any more (TCP_USER_TIMEOUT, keepalive, ICMP). A
# connection that ended or was reset is no such word: a daemon's death looks like that, behind an
# entrance that lives.
_UNREACHABLE: Final = frozenset(
    {"ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN"}
)
# §4: who says this to a newcomer is to be left for another.
_ELSEWHERE: Final = frozenset({"busy", "draining"})


def parse(text: str) -> list[Address]:
    """`host:port`, or several, separated by commas; a host of IPv6 is in brackets.

    Raises:
        ValueError: with the form that it must have.
    """
    found = [_parse_one(part.strip()) for part in text.split(",")]
    if len(found) > ENTRANCES_MAX:
        raise ValueError(f"{text[:80]} …: {len(found)} addresses, at most {ENTRANCES_MAX}")
    return found


def _parse_one(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:  # noqa: PLR2004 — ports
        raise ValueError(f"{text}: must be HOST:PORT, or several, separated by commas")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class _Away:
    """An entrance that has failed.

    Attributes:
        failures: in a row; those of connections that were under way together count once.
        due_s: not before then is it tried again.
        tried: somebody tries it now.
    """

    failures: int
    due_s: float
    tried: bool = False


class Entrances:
    """See the module. The caller passes the time, of one monotonic clock, and the randomness.

    Attributes:
        addresses: as given, each once.

    Args:
        addresses: 1 to `ENTRANCES_MAX`.

    Raises:
        ValueError: for none, or too many.
    """

    __slots__ = ("_away", "addresses")

    def __init__(self, *addresses: Address) -> None:
        self.addresses = tuple(dict.fromkeys(addresses))
        if not 1 <= len(self.addresses) <= ENTRANCES_MAX:
            raise ValueError(f"{len(addresses)} addresses: 1 to {ENTRANCES_MAX}")
        self._away: dict[Address, _Away] = {}

    def choose(
        self,
        now_s: float,
        random: Random,
        *,
        known: Sequence[Address] = (),
        last: Address | None = None,
    ) -> Address:
        """The entrance to try now.

        Args:
            now_s: by the caller's clock.
            random: the caller's.
            known: what to choose from, where names were resolved; `addresses` by default.
            last: the caller was there, and something ended it: another is better.
        """
        known = known or self.addresses
        self._forget(known)
        live = [one for one in known if self._due_s(one) <= now_s]
        better = [one for one in live if one != last] or live
        if not better:
            # All are dead, as far as is known: the one that was not tried for the longest time.
            chosen = min(known, key=self._due_s)
        else:
            chosen = random.choice(better) if len(better) > 1 else better[0]
        away = self._away.get(chosen)
        if away is not None:
            # While this caller tries it, no other does.
            self._away[chosen] = _Away(away.failures, now_s + _away_s(away.failures), tried=True)
        return chosen

    def others(self, address: Address, *, known: Sequence[Address] = ()) -> bool:
        """Whether there is an entrance beside this one that has not failed."""
        return any(one != address and one not in self._away for one in known or self.addresses)

    def failed(self, address: Address, now_s: float) -> None:
        """There was no service at this entrance."""
        away = self._away.get(address)
        if away is not None and not away.tried:
            return  # connections that were under way together: one failure
        failures = away.failures + 1 if away else 1
        self._away[address] = _Away(failures, now_s + _away_s(failures))

    def served(self, address: Address) -> None:
        """A server answered through this entrance."""
        if address in self._away:  # nearly never: a look costs less than a deletion
            self._away.pop(address, None)

    def _due_s(self, address: Address) -> float:
        away = self._away.get(address)
        return away.due_s if away else -1.0

    def _forget(self, known: Sequence[Address]) -> None:
        """What a name stood for earlier; names of a cluster get new addresses all the time."""
        if len(self._away) > ENTRANCES_MAX:
            self._away = {one: away for one, away in self._away.items() if one in known}


def _away_s(failures: int) -> float:
    # 2 ** 30 is far above the maximum.
    return min(AWAY_S_MAX, AWAY_S_FIRST * 2.0 ** min(failures - 1, 30))


def blames(error: ClientError, *, served: bool) -> bool:
    """Whether an entrance is to be left alone for this end of a connection.

    `served`: a server had answered on that connection. Then its end is the entrance's only
    where the network says so, or nobody says anything: behind a HAProxy that lives, a dead
    daemon's connections end, and a frozen one's too (docs/adr/0005).
    """
    if isinstance(error, ConnectFailed | ReplyTimeout):
        return True
    if isinstance(error, EarlyClose):
        return not served or error.kind in _UNREACHABLE
    return isinstance(error, ServerError) and not served and error.kind in _ELSEWHERE
