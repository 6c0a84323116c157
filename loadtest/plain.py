"""What a server owes one client of the plain port (PROTOCOL §1), byte for byte.

    client ──sent(line)──▶ replies owed ◀──received(data)── bytes, cut anywhere

No socket, greenlet or clock: `client.py` drives this over a socket, drills and tests
with whatever they have.

Invariants (tests/unit/test_loadtest_plain.py holds them for random streams):
  exact  a line counts as answered when all of its reply has come, and all of it is right;
  cuts   how the bytes were cut changes nothing;
  final  after the first fault nothing counts as answered any more.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

# §4, without those that only the session port says: anything else is a wrong reply,
# which also bounds how many different errors a load's statistics can hold.
CODES = frozenset(
    {
        "bad-request",  # no PROXY v2 header where one is required
        "busy",
        "draining",
        "idle-timeout",
        "internal",
        "line-too-long",
        "slow-consumer",
        "unavailable",
    }
)

# What a server may add to a line (PROTOCOL, before §1). An ERR holds nothing of the
# client's, so this is all of it; without an LF by then it is not an ERR.
ERR_BYTES_MAX = 160
_ERR = re.compile(rb"ERR ([a-z-]+)(?: ([^\n]*))?\n")

# A difference shows so much before and after it: enough to see what went wrong, and
# little enough for a log line.
_SHOWN_BEFORE_BYTES = 16
_SHOWN_AFTER_BYTES = 48


@dataclass(frozen=True, slots=True)
class Difference:
    """The first wrong byte: in the reply to which line, where, and what stands there.

    `line` counts from 1; `at` is the offset in that line's reply, in bytes. `owed` and
    `got` are excerpts around it; an empty `owed` means that no reply was due.
    """

    line: int
    at: int
    owed: bytes
    got: bytes

    def __str__(self) -> str:
        owed = repr(self.owed) if self.owed else "nothing"
        return f"reply {self.line}, byte {self.at}: owed {owed}, got {self.got!r}"


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """The server's `ERR <code> <text>` (§4) in place of a reply; it closes after it."""

    code: str
    text: str


class Replies:
    """Tells right replies from wrong ones, for one connection.

    Attributes:
        fault: None while all is right, else what came first: a `Difference`, or the
            server's `ErrorLine`.

    Memory: the replies to the lines in flight; whoever sends bounds those.
    """

    __slots__ = ("_lines", "_owed", "_previous", "_right", "_stray", "_tail", "fault")

    def __init__(self) -> None:
        self.fault: Difference | ErrorLine | None = None
        self._previous = b""
        self._tail = False
        self._lines = 0  # answered
        self._owed: deque[bytes] = deque()
        self._right = 0  # bytes of _owed[0] that came
        self._stray = b""  # since the last whole reply, once a byte is not the owed one

    @property
    def owing(self) -> int:
        """Lines not answered yet."""
        return len(self._owed)

    @property
    def begun(self) -> bool:
        """Whether a part of a reply, or of an ERR, has come."""
        return self._right > 0 or bool(self._stray)

    def sent(self, line: bytes) -> None:
        """Note a line that goes out: its reply is the previous line and this one (§1.1).

        A line ends with its LF. One without is the tail of a half-closed connection
        (§1.4), and the last.

        Raises:
            ValueError: for what is not one line, or comes after the tail.
        """
        if self._tail or not line or line.find(b"\n", 0, -1) >= 0:
            raise ValueError(f"not a line that can be sent now: {line[:80]!r}")
        self._tail = not line.endswith(b"\n")
        self._owed.append(self._previous + line)
        self._previous = line

    def received(self, data: bytes) -> int:
        """Take bytes from the server, cut anywhere; return how many lines they answered.

        Look at `fault` afterwards: what came after the last right reply may be wrong.
        """
        if self._stray or self.fault is not None:
            self._judge(data)
            return 0
        before, start = self._lines, 0
        while start < len(data):
            owed = self._owed[0] if self._owed else b""
            part = data[start : start + len(owed) - self._right]
            if not part or not owed.startswith(part, self._right):
                self._judge(owed[: self._right] + data[start:])
                break
            start += len(part)
            self._right += len(part)
            if self._right == len(owed):
                self._owed.popleft()
                self._right = 0
                self._lines += 1
        return self._lines - before

    def _judge(self, data: bytes) -> None:
        """Decide whether what stands in place of a reply is an ERR: only all of it tells.

        An ERR stands between replies, never within one, so it is told from an echo of
        the same first bytes by the reply that was owed (§1.5).
        """
        if self.fault is not None:
            return
        stray = self._stray = self._stray + data
        if (match := _ERR.match(stray, 0, ERR_BYTES_MAX)) and match[1].decode() in CODES:
            text = (match[2] or b"").decode("ascii", "backslashreplace")
            self.fault = ErrorLine(match[1].decode(), text)
        elif len(stray) >= ERR_BYTES_MAX or b"\n" in stray or not b"ERR ".startswith(stray[:4]):
            self.fault = self._difference(stray)

    def _difference(self, got: bytes) -> Difference:
        owed = self._owed[0] if self._owed else b""
        pairs = zip(owed, got, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(owed), len(got)))
        shown = slice(max(0, at - _SHOWN_BEFORE_BYTES), at + _SHOWN_AFTER_BYTES)
        return Difference(self._lines + 1, at, owed[shown], got[shown])
