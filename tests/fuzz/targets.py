"""What is fuzzed: one input, one check. `session_lines.py` searches, tests/unit replays.

The first byte of an input chooses the target and how its bytes are cut; the rest is what a
peer could have sent. A check raises for what must never be: an exception that is not the
parser's own, or an answer that is not the model's (tests/protocol_model.py).
"""

from __future__ import annotations

from echod.protocol.proxy import ProxyHeader, ProxyHeaderError, parse
from echod.protocol.session import Dialogue, Hello, Quit, Taken, hello, welcome
from echod.protocol.state import EMPTY, State
from echod.protocol.token import Token
from echod.protocol.wire import split_lines
from tests.protocol_model import ENDS, Model, agrees, opening

# Small, so that a fuzzer reaches its neighbourhood.
LINE_BYTES_MAX = 64
HEADER_BYTES_MAX = 300
AGAIN_BYTES_MAX = 100
TOKEN = Token(b"a" * 10, b"b" * 26)
STATES = (
    EMPTY,
    State(1, b"", b"a"),
    State(2, b"a", b"b\xff\r"),
    State(999_999_999_999_998, b"", b" "),
)


def check(data: bytes) -> None:
    """Run the target that the first byte chooses on the rest."""
    if not data:
        return
    choice, stream = data[0], data[1:]
    if choice % 4 == 0:
        check_proxy(stream)
    elif choice % 4 == 1:
        check_hello(stream)
    else:
        check_dialogue(stream, STATES[choice // 4 % 4], 1 + choice // 16)


def lines_of(stream: bytes, lines_max: int, piece_bytes: int) -> list[list[bytes]]:
    """What a connection makes of a stream that comes in pieces; ends at a line too long."""
    taken: list[list[bytes]] = []
    tail = b""
    for at in range(0, len(stream), piece_bytes):
        data = tail + stream[at : at + piece_bytes]
        while True:
            lines, data, too_long = split_lines(data, lines_max, LINE_BYTES_MAX)
            if lines:
                taken.append(lines)
            if too_long:
                return taken
            if len(lines) < lines_max:
                break
        tail = data
    return taken


def whole_lines(stream: bytes) -> list[bytes]:
    """The same, said simply."""
    lines = []
    while (at := stream.find(b"\n")) >= 0 and at < LINE_BYTES_MAX:
        lines.append(stream[: at + 1])
        stream = stream[at + 1 :]
    return lines


def check_dialogue(stream: bytes, state: State, cut: int) -> None:
    """However a stream is cut: the model's answers, up to QUIT, and the model's state."""
    groups = lines_of(stream, cut, 3 * cut)
    assert [line for lines in groups for line in lines] == whole_lines(stream)
    dialogue = Dialogue(state)
    model = Model(state.seq, state.previous, state.last)
    for lines in groups:
        while lines:
            taken = take(dialogue, model, lines)
            if taken.request:
                return
            lines = lines[taken.lines :]  # noqa: PLW2901 — as a connection does
    resumed = State(dialogue.seq, dialogue.previous, dialogue.last)
    greeting = welcome(TOKEN, 1, 300, resumed).split(b"\n")
    assert greeting[0] == b"WELCOME %b 1 %d 300" % (TOKEN.encode(), model.seq)
    last = [b"PREV %d %b" % (model.seq, model.texts[model.seq])] if model.seq else []
    assert greeting[1:] == [*last, b""]


def take(dialogue: Dialogue, model: Model, lines: list[bytes]) -> Taken:
    """Some lines are taken; the answers and the state are the model's."""
    before = dialogue.seq
    taken = dialogue.take(lines, AGAIN_BYTES_MAX)
    assert 0 < taken.lines <= len(lines)
    answers = [model.answer(line) for line in lines[: taken.lines]]
    assert taken.committed == (dialogue.seq != before)
    if isinstance(taken.request, Quit):
        assert answers.pop() == [ENDS]
    else:
        assert taken.lines == len(lines) or len(taken.reply) >= AGAIN_BYTES_MAX
    assert [ENDS] not in answers
    assert agrees(taken.reply, [line for answer in answers for line in answer])
    assert dialogue.seq == model.seq
    assert dialogue.last == model.texts.get(model.seq, b"")
    assert dialogue.previous == model.texts.get(model.seq - 1, b"")
    return taken


def check_hello(stream: bytes) -> None:
    """The first line asks for what the model says."""
    for line in whole_lines(stream)[:1]:
        said, expected = hello(line), opening(line)
        if isinstance(said, Hello):
            token = said.token.encode() if said.token else None
            assert (token, said.acked) == expected
        else:
            assert isinstance(expected, bytes)
            assert said.line().startswith(expected + b" ")


def check_proxy(stream: bytes) -> None:
    """One byte more changes no verdict but "incomplete"; the header is inside what was given."""
    verdict = None
    for size in range(len(stream) + 1):
        found = header(stream[:size])
        assert verdict is None or found == verdict
        verdict = found
    if isinstance(verdict, ProxyHeader):
        assert verdict.length <= min(len(stream), HEADER_BYTES_MAX)
        assert header(stream[: verdict.length - 1]) is None


def header(data: bytes) -> ProxyHeader | str | None:
    """What `parse` says; an error by its text."""
    try:
        return parse(data, HEADER_BYTES_MAX)
    except ProxyHeaderError as error:
        return str(error)
