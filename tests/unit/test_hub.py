"""The hub, its parts and its members, one thing at a time: what two sockets can do to each other."""

from __future__ import annotations

import random
from collections import deque

import pytest

from echod.protocol.rooms import Tell
from echod.rooms import delivery, kept
from echod.rooms.audit import LATE_S
from echod.rooms.heartbeat import DEAF_S
from echod.rooms.mailbox import ANSWER_S_MAX
from echod.rooms.pages import RECOVERY_PAGES_MAX
from echod.store.operations import KEEP, Find, Publish, Read
from tests.unit.hub_lab import Connection, Lab, judge

ROUTES = ("room", "broadcast", "directed")
STEPS = [
    *("post", "execute", "answer", "deliver") * 6,
    *("join", "tick") * 2, "part", "end", "fall", "rise", "rise", "slow", "take", "take",
]  # fmt: skip


def joined(lab: Lab, number: int = 0) -> Connection:
    """A member that has arrived."""
    one = lab.client(number)
    one.join()
    if not lab.connected:
        lab.rise()
    lab.settle()
    assert b" fresh\n" in one.sent
    return one


@pytest.mark.parametrize("route", ROUTES)
def test_published_before_the_first_page_came(route: str) -> None:
    """A post that overtakes the answer to the room's first read is not lost until the audit."""
    lab = Lab(route)
    one = lab.client(0)
    one.join()
    lab.deliver()  # the subscription is confirmed
    lab.execute(2)  # announced, and read
    lab.post()
    lab.deliver()
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 1)


def test_published_while_a_page_is_on_its_way() -> None:
    """However often posts overtake pages, a hole is filled, and by one read."""
    lab = Lab()
    one = joined(lab)
    lab.post()
    lab.stream.clear()  # lost
    lab.post()
    lab.deliver()
    reads = 0
    while lab.asked and reads < 20:
        reads += 1
        lab.execute()
        lab.post()
        lab.deliver()
        lab.answer()
    assert reads == 1
    assert judge(one.sent) == (lab.room().epoch, 3)


def test_what_was_overtaken_gets_a_moment_to_arrive() -> None:
    """With replicas, each daemon publishes with its next batch (ADR 23): nothing is read for that."""
    lab = Lab(store_replicas=1)
    one = joined(lab)
    lab.post(4)
    first, second, third, fourth = lab.stream
    lab.stream = deque((fourth, second, third, first))
    lab.deliver(2)
    assert judge(one.sent) == (lab.room().epoch, 0)
    lab.deliver(2)
    assert judge(one.sent) == (lab.room().epoch, 4)
    lab.hole_over()
    assert not lab.asked
    assert lab.metrics.rooms.holes == 3


def test_what_does_not_arrive_in_a_moment_is_read() -> None:
    """It was lost; what came after it follows the page."""
    lab = Lab(store_replicas=1)
    one = joined(lab)
    lab.post(3)
    lab.stream.popleft()
    lab.deliver(2)
    assert not lab.asked
    lab.hole_over()
    assert len(lab.asked) == 1
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 3)


def test_two_holes_are_one_moment() -> None:
    """The first closes and the second does not: what is behind it is read when that is over."""
    lab = Lab(store_replicas=1)
    one = joined(lab)
    lab.post(5)
    first, second, third, _, fifth = lab.stream
    lab.stream = deque((second, fifth, first, third))
    lab.deliver(4)
    assert judge(one.sent) == (lab.room().epoch, 3)
    assert not lab.asked
    lab.hole_over()
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 5)


@pytest.mark.parametrize("finds", ["a page", "the audit"])
def test_who_finds_that_a_message_is_gone_says_so_to_the_store(
    monkeypatch: pytest.MonkeyPatch, finds: str
) -> None:
    """An older copy of the room: nothing is taken from it before the loss is told (ADR 24)."""
    lab = Lab()
    one = joined(lab)
    lab.post(2)
    lab.settle()
    lost: list[bytes] = []
    monkeypatch.setattr(lab.committer, "lose", lambda name, _: lost.append(name))
    room = lab.room()
    room.messages.pop()
    room.offset = 1
    if finds == "a page":
        lab.fall()
        lab.rise()
        lab.deliver()
        lab.execute()
        lab.answer()
    else:
        while not lost:
            lab.tick()
            lab.execute(4)
            lab.answer()
    assert lost == [b"r"]
    assert judge(one.sent) == (room.epoch, 2)


def test_a_room_that_is_heard_no_more_is_asked_for_again() -> None:
    """Nobody asked for that: its slot has moved (ADR 25)."""
    lab = Lab()
    one = joined(lab)
    channel = lab.route.channel(b"r")
    lab.heard.discard(channel)
    lab.hub.unsubscribed(lab.feed, channel)
    lab.post()
    lab.tick()
    assert channel in lab.heard
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 1)


def test_a_recovery_ends_while_posts_go_on() -> None:
    """A member that comes back arrives although a post overtakes every page that it reads."""
    lab = Lab()
    joined(lab)
    lab.post(250)
    lab.settle()
    one = lab.client(1)
    one.join(lab.room().epoch, 5)
    rounds = 0
    while (lab.asked or lab.carried) and rounds < 20:
        rounds += 1
        lab.execute(len(lab.asked))
        lab.post()
        lab.deliver()
        lab.answer()
    assert rounds < 8
    assert judge(one.sent) == (lab.room().epoch, 250 + rounds)
    lab.post()
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 251 + rounds)


def test_at_the_position_when_the_next_post_comes() -> None:
    """Posted between the question and the answer: recovered, nothing can not be had."""
    lab = Lab()
    joined(lab)
    lab.post()
    lab.settle()
    one = lab.client(1)
    one.join(lab.room().epoch, 1)
    lab.execute(len(lab.asked))
    lab.post()
    lab.deliver()
    lab.settle()
    assert b" 1 recovered\n" in one.sent
    assert judge(one.sent) == (lab.room().epoch, 2)


def test_ahead_of_its_daemon() -> None:
    """It saw a message elsewhere that has not arrived here: recovered, and not sent it again."""
    lab = Lab()
    other = joined(lab)
    lab.post(3)
    one = lab.client(1)
    one.join(lab.room().epoch, 3)
    lab.execute(len(lab.asked))
    lab.answer()
    assert b" 3 recovered\n" in one.sent
    lab.post()
    lab.settle()
    lab.tick()
    lab.settle()
    assert judge(one.sent) == judge(other.sent) == (lab.room().epoch, 4)
    assert one.sent.count(b"MSG") == 1


def test_ahead_of_everything_is_lost() -> None:
    """A position that the store does not know is not recovered."""
    lab = Lab()
    joined(lab)
    one = lab.client(1)
    one.join(lab.room().epoch, 7)
    lab.settle()
    assert one.sent == b"JOINED r %b 0 lost\n" % lab.room().epoch


def test_of_the_next_history_before_its_daemon_knows() -> None:
    """A position of a history that this daemon has not heard of yet: recovered all the same."""
    lab = Lab()
    other = joined(lab)
    lab.post()
    lab.settle()
    lab.store._rooms._rooms.clear()  # noqa: SLF001 — another history begins
    lab.post()
    lab.post()
    lab.stream.clear()
    one = lab.client(1)
    one.join(lab.room().epoch, 1)
    lab.settle()
    lab.tick()
    lab.settle()
    assert judge(one.sent) == judge(other.sent) == (lab.room().epoch, 2)
    assert b" 1 recovered\n" in one.sent
    assert b"lost" not in one.sent


def test_a_page_of_another_history_is_no_recovery() -> None:
    """The room begins anew between entering and reading: said once, with offsets of the new one."""
    lab = Lab()
    joined(lab)
    lab.post()
    lab.post()
    lab.settle()
    old = lab.room().epoch
    one = lab.client(1)
    one.join(old, 1)
    lab.store._rooms._rooms.clear()  # noqa: SLF001
    lab.post(5)
    lab.stream.clear()
    lab.settle()
    assert b"recovered" not in one.sent
    assert judge(one.sent) == (lab.room().epoch, 5)


def test_a_storm_of_joins_is_let_in() -> None:
    """Somebody new in every round trip does not keep the others out."""
    lab = Lab()
    first = lab.client(0)
    first.join()
    lab.deliver()
    for number in range(1, 6):
        lab.execute(len(lab.asked))
        lab.client(number).join()
        lab.answer()
    assert b"fresh" in first.sent


def test_an_announcement_that_failed_is_made_again() -> None:
    """The last member leaves while the store is away: the room is not let go with a wrong count."""
    lab = Lab()
    one = joined(lab)
    assert lab.store._rooms.who(b"r") == {lab.feed.inbox: 1}  # noqa: SLF001
    one.part()
    lab.refuse()
    for _ in range(30):
        lab.tick()
        lab.settle()
    assert lab.store._rooms.who(b"r") == {}  # noqa: SLF001
    assert not lab.hub.rooms


def test_a_connection_that_ends_anywhere_leaves_nothing() -> None:
    """Whatever it was waiting for: no count stays, and the room is let go."""
    for steps in range(12):
        lab = Lab()
        other = joined(lab)
        lab.post(300)
        lab.settle()
        one = lab.client(1)
        one.join(lab.room().epoch, 0)
        for _ in range(steps):
            lab.execute()
            lab.answer()
            lab.deliver()
        one.end()
        lab.settle()
        here = lab.hub.rooms[b"r"]
        assert (here.coming, len(here.members), len(here.recovering)) == (0, 1, 0)
        other.end()
        for _ in range(30):
            lab.tick()
            lab.settle()
        assert not lab.hub.rooms


def test_pages_of_two_rooms_do_not_fill_one_outbox() -> None:
    """Recovery is paced in bytes, whatever the messages' size: never more than half an outbox."""
    lab = Lab(outbox_bytes_max=100_000)
    joined(lab)
    for _ in range(100):
        lab.post_text(b"y" * 8000)
    lab.settle()
    one = lab.client(1)
    one.slow = True
    one.join(lab.room().epoch, 0)
    lab.settle()
    assert 0 < one.unsent_most <= 50_000
    while one.unsent:
        one.unsent = 0
        one.member.taken()
        lab.settle()
    assert one.unsent_most <= 50_000
    one.take()
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 100)


def test_a_page_that_comes_when_nobody_is_left() -> None:
    """Route `directed`: posts pass a daemon by from its last member on, whatever it still reads."""
    lab = Lab("directed")
    one = joined(lab)
    lab.fall()
    lab.rise()  # so the room is read again
    lab.execute()
    one.part()
    lab.answer()
    other = lab.client(1)
    other.join()
    lab.execute()  # nobody is here, as posts see it
    lab.post(7)
    lab.settle()
    assert judge(other.sent) == (lab.room().epoch, 7)


def test_the_audit_counts_what_left_no_trace() -> None:
    """A post that was never published: members get it late, and the ledger says so."""
    lab = Lab()
    one = joined(lab)
    lab.post()
    lab.stream.clear()
    for _ in range(int(lab.lives.audit_s / 0.1) + 30):
        lab.tick()
        lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 1)
    assert lab.metrics.rooms.silent == 1


def test_the_audit_finds_another_history() -> None:
    """A room that began anew without a word is not counted as lost: its members are told."""
    lab = Lab()
    one = joined(lab)
    lab.post(5)
    lab.settle()
    lab.store._rooms._rooms.clear()  # noqa: SLF001
    lab.post()
    lab.stream.clear()
    for _ in range(int(lab.lives.audit_s / 0.1) + 30):
        lab.tick()
        lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 1)
    assert lab.metrics.rooms.silent == 0


def test_a_room_lives_while_its_daemon_is_deaf() -> None:
    """Nothing was ever said in it, so its announcement is what it lives by, subscription or not."""
    lab = Lab()
    one = joined(lab)
    epoch = lab.room().epoch
    lab.fall()
    for _ in range(int(3 * lab.lives.announcement_s)):
        lab.tick(1.0)
        lab.settle()
    lab.rise()
    lab.settle()
    assert lab.room().epoch == epoch
    assert b"lost" not in one.sent


def test_a_letter_waits_for_the_owner() -> None:
    """Nothing leaves for another session before this one's owner is confirmed (PROTOCOL §2.3)."""
    lab = Lab("broadcast")
    one, other = lab.client(0), lab.client(1, b"inbox", b"d:2")
    one.member.handle(Tell(other.session.name, b"x"))
    assert [type(write.operation) for write in lab.asked] == [Find, type(KEEP)]
    assert (one.sent, one.suspended) == (b"", True)
    lab.execute(2)
    lab.answer()
    assert [type(write.operation) for write in lab.asked] == [Publish]
    lab.settle()
    assert one.sent == b"TOLD %b delivered\n" % other.session.name


def test_nobody_is_told_where_no_session_is() -> None:
    """And where its daemon has just gone: nobody hears the letter."""
    lab = Lab()
    one = lab.client(0)
    one.member.handle(Tell(lab.client(1).session.name, b"x"))
    lab.settle()
    gone = lab.client(2, b"inbox", b"d:2").session.name
    one.member.handle(Tell(gone, b"x"))
    lab.execute(2)
    lab.answer()
    (letter,) = lab.asked
    letter.client.unavailable()
    assert one.sent.endswith(b"TOLD %b absent\n" % gone)
    assert one.sent.count(b"absent") == 2
    assert not one.suspended


@pytest.mark.parametrize("arrives", [True, False])
def test_a_letter_and_its_answer(*, arrives: bool) -> None:
    """A line for a session elsewhere is handed to it, and TOLD says so; or that no answer came."""
    lab = Lab("broadcast")
    one, other = lab.client(0), lab.client(1, b"inbox", b"d:2")
    one.member.handle(Tell(other.session.name, b"x"))
    for _ in range(2):  # it is found, and written to
        lab.execute(2)
        lab.answer()
    assert one.sent == b""
    if not arrives:
        lab.stream.clear()
        for _ in range(int(ANSWER_S_MAX / 0.1) + 1):
            lab.tick()
    lab.settle()
    from_one = (other.session.name, b"FROM %b x\n" % one.session.name)
    assert lab.told == ([from_one] if arrives else [])
    word = b"delivered" if arrives else b"absent"
    assert one.sent == b"TOLD %b %b\n" % (other.session.name, word)
    assert not one.suspended


@pytest.mark.parametrize("serves", [True, False])
def test_who_can_not_come_in_hears_so(*, serves: bool) -> None:
    """A room that is not ready within the commit deadline: who asked is told, and is no member.

    Where the session's own shard is away too, nobody may answer: its owner can't be confirmed.
    """
    lab = Lab(commit_s_max=2.0)
    lab.fall()
    one = lab.client(0)
    one.join()
    lab.settle()
    lab.store.connected = serves
    lab.tick(1.9)
    assert (one.sent, one.failed, one.suspended) == (b"", False, True)
    lab.tick(0.2)
    assert one.failed is not serves
    assert one.sent.startswith(b"ERR room-unavailable " if serves else b"")
    assert lab.hub.memberships == 0


def test_a_read_that_the_store_did_not_answer() -> None:
    """It is made again with the next tick."""
    lab = Lab()
    one = joined(lab)
    lab.post()
    lab.stream.clear()  # lost
    lab.post()
    lab.deliver()
    lab.refuse()
    assert not lab.asked
    lab.tick()
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 2)


def test_nobody_loses_in_a_room_that_is_let_go() -> None:
    """What an audit found late is nobody's when the room has gone from here."""
    lab = Lab(rooms_max=1)
    one = joined(lab)
    lab.post()
    lab.stream.clear()
    lab.tick(lab.lives.audit_s)
    lab.settle()  # one message is late
    one.part()
    lab.settle()
    for _ in range(int(LATE_S / 0.1) + 2):
        lab.tick()
        lab.settle()
    assert not lab.hub.rooms
    assert lab.metrics.rooms.silent == 0


def sums_are_sums(lab: Lab) -> None:
    """The hub's bounds are kept on true figures."""
    rooms = lab.hub.rooms.values()
    lines = [*(line for here in rooms for line in here.tail)]
    lines += [said for here in rooms for _, _, said in here.early]
    assert lab.hub.kept.bytes == sum(map(len, lines))
    assert lab.hub.memberships == sum(here.interested for here in rooms)


def test_many_who_come_back_together() -> None:
    """Of a thousand lines each missed, a few pages are read at once; all get theirs, in turn."""
    lab = Lab()
    joined(lab)
    lab.post(200)
    lab.settle()
    crowd = [lab.client(number) for number in range(100)]
    for one in crowd:
        one.join(lab.room().epoch, 0)
    lab.execute(len(lab.asked))
    lab.answer()
    crowd.pop().end()
    assert len(lab.hub.recoveries.pages.waiting) == len(crowd) - RECOVERY_PAGES_MAX, "it has gone"
    most = 0
    while lab.asked or lab.carried:
        reads = [write.operation for write in lab.asked if isinstance(write.operation, Read)]
        most = max(most, sum(read.messages_max > 1 for read in reads))
        lab.execute(len(lab.asked))
        lab.answer()
        lab.deliver(len(lab.stream))
    assert most == RECOVERY_PAGES_MAX
    assert not lab.hub.recoveries.pages.waiting
    assert {judge(one.sent) for one in crowd} == {(lab.room().epoch, 200)}


def test_recoveries_wait_while_too_much_waits_for_clients() -> None:
    """What was missed is in the store; it comes when there is room for it."""
    lab = Lab()
    joined(lab)
    lab.post(50)
    lab.settle()
    lab.crowded = True
    one = lab.client(1)
    one.join(lab.room().epoch, 0)
    for _ in range(5):
        lab.settle()
        lab.tick()
    assert judge(one.sent) == (lab.room().epoch, 1), "only the one that tells of the others"
    lab.crowded = False
    lab.tick()
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 50)


@pytest.mark.parametrize("kept_bytes_max", [0, 2000])
def test_what_is_kept_for_who_recovers_is_bounded(
    monkeypatch: pytest.MonkeyPatch, kept_bytes_max: int
) -> None:
    """Above the bound nothing is kept, and they read what they miss."""
    monkeypatch.setattr(kept, "KEPT_BYTES_MAX", kept_bytes_max)
    lab = Lab()
    joined(lab)
    lab.post(150)
    lab.settle()
    one = lab.client(1)
    one.slow = True  # it is on its way for long
    one.join(lab.room().epoch, 0)
    most = 0
    for _ in range(30):
        lab.execute(len(lab.asked))
        lab.answer()
        lab.post_text(b"y" * 500)
        lab.deliver()
        most = max(most, lab.hub.kept.bytes)
        sums_are_sums(lab)
    assert kept_bytes_max - 1000 < most <= kept_bytes_max
    while one.slow:
        one.take()
        lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 180)


def test_a_tick_that_gathers_too_much_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gathers is sent before its time when it is more than may gather."""
    monkeypatch.setattr(delivery, "GATHERED_BYTES_MAX", 100)
    lab = Lab(room_tick_s=60)
    one = joined(lab)
    lab.post(4)
    lab.deliver(4)
    assert judge(one.sent) == (lab.room().epoch, 0), "they gather"
    lab.post(20)
    lab.deliver(20)
    assert judge(one.sent) == (lab.room().epoch, 24)
    lab.tick_over()


@pytest.mark.parametrize("route, replicas", [*((route, 0) for route in ROUTES), ("room", 1)])
@pytest.mark.parametrize("tick_s", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_things(  # noqa: C901, PLR0912, PLR0915 — a case for each step
    route: str, replicas: int, tick_s: float, seed: int
) -> None:
    """Whatever comes when: each member's stream is whole, and nothing was lost without a trace."""
    dice = random.Random(seed)
    page_bytes_max = dice.choice([100, 0])
    lab = Lab(route, room_tick_s=tick_s, page_bytes_max=page_bytes_max, store_replicas=replicas)
    clients = [lab.client(number) for number in range(4)]
    seen: dict[Connection, tuple[bytes, int] | None] = dict.fromkeys(clients)
    for _ in range(dice.choice([50, 400])):
        one = dice.choice(clients)
        if one.gone:
            clients.remove(one)
            clients.append(lab.client(dice.randrange(6)))
            seen[clients[-1]] = judge(one.sent) or seen.pop(one, None)
            continue
        match dice.choice(STEPS):
            case "join" if not one.suspended and lab.connected:
                position = judge(one.sent) or seen[one]
                one.join(*(position if position and dice.random() < 0.7 else (b"", 0)))
            case "part" if not one.suspended and judge(one.sent):
                seen[one] = judge(one.sent)
                one.part()
            case "end":
                one.end()
            case "fall" if lab.connected:
                lab.fall()
            case "rise" if not lab.connected:
                lab.rise()
            case "slow":
                one.slow = True
            case "take":
                one.take()
            case "tick":
                lab.tick(dice.choice([0.1, 1.5]))
                lab.tick_over()
            case "post" | "answer" as step:
                getattr(lab, step)()
            case "execute" | "deliver" as step:
                if replicas and dice.random() < 0.5:
                    lab.overtake()
                getattr(lab, step)(dice.randint(1, 4))
                if dice.random() < 0.5:
                    lab.hole_over()
        sums_are_sums(lab)
    if not lab.connected:
        lab.rise()
    for _ in range(40):
        for one in clients:
            one.take()
        lab.settle()
        lab.tick(0.4)
        lab.tick_over()
        lab.hole_over()
    here = lab.hub.rooms.get(b"r")
    assert here is None or (here.coming, len(here.recovering)) == (0, 0)
    for one in clients:
        position = judge(one.sent)
        if position is not None and not one.gone:
            assert position == (lab.room().epoch, lab.posted)
        assert b"lost" not in one.sent
        assert b"GAP" not in one.sent
    assert lab.metrics.rooms.silent == 0


def test_a_page_does_not_run_ahead_of_the_room() -> None:
    """Who recovers is sent nothing that the room's members don't have yet, and nothing twice."""
    lab = Lab()
    joined(lab)
    lab.post(3)
    lab.settle()
    lab.post()  # on its way
    one = lab.client(1)
    one.join(lab.room().epoch, 1)
    for _ in range(2):  # the first that it missed, and the rest
        lab.execute(len(lab.asked))
        lab.answer()
    assert judge(one.sent) == (lab.room().epoch, 3)
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 4)


def test_what_a_page_brought_is_not_at_hand() -> None:
    """A hole is read while somebody recovers: what came before it is not taken for what follows."""
    lab = Lab()
    joined(lab)
    lab.post(250)
    lab.settle()
    one = lab.client(1)
    one.slow = True
    one.join(lab.room().epoch, 100)
    lab.settle()
    lab.post()
    lab.post()
    lab.deliver(2)
    lab.post()
    lab.stream.clear()  # 253 is lost
    lab.post()
    lab.deliver()
    one.take()  # its page is asked for behind the room's own
    lab.execute(2)
    lab.post()
    lab.post()
    lab.deliver(2)
    lab.answer()
    lab.settle()
    assert judge(one.sent) == (lab.room().epoch, 256)


def test_beats_that_do_not_arrive() -> None:
    """The store has them and nothing comes: deaf, and the subscription is made anew; then well."""
    lab = Lab("broadcast", remote=True)
    for _ in range(int((lab.lives.beat_s + DEAF_S) / 0.1) + 5):
        lab.tick()
        lab.execute(len(lab.asked))
        lab.answer()
        if lab.resets:
            break
        lab.stream.clear()
    assert lab.resets == 1
    assert lab.hub.deaf
    for _ in range(10):
        lab.tick()
        lab.settle()
    assert not lab.hub.deaf
