"""What a server may say on one connection of the session port (PROTOCOL §2 to §4), line by line.

    client ──sent(request)──▶ replies owed ◀──received(data)── bytes, cut anywhere ──▶ events

No socket, greenlet or clock: `session_client.py` drives this over a socket. It knows the
session only from this connection; what a client knows from earlier ones is held against
WELCOME in `session_memory.py`.

Invariants (tests/unit/test_loadtest_session.py holds them for random dialogues):
  exact  an event is made of whole lines that may stand where they do;
  cuts   how the bytes were cut changes nothing;
  final  after the first `Difference` there are no events any more.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loadtest import session_events as events
from loadtest.session_requests import (
    LINE_BYTES_MAX,
    Echo,
    Hello,
    Join,
    Part,
    Ping,
    Quit,
    Say,
    Tell,
    Who,
    encode,
)
from loadtest.session_rooms import Rooms

if TYPE_CHECKING:
    from loadtest.session_events import ErrorLine, Event, Welcome
    from loadtest.session_requests import Request

# What a server may add to a client's line (PROTOCOL, before §1).
ADDED_BYTES_MAX: Final = 160

# Of a wrong line so much is shown: enough to see what it is, little enough for a log line.
_SHOWN_BYTES = 80
# `WELCOME <name>`: before the session is open no more is shown, since what follows could
# be a secret, however wrong the line is. Later only what looks like a token is hidden.
_SHOWN_OPENING_BYTES = 18
_SECRET = re.compile(rb"([a-z2-7]{10})\.[!-~]+")

# §4: what a server says, and closes, before the client has said anything.
_AT_ACCEPT = frozenset(
    {"busy", "draining", "idle-timeout", "internal", "rolled-back", "unavailable"}
)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first line of the server that may not stand where it does.

    `line` counts the server's from 1; `owed` says in words what could have stood there,
    `got` is an excerpt.
    """

    line: int
    owed: str
    got: bytes

    def __str__(self) -> str:
        return f"line {self.line}: owed {self.owed}, got {self.got!r}"


class _Wrong(Exception):  # noqa: N818 — caught in this file
    """A line that may not stand where it does; the argument says what was owed."""


class Dialogue:
    """Tells right lines from wrong ones, for one connection.

    Attributes:
        fault: None while all is right, else the first `Difference`.
        over: whether the server has said the last it may: BYE, or an ERR that closes.

    Memory: the requests in flight and the rooms joined, which whoever sends bounds, and
    one line of the server.
    """

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX, *, rooms: type[Rooms] = Rooms) -> None:
        self.fault: Difference | None = None
        self.over = False
        self._line_bytes_max = line_bytes_max + ADDED_BYTES_MAX
        self._due: deque[Request] = deque()
        self._begun = False  # by the client
        self._open = False  # WELCOME has come
        self._rest = b""  # of a line that has not ended
        self._lines = 0
        # As the server must have it; `previous` is None where only earlier connections know.
        self._seq = 0
        self._last: bytes | None = None
        self._previous: bytes | None = None
        # A reply of two lines whose first has come: WELCOME, or the text of PREV.
        self._welcome: Welcome | None = None
        self._prev: bytes | None = None
        self._rooms = rooms()

    @property
    def owing(self) -> int:
        """Requests not answered yet."""
        return len(self._due)

    @property
    def begun(self) -> bool:
        """Whether a part of a line, or of a reply, has come."""
        return bool(self._rest) or self._prev is not None or self._welcome is not None

    def sent(self, request: Request) -> bytes:
        """Note a request that goes out, and return its line.

        Raises:
            ValueError: where HELLO is not the first and only, after QUIT, or for what
                `encode` refuses; nothing is noted then.
        """
        if isinstance(request, Hello) == self._begun:
            raise ValueError("HELLO comes first, and once")
        if self._due and isinstance(self._due[-1], Quit):
            raise ValueError("nothing comes after QUIT")
        line = encode(request)
        self._begun = True
        self._due.append(request)
        return line

    def received(self, data: bytes) -> list[Event]:
        """Take bytes from the server; return what they say. Look at `fault` afterwards."""
        said: list[Event] = []
        if self.fault is not None:
            return said
        *lines, self._rest = (self._rest + data).split(b"\n")
        line = b""
        try:
            for line in lines:
                self._lines += 1
                self._admit(line)
                event = self._take(line)
                if event is not None:
                    said.append(event)
            if self._rest:
                line = self._rest
                self._lines += 1
                self._admit(line)
                self._lines -= 1
        except _Wrong as wrong:
            self.fault = Difference(self._lines, str(wrong), self._shown(line))
        return said

    def _admit(self, line: bytes) -> None:
        """Refuse what needs no look at its words; `line` may be a beginning."""
        if self.over:
            raise _Wrong("nothing more")
        if len(line) >= self._line_bytes_max:
            raise _Wrong("a shorter line")

    def _take(self, line: bytes) -> Event | None:
        """One line without its LF: the event that it completes, None if it does not yet."""
        head = self._due[0] if self._due else None
        if self._welcome is not None:
            return self._end_welcome(self._welcome, line)
        if self._open and isinstance(head, Echo) and line[:5] in (b"PREV ", b"ECHO "):
            return self._echo(head, line)
        verb, words = events.words(line) or (b"", ())
        if self._prev is not None or not verb:
            raise _Wrong(self._owed(head))
        if verb == b"ERR":
            return self._error(head, words)
        if isinstance(head, Hello) and verb == b"WELCOME":
            return self._begin_welcome(head, words)
        event = self._unasked(verb, words) or (self._reply(head, verb, words) if head else None)
        if event is None:
            raise _Wrong(self._owed(head))
        return event

    # §2.1: opening.

    def _begin_welcome(self, head: Hello, words: tuple[bytes, ...]) -> Event | None:
        """WELCOME is an event with its PREV, or at once where seq is 0."""
        token, epoch, seq, ttl_s = words[0], *map(int, words[1:])
        if head.token:
            right = token == head.token and epoch > 1 and seq >= (head.acked or 0)
        else:
            right = (epoch, seq) == (1, 0)
        if not right or not ttl_s:
            raise _Wrong(f"WELCOME to {head}")
        welcome = events.Welcome(token, epoch, seq, ttl_s, None)
        if not seq:
            return self._opened(welcome)
        self._welcome = welcome
        return None

    def _end_welcome(self, welcome: Welcome, line: bytes) -> Event:
        verb, words = events.words(line) or (b"", ())
        if verb != b"PREV" or int(words[0]) != welcome.seq:
            raise _Wrong(f"PREV {welcome.seq}")
        self._welcome = None
        return self._opened(replace(welcome, text=words[1]))

    def _opened(self, welcome: Welcome) -> Event:
        self._due.popleft()
        self._open = True
        self._seq, self._last = welcome.seq, welcome.text
        return welcome

    # §2.2: lines.

    def _echo(self, head: Echo, line: bytes) -> Event | None:
        """A line of the reply to a new line, or to the last one repeated."""
        if self._echo_error(head) is not None:
            raise _Wrong(self._owed(head))
        if head.n > 1 and self._prev is None:
            known = self._previous if head.n == self._seq else self._last
            begin = b"PREV %d " % (head.n - 1)
            if not line.startswith(begin) or (known is not None and line[len(begin) :] != known):
                raise _Wrong(self._owed(head))
            self._prev = line[len(begin) :]
            return None
        if line != b"ECHO %d %b" % (head.n, head.text):
            raise _Wrong(self._owed(head))
        answered = events.Answered(head.n, self._prev, head.text)
        self._previous, self._last, self._seq = self._prev, head.text, head.n
        self._prev = None
        self._due.popleft()
        return answered

    def _echo_error(self, head: Echo) -> str | None:
        """The error that a line must get, with its number; None for a right line."""
        if head.n == self._seq + 1 or (head.n == self._seq and head.text == self._last):
            return None
        return "conflict" if head.n == self._seq else f"out-of-order {self._seq + 1}"

    # §2.4, §3: all other replies, and what is said unasked.

    def _reply(self, head: Request, verb: bytes, words: tuple[bytes, ...]) -> Event | None:
        """The event that answers `head`, which is done then; None where it does not."""
        event: Event | None = None
        match head, verb, words:
            case Ping(text), b"PONG", (said,) if said == text:
                event = events.Pong(text)
            case Quit(), b"BYE", ():
                self.over = True
                event = events.Bye()
            case Tell(name, _), b"TOLD", (said, how) if said == name:
                event = events.Told(name, how.decode())
            case Join(), b"JOINED", _:
                event = self._rooms.joined(head, words)
            case ((Say(room) | Part(room) | Who(room)), _, (said, *_)) if (
                said == room and room in self._rooms
            ):
                event = self._room_reply(head, verb, words)
        if event is not None:
            self._due.popleft()
        return event

    def _room_reply(
        self, head: Say | Part | Who, verb: bytes, words: tuple[bytes, ...]
    ) -> Event | None:
        """As `_reply`, where the line names the request's room and that is joined."""
        match head, verb, words:
            case Say(room, id_, _), b"SAID", (_, said, offset) if int(said) == id_:
                return events.Said(room, id_, int(offset))
            case Part(room), b"PARTED", _:
                self._rooms.part(room)
                return events.Parted(room)
            case Who(room), b"WHO", (_, members, daemons):
                return events.Members(room, int(members), int(daemons))
        return None

    def _unasked(self, verb: bytes, words: tuple[bytes, ...]) -> Event | None:
        """What stands between replies; None where this may not."""
        if verb == b"DRAIN":
            return events.Drain(int(words[0]))
        if not self._open:
            return None
        if verb == b"FROM":
            return events.From(words[0], words[1])
        if verb == b"MSG":
            return self._rooms.msg(words)
        if verb == b"GAP":
            return self._rooms.gap(words)
        return self._rooms.lost(words) if verb == b"JOINED" else None

    # §4: errors.

    def _error(self, head: Request | None, words: tuple[bytes, ...]) -> Event:
        error = events.error(words[0], words[1], head)
        if error is None or not self._may_stand(head, error):
            raise _Wrong(self._owed(head))
        if not error.closes and self._open:
            self._due.popleft()
            return error
        self.over = True  # §4: `bad-request` closes too where it answers the first line
        return replace(error, request=None)

    def _may_stand(self, head: Request | None, error: ErrorLine) -> bool:
        """Whether this may be said now; one that does not close must answer `head`."""
        if not error.closes and self._open:
            return self._may_refuse(head, error)
        if not error.closes:
            return error.code == "bad-request"
        if self._open:
            return error.code != "busy"
        if not isinstance(head, Hello):
            return error.code in _AT_ACCEPT
        if error.code in ("unknown-session", "taken-over"):
            return bool(head.token)
        # `rolled-back <seq>`: the store holds less than was acknowledged.
        less = error.number is None or head.acked is None or error.number < head.acked
        return error.code != "rolled-back" or less

    def _may_refuse(self, head: Request | None, error: ErrorLine) -> bool:
        match head, error.code:
            case Echo(), "conflict":
                return self._echo_error(head) == "conflict"
            case Echo(), "out-of-order":
                return self._echo_error(head) == f"out-of-order {error.number}"
            case Join(), "too-many-rooms" | "room-unavailable":
                return True
            case ((Say(room) | Part(room) | Who(room)), "not-in-room"):
                return room not in self._rooms
            case (Who(room), "room-unavailable") | (
                Say(room),
                "out-of-order" | "conflict" | "room-unavailable",
            ):
                return room in self._rooms
        return False

    # What is wrong.

    def _owed(self, head: Request | None) -> str:
        """In words, what could stand next."""
        if not isinstance(head, Echo):
            return f"the answer to {head}" if head else "nothing that was asked for"
        if (error := self._echo_error(head)) is not None:
            return f"ERR {error}"
        if head.n == 1 or self._prev is not None:
            return f"ECHO {head.n} {head.text[:_SHOWN_BYTES]!r}"
        known = self._previous if head.n == self._seq else self._last
        return f"PREV {head.n - 1} {(known or b'')[:_SHOWN_BYTES]!r}"

    def _shown(self, got: bytes) -> bytes:
        if self._open or got.startswith((b"ERR ", b"DRAIN ")):
            return _SECRET.sub(rb"\1.", got)[:_SHOWN_BYTES]
        return got[:_SHOWN_OPENING_BYTES]
