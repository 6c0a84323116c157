"""The judge of the session port: right dialogues pass, whatever the cuts; wrong ones don't."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import (
    session,
    session_events,
    session_memory,
    session_outbox,
    session_requests,
    session_retry,
    session_rooms,
)
from loadtest.session import Dialogue, Difference
from loadtest.session_events import (
    Answered,
    Bye,
    Drain,
    ErrorLine,
    Event,
    From,
    Gap,
    Joined,
    Members,
    Msg,
    Parted,
    Pong,
    Said,
    Told,
    Welcome,
)
from loadtest.session_requests import (
    Echo,
    Hello,
    Join,
    Part,
    Ping,
    Quit,
    Request,
    Say,
    Tell,
    Who,
    encode,
)
from tests.unit.right_server import NAME, OTHER_TOKEN, TOKEN, Model, cut

if TYPE_CHECKING:
    from types import ModuleType

TEXTS = st.one_of(
    st.binary(max_size=6).map(lambda text: text.replace(b"\n", b"").rstrip(b"\r")),
    st.sampled_from([b"", b"ERR busy no", b"ECHO 2 a", b"PREV 1 a", b"a b ", b"DRAIN 5"]),
)
ROOMS = st.sampled_from([b"lobby", b"a.b:c-d_E"])
CUTS = st.lists(st.floats(0, 1), max_size=8)
# Echo numbers are told as the distance from the one that is due.
ASKED = st.one_of(
    st.builds(Echo, st.sampled_from([0, 0, 0, 0, -1, 1, -2]), TEXTS),
    st.builds(Ping, TEXTS),
    st.builds(Join, ROOMS),
    st.builds(Join, ROOMS, st.sampled_from([b"one", b"two"]), st.integers(0, 99)),
    st.builds(Say, ROOMS, st.integers(1, 99), TEXTS),
    st.builds(Part, ROOMS),
    st.builds(Who, ROOMS),
    st.builds(Tell, st.sampled_from([NAME, OTHER_TOKEN[:10]]), TEXTS),
)


class Talk:
    """A right dialogue: what was asked, what was answered line by line, and the events' count."""

    def __init__(self, data: st.DataObject) -> None:
        self.judge = Dialogue()
        texts = data.draw(st.lists(TEXTS, max_size=3))
        model = Model(texts, epoch=1 if texts else 0)
        self.seq = len(texts)
        hello = Hello(TOKEN, data.draw(st.none() | st.integers(0, self.seq))) if texts else Hello()
        self.replies = [model.answer(self.ask(hello))]
        for request in data.draw(st.lists(ASKED, max_size=8)):
            asked = request
            if isinstance(request, Echo):
                asked = Echo(max(1, len(model.texts) + 1 + request.n), request.text)
            self.replies.append(model.answer(self.ask(asked)))
            for choice in data.draw(st.lists(st.integers(0, 9), max_size=2)):
                self.replies.append(model.unasked(choice, request.text if asked == request and
                                                  isinstance(request, Ping) else b"x"))  # fmt: skip
        if data.draw(st.booleans()):
            self.replies.append(model.answer(self.ask(Quit())))

    def ask(self, request: Request) -> Request:
        """Send it."""
        assert self.judge.sent(request) == encode(request)
        return request

    @property
    def stream(self) -> bytes:
        """All that the server says."""
        return b"".join(self.replies)


def feed(judge: Dialogue, pieces: list[bytes]) -> list[Event]:
    """The events of all pieces."""
    return [event for piece in pieces for event in judge.received(piece)]


@given(st.data(), CUTS)
def test_a_right_dialogue_passes_however_it_is_cut(data: st.DataObject, cuts: list[float]) -> None:
    """Every reply and everything unasked is one event, and nothing is owed at the end."""
    talk = Talk(data)
    events = feed(talk.judge, cut(talk.stream, cuts))
    assert talk.judge.fault is None
    assert (len(events), talk.judge.owing, talk.judge.begun) == (len(talk.replies), 0, False)


@given(st.data(), CUTS)
def test_cuts_never_change_the_verdict(data: st.DataObject, cuts: list[float]) -> None:
    """Right streams and streams with one wrong byte: whole, cut and byte by byte the same."""
    talk = Talk(data)
    stream = bytearray(talk.stream)
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(0, 255))
    verdicts = []
    for pieces in (
        [bytes(stream)],
        cut(bytes(stream), cuts),
        [bytes([byte]) for byte in stream],
    ):
        judge = replay(talk)
        events = feed(judge, pieces)
        verdicts.append((events, judge.owing, *verdict(judge)))
    assert verdicts[0] == verdicts[1] == verdicts[2]


def verdict(judge: Dialogue) -> tuple[object, ...]:
    """What must not depend on the cuts: all but the excerpt, which ends where the data did."""
    if judge.fault is not None:
        return judge.fault.line, judge.fault.owed
    return judge.begun, judge.over


def replay(talk: Talk) -> Dialogue:
    """A fresh judge to whom the same was sent."""
    judge = Dialogue()
    for request in talk.judge._due:  # noqa: SLF001 — nothing was received yet: all of it is due
        judge.sent(request)
    return judge


@given(st.data())
def test_one_wrong_byte_is_never_taken_for_right(data: st.DataObject) -> None:
    """A mutated dialogue is a Difference, or says something else of what a server may choose.

    What it may choose: epoch, ttl and token of a new session, PREV of what only earlier
    connections know, errors' texts, room figures, what others say.
    """
    talk = Talk(data)
    stream = bytearray(talk.stream)
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    judge, right = replay(talk), replay(talk)
    mutated, events = feed(judge, [bytes(stream)]), feed(right, [talk.stream])
    if judge.fault is None and not judge.begun and not judge.owing:
        answers = [event for event in events if isinstance(event, Answered | Pong | Bye)]
        seen = [event for event in mutated if isinstance(event, Answered | Pong | Bye)]
        assert [strip(a, self_seq=talk.seq) for a in answers] == [
            strip(a, self_seq=talk.seq) for a in seen
        ]
        assert mutated != events or differs_only_in_an_error(talk.stream, bytes(stream))


def strip(event: Event, self_seq: int) -> Event:
    """Without a `previous` that this connection can't know: of a line repeated after a resume."""
    if isinstance(event, Answered) and event.n <= self_seq:
        return Answered(event.n, None, event.text)
    return event


def differs_only_in_an_error(right: bytes, wrong: bytes) -> bool:
    """An ERR's text is for people; a token's secret is in no comparison of welcomes' reprs."""
    pairs = zip(right.split(b"\n"), wrong.split(b"\n"), strict=False)
    (first,) = [(a, b) for a, b in pairs if a != b][:1]
    return first[0].startswith(b"ERR ") and first[1].startswith(b"ERR ")


@given(st.data(), st.binary(min_size=1, max_size=8))
def test_what_comes_after_the_end_is_a_difference(data: st.DataObject, more: bytes) -> None:
    """After BYE and after an ERR that closes, nothing more may come."""
    talk = Talk(data)
    if not talk.replies[-1].startswith(b"BYE"):
        talk.replies.append(b"ERR draining good night\n")
    talk.judge.received(talk.stream)
    assert (talk.judge.over, talk.judge.fault) == (True, None)
    assert talk.judge.received(more) == []
    assert isinstance(talk.judge.fault, Difference)


@given(st.data())
def test_a_line_left_out_or_twice_is_found(data: st.DataObject) -> None:
    """Any reply's line dropped or doubled is a Difference, or leaves something owed.

    Not so what others decide: FROM and DRAIN may come any time, an ERR of an echo may not.
    """
    talk = Talk(data)
    lines = talk.stream.split(b"\n")[:-1]
    at = data.draw(st.integers(0, len(lines) - 1))
    if lines[at].startswith((b"FROM", b"DRAIN", b"MSG", b"GAP")):
        return
    dropped, doubled = replay(talk), replay(talk)
    feed(dropped, [b"".join(line + b"\n" for line in lines[:at] + lines[at + 1 :])])
    assert dropped.fault or dropped.owing or dropped.begun
    feed(doubled, [b"".join(line + b"\n" for line in [*lines[: at + 1], *lines[at:]])])
    # Two equal requests one after the other have the same reply: then one is left over.
    assert doubled.fault, lines


def opened(*requests: Request) -> Dialogue:
    """A judge of a new session with `requests` in flight."""
    judge = Dialogue()
    judge.sent(Hello())
    assert len(judge.received(Model().answer(Hello()))) == 1
    for request in requests:
        judge.sent(request)
    return judge


A, B, C = Echo(1, b"a"), Echo(2, b"b"), Echo(3, b"c")


@pytest.mark.parametrize(
    "requests, stream",
    [
        pytest.param([A], b"ECHO 1 b\n", id="another text"),
        pytest.param([A], b"ECHO 1 a\r\n", id="a line ending of its own"),
        pytest.param([A], b"PREV 0 \nECHO 1 a\n", id="PREV before the first"),
        pytest.param([A, B], b"ECHO 1 a\nECHO 2 b\n", id="PREV missing"),
        pytest.param([A, B], b"ECHO 1 a\nPREV 1 b\nECHO 2 b\n", id="PREV of another text"),
        pytest.param([A, B], b"ECHO 1 a\nPREV 2 a\nECHO 2 b\n", id="PREV of another number"),
        pytest.param([A, B], b"PREV 1 a\nECHO 2 b\nECHO 1 a\n", id="replies out of order"),
        pytest.param([A, B], b"ECHO 1 a\nECHO 1 a\nPREV 1 a\nECHO 2 b\n", id="a reply twice"),
        pytest.param([A, B], b"ECHO 1 a\nPREV 1 a\nDRAIN 5\n", id="DRAIN within a reply"),
        pytest.param([A, B], b"ECHO 1 a\nPREV 1 a\nERR draining x\n", id="ERR within a reply"),
        pytest.param([A, Ping()], b"PONG\nECHO 1 a\n", id="PONG before its turn"),
        pytest.param([Ping(b"x")], b"PONG\n", id="PONG without its text"),
        pytest.param([Ping()], b"PONG x\n", id="PONG with a text"),
        pytest.param([A, A], b"ECHO 1 a\nERR conflict no\n", id="a repeated line refused"),
        pytest.param(
            [A, Echo(1, b"b")], b"ECHO 1 a\nECHO 1 b\n", id="a number twice for other texts"
        ),
        pytest.param([B], b"PREV 1 a\nECHO 2 b\n", id="a line committed out of order"),
        pytest.param([B], b"ERR out-of-order 2\n", id="the wrong number expected"),
        pytest.param([B], b"ERR out-of-order\n", id="no number expected"),
        pytest.param([A], b"ERR out-of-order 1\n", id="a right line refused"),
        pytest.param([A], b"ERR bush fire\n", id="an error that there is not"),
        pytest.param([A], b"ERR busy late\n", id="busy after WELCOME"),
        pytest.param([A], b"ERR bad-request what\n", id="a good request refused"),
        pytest.param([], b"ECHO 1 a\n", id="an answer that nobody asked for"),
        pytest.param([], b"PONG\n", id="a PONG that nobody asked for"),
        pytest.param([], b"WELCOME %b 1 0 300\n" % TOKEN, id="a second WELCOME"),
        pytest.param([], b"MSG lobby 1 %b x\n" % NAME, id="of a room that was not joined"),
        pytest.param([Join(b"l")], b"JOINED l one 7 recovered\n", id="recovered unasked"),
        pytest.param([Join(b"l", b"one", 3)], b"JOINED l one 3 fresh\n", id="fresh for recovered"),
        pytest.param([Join(b"l", b"one", 3)], b"JOINED l two 3 recovered\n", id="another life"),
        pytest.param(
            [Join(b"l")], b"JOINED l one 7 fresh\nMSG l 9 %b x\n" % NAME, id="a silent hole"
        ),
        pytest.param([Join(b"l")], b"JOINED l one 7 fresh\nMSG l 7 %b x\n" % NAME, id="an old one"),
        pytest.param([Join(b"l")], b"JOINED l one 7 fresh\nGAP l 9 10\n", id="a gap after a hole"),
        pytest.param(
            [Join(b"l"), Part(b"l")],
            b"JOINED l one 7 fresh\nPARTED l\nMSG l 8 %b x\n" % NAME,
            id="after PARTED",
        ),
        pytest.param([Say(b"l", 1, b"x")], b"SAID l 1 8\n", id="SAID in a room not joined"),
        pytest.param([A], b"x" * 8_352, id="a line without an end"),
    ],
)
def test_a_server_that_is_wrong_in_one_way_is_found(requests: list[Request], stream: bytes) -> None:
    """Each defect that a server could have is a Difference, and nothing counts after it."""
    judge = opened(*requests)
    judge.received(stream)
    assert isinstance(judge.fault, Difference)
    assert judge.received(b"ECHO 1 a\nPONG\nPREV 1 a\nECHO 2 b\n") == []


W = b"WELCOME %b " % TOKEN


@pytest.mark.parametrize(
    "hello, stream",
    [
        pytest.param(Hello(), W + b"2 0 300\n", id="a new session with an owner before"),
        pytest.param(Hello(), W + b"1 1 300\nPREV 1 a\n", id="a new session with a line"),
        pytest.param(Hello(), W + b"1 0 0\n", id="no time to live"),
        pytest.param(Hello(), W + b"1 0\n", id="a number too few"),
        pytest.param(Hello(), b"WELCOME abcdefghij.short 1 0 300\n", id="a short secret"),
        pytest.param(Hello(), b"ERR unknown-session no\n", id="unknown, but none was asked for"),
        pytest.param(Hello(), b"ERR taken-over no\n", id="taken over before it was there"),
        pytest.param(Hello(), b"ECHO 1 a\n", id="an echo first"),
        pytest.param(Hello(TOKEN, 5), W + b"1 5 300\n", id="resumed without a new epoch"),
        pytest.param(Hello(TOKEN, 5), W + b"2 4 300\n", id="less than was acknowledged"),
        pytest.param(Hello(TOKEN, 5), W + b"2 5 300\nPREV 4 a\n", id="PREV of another number"),
        pytest.param(Hello(TOKEN, 5), W + b"2 5 300\nDRAIN 5\n", id="PREV missing"),
        pytest.param(
            Hello(TOKEN, 5), b"WELCOME %b 2 5 300\n" % OTHER_TOKEN, id="another's session"
        ),
        pytest.param(Hello(TOKEN, 5), b"ERR rolled-back 5\n", id="rolled back to no less"),
    ],
)
def test_a_wrong_opening_is_found_and_shows_no_secret(hello: Hello, stream: bytes) -> None:
    """Each is a Difference, and its text has no part of the token's secret."""
    judge = Dialogue()
    judge.sent(hello)
    judge.received(stream)
    assert isinstance(judge.fault, Difference)
    assert "234567" not in str(judge.fault)


@given(st.data())
def test_no_text_of_a_difference_has_a_secret(data: st.DataObject) -> None:
    """Whatever byte of the opening is wrong."""
    stream = bytearray(Model([b"a"], epoch=1).answer(Hello()))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    judge = Dialogue()
    judge.sent(Hello(TOKEN, 1))
    events = judge.received(bytes(stream))
    shown = f"{judge.fault} {judge.fault!r} {events} {Hello(TOKEN, 1)}"
    assert "pqrstuv" not in shown
    assert "234567a" not in shown


def test_events_have_what_the_lines_said() -> None:
    """One dialogue, every kind of event."""
    judge = opened(
        *(A, B, Echo(2, b"x"), Echo(9, b"x"), Ping(b"p q"), Join(b"l", b"one", 3)),
        *(Say(b"l", 4, b"hi"), Who(b"l"), Part(b"l"), Part(b"l"), Tell(NAME, b"psst"), Quit()),
    )
    stream = (
        b"ECHO 1 a\nDRAIN 500\nPREV 1 a\nECHO 2 b\nERR conflict 2 was another\n"
        b"ERR out-of-order 3 is next\nPONG p q\nJOINED l one 3 recovered\nMSG l 4 %b one two\n"
        b"GAP l 5 7\nSAID l 4 8\nJOINED l two 90 lost\nMSG l 91 %b \nWHO l 3 2\nPARTED l\n"
        b"ERR not-in-room l\nFROM %b pst t\nTOLD %b delivered\nBYE\n"
    ) % (NAME, NAME, NAME, NAME)
    assert judge.received(stream) == [
        Answered(1, None, b"a"),
        Drain(500),
        Answered(2, b"a", b"b"),
        ErrorLine("conflict", "2 was another", 2, Echo(2, b"x")),
        ErrorLine("out-of-order", "3 is next", 3, Echo(9, b"x")),
        Pong(b"p q"),
        Joined(b"l", b"one", 3, "recovered"),
        Msg(b"l", 4, NAME, b"one two"),
        Gap(b"l", 5, 7),
        Said(b"l", 4, 8),
        Joined(b"l", b"two", 90, "lost", asked=False),
        Msg(b"l", 91, NAME, b""),
        Members(b"l", 3, 2),
        Parted(b"l"),
        ErrorLine("not-in-room", "l", None, Part(b"l")),
        From(NAME, b"pst t"),
        Told(NAME, "delivered"),
        Bye(),
    ]
    assert (judge.fault, judge.over, judge.owing) == (None, True, 0)


def test_a_resumed_session_goes_on() -> None:
    """WELCOME has PREV's text; the last line may be repeated, with any PREV before it."""
    judge = Dialogue()
    judge.sent(Hello(TOKEN, 4))
    events = judge.received(W + b"3 5 300\n")
    assert (events, judge.begun) == ([], True)
    (welcome,) = judge.received(b"PREV 5 e e\n")
    assert welcome == Welcome(TOKEN, 3, 5, 300, b"e e")
    assert (welcome.name, b"234567" in repr(welcome).encode()) == (NAME, False)
    judge.sent(Echo(5, b"e e"))
    judge.sent(Echo(6, b"f"))
    answers = judge.received(b"PREV 4 d\nECHO 5 e e\nPREV 5 e e\nECHO 6 f\n")
    assert answers == [Answered(5, b"d", b"e e"), Answered(6, b"e e", b"f")]


@pytest.mark.parametrize("code", ["busy", "draining", "unavailable", "internal"])
def test_a_server_may_refuse_before_anything_was_said(code: str) -> None:
    """At accept there is no request, and the ERR is of the connection."""
    judge = Dialogue()
    assert judge.received(f"ERR {code} later\n".encode()) == [ErrorLine(code, "later")]
    assert (judge.fault, judge.over) == (None, True)


@pytest.mark.parametrize(
    "request_",
    [
        Echo(1, b"a\n"),
        Echo(1, b"a\r"),
        Hello(b"no token"),
        Join(b"two words"),
        Join(b""),
        Who(b"x" * 65),
        Tell(b"short", b""),
        Ping(b"\n"),
    ],
)
def test_what_can_not_be_sent_is_the_callers_error(request_: Request) -> None:
    """A text that would not come back as it went is refused, and nothing is owed."""
    judge = Dialogue() if isinstance(request_, Hello) else opened()
    with pytest.raises(ValueError, match="not"):
        judge.sent(request_)
    assert judge.owing == 0


def test_hello_is_first_and_quit_is_last() -> None:
    """The order of §2.1 and §2.4."""
    with pytest.raises(ValueError, match="HELLO"):
        Dialogue().sent(Ping())
    with pytest.raises(ValueError, match="HELLO"):
        opened().sent(Hello())
    with pytest.raises(ValueError, match="QUIT"):
        opened(Quit()).sent(Ping())


@pytest.mark.parametrize(
    "module",
    [
        session,
        session_events,
        session_memory,
        session_outbox,
        session_requests,
        session_retry,
        session_rooms,
    ],
)
def test_the_judge_is_pure(module: ModuleType) -> None:
    """It imports nothing that can wait, read a clock or reach a network."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    imported = set()
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    allowed = {
        "__future__",
        "collections",
        "collections.abc",
        "dataclasses",
        "itertools",
        "re",
        "typing",
    }
    assert {name for name in imported if not name.startswith("loadtest")} <= allowed
