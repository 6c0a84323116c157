"""What waits for clients to act, and one bound for all of it together.

    push ──add──▶ Outbox ──head──▶ socket        a piece is shared by all who were sent it
                    │ hold, release
    line begun ─────┴─keep──▶ Unsent             one sum; above `bytes_max`: `shed`

`outbox_bytes_max` bounds one client and is multiplied by their number, so there is a sum over
all of them as well (docs/adr/0012). Only clients can make it smaller, by taking what they were
sent or ending the line that they have begun: when it is too large, who has most waiting is
closed, down to `LOW`, so that looking at all clients is paid for by what has to wait before
they are looked at again.

What is counted is memory, the kernel's too: a post that a thousand members have not taken is
one piece, and behind each outbox is a full send buffer.

No socket and no loop: `defer` runs something after the current turn.

Invariants (tests/unit/test_unsent.py holds them for random schedules):
  sum     `Unsent.bytes` is what all outboxes and lines hold, a piece once, and 0 at the end;
  order   an outbox hands out the bytes that were added, in order, each once;
  bound   after `shed` the sum is below `LOW` of its bound.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Offered to the kernel at once: as much as its buffer for a client can take.
HEAD_BYTES: Final = 65_536
# Counted for each piece and each of its holders beside the bytes: objects and places of them.
# Without it, pieces of a byte each would cost many times their sum.
PIECE_BYTES: Final = 128
HOLDER_BYTES: Final = 16
# What SO_SNDBUF is told, the kernel allows twice, for what stands around the bytes (socket(7)).
KERNEL_DOUBLES: Final = 2
# Of the bound: so much is left when clients were closed for it, …
LOW: Final = 0.5
# … and above so much nobody is sent what he missed, which can wait in the store: it would fill
# what was just made free.
CROWDED: Final = 0.75


class Client(Protocol):
    """Who has something waiting."""

    def waiting_bytes(self) -> int:
        """How much, as if it were shared with nobody."""

    def shed(self) -> None:
        """Be closed: it is furthest behind."""


class Unsent:
    """The sum; see the module.

    Attributes:
        bytes: what waits for clients, with `PIECE_BYTES` and `HOLDER_BYTES`.
        behind_bytes: the kernel's, for each client that has an outbox.
        shed_count: clients closed for the sum.
    """

    __slots__ = (
        "_clients", "_defer", "_holders", "_shedding", "behind_bytes", "bytes", "bytes_max",
        "shed_count",
    )  # fmt: skip

    def __init__(
        self,
        bytes_max: int,
        behind_bytes: int,
        defer: Callable[[Callable[[], None]], object],
        clients: Callable[[], Iterable[Client]],
    ) -> None:
        """`clients` says who may have something waiting."""
        self.bytes = 0
        self.bytes_max = bytes_max
        self.behind_bytes = behind_bytes
        self._clients = clients
        self.shed_count = 0
        self._defer = defer
        self._holders: dict[int, int] = {}
        self._shedding = False

    @property
    def crowded(self) -> bool:
        """Whether what can wait elsewhere should."""
        return self.bytes > CROWDED * self.bytes_max

    def keep(self, more: int) -> None:
        """So many bytes more, or fewer, wait for one client."""
        self.bytes += more
        if self.bytes > self.bytes_max and not self._shedding:
            # Not at once: whoever sends may be in the middle of something with another client.
            self._shedding = True
            self._defer(self.shed)

    def hold(self, piece: bytes) -> None:
        """One outbox more has `piece`."""
        holders = self._holders.get(id(piece), 0)
        self._holders[id(piece)] = holders + 1
        self.keep(HOLDER_BYTES if holders else HOLDER_BYTES + PIECE_BYTES + len(piece))

    def release(self, piece: bytes) -> None:
        """One outbox fewer has it."""
        holders = self._holders[id(piece)] - 1
        if holders:
            self._holders[id(piece)] = holders
            self.bytes -= HOLDER_BYTES
        else:
            del self._holders[id(piece)]
            self.bytes -= HOLDER_BYTES + PIECE_BYTES + len(piece)

    def shed(self) -> None:
        """Close those who have most waiting, until the sum is below `LOW`."""
        self._shedding = False
        if self.bytes <= self.bytes_max:
            return
        behind = [client for client in self._clients() if client.waiting_bytes()]
        behind.sort(key=lambda client: client.waiting_bytes(), reverse=True)
        for client in behind:
            if self.bytes <= LOW * self.bytes_max:
                return
            client.shed()
            self.shed_count += 1


class Outbox:
    """What one client has not taken; made when its kernel takes no more, until `drop`.

    Attributes:
        size: bytes.
    """

    __slots__ = ("_all", "_pieces", "_taken", "size")

    def __init__(self, unsent: Unsent) -> None:
        self.size = 0
        self._all = unsent
        self._pieces: deque[bytes] = deque()
        self._taken = 0  # of the first piece
        unsent.keep(unsent.behind_bytes)

    def add(self, piece: bytes) -> None:
        """Put `piece` behind what waits already; it is kept, not copied."""
        self.size += len(piece)
        self._pieces.append(piece)
        self._all.hold(piece)

    def head(self) -> bytes | memoryview:
        """What to send next: at most `HEAD_BYTES`, or one piece."""
        pieces = self._pieces
        if len(pieces) == 1 or len(pieces[0]) >= HEAD_BYTES:
            return memoryview(pieces[0])[self._taken :]
        parts: list[bytes] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > HEAD_BYTES and parts:
                break
            parts.append(piece)
        return memoryview(b"".join(parts))[self._taken :]

    def take(self, count: int) -> None:
        """The client has taken so many bytes of `head`."""
        self.size -= count
        count += self._taken
        pieces = self._pieces
        while pieces and count >= len(pieces[0]):
            count -= len(pieces[0])
            self._all.release(pieces.popleft())
        self._taken = count

    def drop(self) -> None:
        """The client has taken all, or has gone."""
        for piece in self._pieces:
            self._all.release(piece)
        self._pieces.clear()
        self.size = 0
        self._all.keep(-self._all.behind_bytes)
