"""The session port's lines, PROTOCOL §2: what each means, and what it does to a session.

    body ──hello──▶ Hello | Refusal                  the first line
    lines ──Dialogue.take──▶ Taken                   all others, as many as can be answered
                              reply, how many, whether one was committed, what stopped it

Pure: bytes and a state go in, verdicts come out. Whoever calls commits the state before it
sends the reply, and carries out what stopped it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from echod.protocol import rooms
from echod.protocol.errors import Code
from echod.protocol.token import Token
from echod.protocol.words import Refusal, bad, body_of, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from echod.protocol.state import State


@dataclass(frozen=True, slots=True)
class Hello:
    """`HELLO [<token> [<acked>]]`: without a token a new session is asked for."""

    token: Token | None
    acked: int


@dataclass(frozen=True, slots=True)
class Quit:
    """`QUIT`: the session shall end."""


Request = Quit | rooms.RoomRequest


UNKNOWN_SESSION: Final = Refusal(Code.UNKNOWN_SESSION, "no such session")


def hello(line: bytes) -> Hello | Refusal:
    """What a connection's first line asks for (§2.1)."""
    verb, *words = body_of(line).split(b" ")
    if verb != b"HELLO" or len(words) > 2:  # noqa: PLR2004 — token and acked
        return bad("begin with HELLO [<token> [<acked>]]")
    if not words:
        return Hello(None, 0)
    acked = number(words[1], 0) if len(words) > 1 else 0
    if acked is None:
        return bad("HELLO <token> <acked>: a number")
    token = Token.parse(words[0])
    return UNKNOWN_SESSION if token is None else Hello(token, acked)


def welcome(token: Token, epoch: int, ttl_s: float, state: State) -> bytes:
    """The answer to a `HELLO` that was granted (§2.1)."""
    line = b"WELCOME %b %d %d %d\n" % (token.encode(), epoch, state.seq, ttl_s)
    return line + b"PREV %d %b\n" % (state.seq, state.last) if state.seq else line


def drain(within_s: float) -> bytes:
    """The daemon is leaving (§2.4)."""
    return b"DRAIN %d\n" % (1000 * within_s)


def _ping(words: list[bytes]) -> bytes:
    return b"PONG %b\n" % words[0] if words else b"PONG\n"


def _quit(words: list[bytes]) -> Quit | Refusal:
    return bad("QUIT") if words else Quit()


# Verb → into how many words what follows it is split (the last one may hold spaces), and who
# reads them: an answer, a refusal, or what is asked for, which `client/session.py` carries out.
# `ECHO` is not here, because most lines are one: `Dialogue` looks for it first.
VERBS: Final[Mapping[bytes, tuple[int, Callable[[list[bytes]], bytes | Refusal | Request]]]] = {
    b"PING": (1, _ping),
    b"QUIT": (1, _quit),
    **rooms.PARSERS,
}
*_BUT_LAST, _LAST = ("ECHO", *(verb.decode() for verb in VERBS))
UNKNOWN_VERB: Final = bad(f"{', '.join(_BUT_LAST)} or {_LAST}")


def parse(body: bytes) -> bytes | Request:
    """What a line, other than `ECHO`, is answered at once, or what it asks for."""
    verb, space, rest = body.partition(b" ")
    words_max, read = VERBS.get(verb, (1, _unknown))
    said = read(rest.split(b" ", words_max - 1) if space else [])
    return said.line() if isinstance(said, Refusal) else said


def _unknown(_: list[bytes]) -> Refusal:
    return UNKNOWN_VERB


class Taken(NamedTuple):
    """What became of some lines.

    Attributes:
        reply: to those that were taken, in order; b"" if to none.
        lines: how many were taken, the one that stopped it among them.
        committed: whether the state is another now.
        request: what the last of them asks for beyond an answer; its reply comes later.
    """

    reply: bytes
    lines: int
    committed: bool
    request: Request | None


class Dialogue:
    """A session that was welcomed: the state that its next line meets.

    Attributes:
        seq, previous, last: as `session.State`, lines in flight included.
    """

    __slots__ = ("_numbered", "last", "previous", "seq")

    def __init__(self, state: State) -> None:
        self.seq = state.seq
        self.previous = state.previous
        self.last = state.last
        self._numbered = b"%d %b\n" % (state.seq, state.last)

    def take(self, lines: list[bytes], again_bytes_max: int) -> Taken:
        """Answer `lines`, each with its LF, up to the first that asks for more.

        Or up to the one with which the answers to repeated lines reach `again_bytes_max`:
        they alone can be much longer than what they answer.
        """
        parts: list[bytes] = []
        committed = False
        again_bytes = 0
        for at, line in enumerate(lines):
            if line[:5] == b"ECHO ":
                if self._echo(line, parts):
                    committed = True
                    continue
                again_bytes += len(parts[-1])
                if again_bytes >= again_bytes_max:
                    return Taken(b"".join(parts), at + 1, committed, None)
                continue
            said = parse(body_of(line))
            if not isinstance(said, bytes):
                return Taken(b"".join(parts), at + 1, committed, said)
            parts.append(said)
        return Taken(b"".join(parts), len(lines), committed, None)

    def _echo(self, line: bytes, parts: list[bytes]) -> bool:
        """`ECHO <n> <text>` (§2.2): append the reply, in one part unless the line is a new one.

        Returns:
            Whether it is a new one.
        """
        body = line[:-1] if line[-2:-1] != b"\r" else line[:-2]
        _, word, *rest = body.split(b" ", 2)
        n = number(word)
        if n is None or not rest:
            parts.append(bad("ECHO <n> <text>").line())
            return False
        (text,) = rest
        if n == self.seq + 1:
            numbered = b"%b %b\n" % (word, text)
            if self.seq:
                parts.append(b"PREV ")
                parts.append(self._numbered)
            parts.append(b"ECHO ")
            parts.append(numbered)
            self.seq = n
            self.previous, self.last = self.last, text
            self._numbered = numbered
            return True
        if n != self.seq:
            parts.append(Refusal(Code.OUT_OF_ORDER, str(self.seq + 1)).line())
        elif text != self.last:
            parts.append(Refusal(Code.CONFLICT, f"line {n} has another text").line())
        elif n > 1:
            parts.append(b"PREV %d %b\nECHO %b" % (n - 1, self.previous, self._numbered))
        else:
            parts.append(b"ECHO %b" % self._numbered)
        return False
