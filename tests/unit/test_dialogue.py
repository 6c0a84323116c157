"""protocol/session.py by property, against the model in tests/protocol_model.py."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echod.protocol.session import Dialogue, Hello, Quit, hello, welcome
from echod.protocol.state import EMPTY, State
from echod.protocol.token import Token
from echod.protocol.words import NUMBER_MAX, Refusal, body_of, number
from tests.protocol_model import ENDS, Model, agrees, opening, unterminated

UNBOUNDED = 1 << 30
TOKEN = Token(b"abcdefghij", b"k" * 26)

TEXTS = st.one_of(
    st.sampled_from([b"", b"a", b" ", b"a b", b"\r", b"a\r", b"\x00\xff"]),
    st.binary(max_size=6).map(lambda text: text.replace(b"\n", b"")),
)
# Near what is right: that is where mistakes are.
WORDS = st.one_of(
    st.integers(-1, 9).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"00", b"01", b"+1", b"1_0", b" 1", b"1.0", "\u00b2".encode(), b"%d" % NUMBER_MAX,
                     b"%d" % (NUMBER_MAX + 1), b"1" * 5000]),
)  # fmt: skip
ENDINGS = st.sampled_from([b"\n", b"\r\n", b"\r\r\n"])
LINES = st.one_of(
    st.builds(lambda n, text, end: b"ECHO %d %b%b" % (n, text, end), st.integers(1, 4), TEXTS, ENDINGS),
    st.builds(lambda word, text, end: b"ECHO %b %b%b" % (word, text, end), WORDS, TEXTS, ENDINGS),
    st.builds(
        lambda verb, rest, end: verb + rest + end,
        st.sampled_from([b"ECHO", b"ECHO ", b"echo 1", b"PING", b"PING ", b"PINGS", b"HELLO", b"QUIT",
                         b"QUIT ", b" QUIT", b"", b"PREV 1", b"SAY"]),
        TEXTS,
        ENDINGS,
    ),
)  # fmt: skip
STATES = st.one_of(
    st.just(EMPTY),
    st.builds(lambda text: State(1, b"", text), TEXTS),
    st.builds(State, st.sampled_from([2, 3, NUMBER_MAX - 1]), TEXTS, TEXTS),
)
TOKENS = st.from_regex(rb"[a-z2-7]{10}\.[a-z2-7]{26}", fullmatch=True)


def model_of(state: State) -> Model:
    """The model of a session in that state."""
    return Model(state.seq, state.previous, state.last)


@settings(max_examples=500, deadline=None)
@given(st.lists(LINES, max_size=12), STATES, st.data(), st.sampled_from([1, 30, UNBOUNDED]))
def test_lines_are_answered_as_the_protocol_says(
    lines: list[bytes], state: State, data: st.DataObject, again_bytes_max: int
) -> None:
    """Whatever comes, however many at a time: §2.2, §2.4, §4."""
    dialogue, model = Dialogue(state), model_of(state)
    while lines:
        group = lines[: data.draw(st.integers(1, len(lines)))]
        before = dialogue.seq
        taken = dialogue.take(group, again_bytes_max)
        answers = [model.answer(line) for line in group[: taken.lines]]
        if taken.request is not None:
            assert isinstance(taken.request, Quit)
            assert answers.pop() == [ENDS]
        else:
            assert taken.lines == len(group) or len(taken.reply) >= again_bytes_max
        assert agrees(taken.reply, [line for answer in answers for line in answer])
        assert taken.committed == (dialogue.seq > before)
        assert dialogue.seq == model.seq
        assert dialogue.last == model.texts.get(model.seq, b"")
        assert dialogue.previous == model.texts.get(model.seq - 1, b"")
        if taken.request is not None:
            return
        lines = lines[taken.lines :]


@given(st.lists(TEXTS, min_size=1, max_size=8), st.integers(0, 8))
def test_a_resumed_dialogue_goes_on_the_same(texts: list[bytes], resumed_after: int) -> None:
    """Nobody can tell from the replies, the repeated ones too, that another daemon answers."""
    whole, moved = Dialogue(EMPTY), Dialogue(EMPTY)
    for n, text in enumerate(texts, 1):
        if n == resumed_after:
            moved = Dialogue(State(moved.seq, moved.previous, moved.last))
        line = b"ECHO %d %b\n" % (n, text)
        for _ in range(2):
            assert moved.take([line], UNBOUNDED).reply == whole.take([line], UNBOUNDED).reply


@given(st.integers(2, 50), st.integers(1, 400))
def test_repeated_lines_stop_at_the_limit(times: int, again_bytes_max: int) -> None:
    """The answers to lines given again pass the limit by less than one answer."""
    dialogue = Dialogue(State(2, b"x" * 100, b"y"))
    answer = b"PREV 1 " + b"x" * 100 + b"\nECHO 2 y\n"
    taken = dialogue.take([b"ECHO 2 y\n"] * times, again_bytes_max)
    assert taken.reply == answer * taken.lines
    assert taken.lines == min(times, -(-again_bytes_max // len(answer)))
    assert not taken.committed


def test_new_lines_have_no_limit() -> None:
    """Their replies are no longer than twice what was received."""
    lines = [b"ECHO %d %b\n" % (n, b"x" * 50) for n in range(1, 30)]
    assert Dialogue(EMPTY).take(lines, 1).lines == 29


@settings(max_examples=500)
@given(
    st.one_of(
        st.builds(lambda token, end: b"HELLO " + token + end, TOKENS, ENDINGS),
        st.builds(lambda token, word, end: b"HELLO %b %b%b" % (token, word, end), TOKENS, WORDS, ENDINGS),
        st.builds(
            lambda words, end: b" ".join(words) + end,
            st.lists(st.sampled_from([b"HELLO", b"hello", b"", b"1", b"x", b"\r", b"A" * 10 + b"." + b"a" * 26]),
                     max_size=4),
            ENDINGS,
        ),
    )
)  # fmt: skip
def test_openings(line: bytes) -> None:
    """A first line asks for what the model says (§2.1)."""
    said, expected = hello(line), opening(line)
    if isinstance(said, Hello):
        assert (said.token.encode() if said.token else None, said.acked) == expected
    else:
        assert isinstance(said, Refusal)
        assert isinstance(expected, bytes)
        assert said.line().startswith(expected + b" ")
        assert said.line().count(b"\n") == 1


@given(st.one_of(WORDS, st.binary(max_size=3)), st.integers(0, 2))
def test_numbers(word: bytes, least: int) -> None:
    """Only what `%d` would have printed is a number, and only up to 2^53 - 1."""
    numbers = {b"%d" % n: n for n in (*range(1000), NUMBER_MAX)}
    value = numbers.get(word)
    expected = value if value is not None and value >= least else None
    assert number(word, least) == expected


def test_the_largest_number() -> None:
    """A double, as in Redis's scripts, still counts exactly one beyond it."""
    assert number(b"%d" % NUMBER_MAX) == NUMBER_MAX
    assert number(b"%d" % (NUMBER_MAX + 1)) is None
    assert number(b"9" * len(str(NUMBER_MAX))) is None
    assert float(NUMBER_MAX) == NUMBER_MAX
    assert float(NUMBER_MAX) + 1 == NUMBER_MAX + 1


@given(TEXTS, ENDINGS)
def test_bodies(text: bytes, end: bytes) -> None:
    """One CR right before the LF belongs to the terminator; every other is the line's."""
    assert body_of(text + end) == unterminated(text + end)


@given(STATES, st.integers(1, 9))
def test_welcome(state: State, epoch: int) -> None:
    """PREV follows only if there is a line (§2.1)."""
    first, *rest = welcome(TOKEN, epoch, 300, state).split(b"\n")
    assert first == b"WELCOME %b %d %d 300" % (TOKEN.encode(), epoch, state.seq)
    assert rest == ([b"PREV %d %b" % (state.seq, state.last)] if state.seq else []) + [b""]


@pytest.mark.parametrize("shown", [repr(TOKEN), str(TOKEN), repr(Hello(TOKEN, 1))])
def test_a_secret_is_not_shown_by_accident(shown: str) -> None:
    """Whoever logs a token by mistake logs its name."""
    assert TOKEN.secret.decode() not in shown
    assert TOKEN.name.decode() in shown
