"""A correct service and its clients, by chance: histories that keep every rule of the checker.

Written from PROTOCOL §2, not from the daemon: one store, which commits a line if its connection
still owns the session, and which may lose data, all of it or of half of its slots; connections on which either direction may stand still, run late or
be cut; clients that resume, two of which may hold one token.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from echod.store.slots import ALL_SLOTS, SLOTS
from lab.drill.judge.checker import Loss

if TYPE_CHECKING:
    import random

    from loadtest.history import Event

INFLIGHT_MAX = 4


@dataclass
class Stored:
    """A session in the store."""

    name: str
    epoch: int = 0
    lines: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def seq(self) -> int:
        """The number of the last committed line."""
        return len(self.lines)

    def line(self, number: int) -> str | None:
        """The text of line `number`; None for 0."""
        return self.lines[number - 1] if number else None


@dataclass
class Wire:
    """A connection; each direction is a queue of events to come."""

    k: int
    name: str = ""
    epoch: int = 0
    up: deque[tuple[str, Any, Any]] = field(default_factory=deque)
    down: deque[dict[str, Any]] = field(default_factory=deque)
    open_here: bool = True
    open_there: bool = True


@dataclass
class Holder:
    """A client. `shared` holds the session's name, which a second claimant has too."""

    c: str
    shared: dict[str, str]
    k: int = 0
    name: str = ""
    wire: Wire | None = None
    welcomed: bool = False
    acked: int = 0
    sent: int = 0
    last: str | None = None
    waiting: dict[int, str] = field(default_factory=dict)


class Model:
    """Run `steps` steps; `history` is what the clients saw."""

    def __init__(self, chance: random.Random, *, clients: int = 4, loss: bool = False) -> None:
        self.chance = chance
        self.history: list[Event] = []
        self.losses: list[Loss] = []
        self.store: dict[str, Stored] = {}
        self.loss = loss
        self._now = 100.0
        self._names = 0
        self._texts = 0
        self._copies: list[dict[str, tuple[int, list[str], bool]]] = []
        self.holders = [Holder(f"c{number}", {}) for number in range(clients)]
        self.holders.append(Holder("claimant", self.holders[0].shared))
        self._old: list[tuple[Holder, Wire]] = []

    def run(self, steps: int) -> list[Event]:
        """Go on; returns all of the history."""
        for _ in range(steps):
            self._now += self.chance.uniform(0.001, 0.05)
            holder = self.chance.choice(self.holders)
            step = self.chance.random()
            if holder.wire is None:
                self._connect(holder)
            elif step < 0.3:
                self._ask(holder, holder.wire)
            elif step < 0.6:
                self._serve(holder.wire)
            elif step < 0.9:
                self._hear(holder, holder.wire)
            elif step < 0.94:
                self._cut(holder, holder.wire)
            elif step < 0.97 and self._old:
                self._late()
            elif self.loss and step > 0.995 and self.history:
                self._lose()
        return self.history

    def _record(self, holder: Holder, k: int, kind: str, **fields: object) -> None:
        event = {"t": self._now, "c": holder.c, "k": k, "e": kind, **fields}
        self.history.append(cast("Event", event))

    def _connect(self, holder: Holder) -> None:
        holder.k += 1
        wire = holder.wire = Wire(holder.k)
        holder.welcomed = False
        self._record(holder, wire.k, "connect", to="there")
        self._record(holder, wire.k, "connected")
        name = holder.shared.get("name", "")
        if holder.c == "claimant" and not name:
            wire.open_there = False  # it has no token yet
            self._end(holder, wire, "by client")
            return
        if name != holder.name:
            self._begin_afresh(holder)  # the other claimant ended it, and has begun another
            holder.name = name
            if name:
                holder.shared["name"] = name
        acked = holder.acked or None
        self._record(holder, wire.k, "hello", name=name, acked=acked)
        wire.up.append(("hello", name, acked))

    def _ask(self, holder: Holder, wire: Wire) -> None:
        if not holder.welcomed or not wire.open_here or len(holder.waiting) >= INFLIGHT_MAX:
            return
        kind = self.chance.random()
        if kind < 0.1:
            self._texts += 1
            self._record(holder, wire.k, "ping", text=f"p{self._texts}")
            wire.up.append(("ping", f"p{self._texts}", None))
        elif kind < 0.2 and holder.sent and not holder.waiting and holder.last is not None:
            self._send(holder, wire, holder.sent, holder.last)
        elif kind < 0.22 and not holder.waiting:
            self._record(holder, wire.k, "quit")
            wire.up.append(("quit", None, None))
            holder.welcomed = False
        else:
            self._texts += 1
            holder.sent += 1
            self._send(holder, wire, holder.sent, f"{holder.name} {self._texts}")

    def _send(self, holder: Holder, wire: Wire, number: int, text: str) -> None:
        holder.waiting[number] = text
        self._record(holder, wire.k, "sent", n=number, text=text)
        wire.up.append(("sent", number, text))

    def _serve(self, wire: Wire) -> None:
        """The daemon takes the next thing that was sent on this connection."""
        if not wire.up or not wire.open_there:
            return
        kind, one, two = wire.up.popleft()
        if kind == "hello":
            self._open(wire, one, two)
            return
        stored = self.store[wire.name]
        if stored.ended or wire.epoch != stored.epoch:
            code = "unknown-session" if stored.ended else "taken-over"
            self._fail(wire, code)
        elif kind == "ping":
            wire.down.append({"e": "pong", "text": one})
        elif kind == "quit":
            stored.ended = True
            wire.down.append({"e": "bye"})
        elif one == stored.seq and two == stored.line(one):
            wire.down.append(self._reply(stored, one))
        elif one == stored.seq + 1:
            stored.lines.append(two)
            wire.down.append(self._reply(stored, one))
        else:
            raise AssertionError(f"the model's client sent {one} after {stored.seq}")

    @staticmethod
    def _reply(stored: Stored, number: int) -> dict[str, Any]:
        previous = stored.line(number - 1)
        return {"e": "answered", "n": number, "previous": previous, "text": stored.line(number)}

    def _open(self, wire: Wire, name: str, acked: int | None) -> None:
        if not name:
            self._names += 1
            name = f"s{self._names}"
            self.store[name] = Stored(name)
        stored = self.store[name]
        if stored.ended:
            self._fail(wire, "unknown-session")
            return
        if acked is not None and acked > stored.seq:
            self._fail(wire, "rolled-back")
            return
        stored.epoch += 1
        wire.epoch = stored.epoch
        wire.name = name
        wire.down.append(
            {
                "e": "welcome",
                "name": name,
                "epoch": stored.epoch,
                "seq": stored.seq,
                "text": stored.line(stored.seq),
            }
        )

    @staticmethod
    def _fail(wire: Wire, code: str) -> None:
        wire.down.append({"e": "error", "code": code, "text": "why"})
        wire.down.append({"e": "closed", "how": "end of stream"})
        wire.open_there = False

    def _hear(self, holder: Holder, wire: Wire) -> None:
        """What was sent to the client arrives."""
        if not wire.down:
            return
        fields = wire.down.popleft()
        self._record(holder, wire.k, fields["e"], **{k: v for k, v in fields.items() if k != "e"})
        if wire is not holder.wire:
            return
        heard = {"welcome": self._welcomed, "answered": self._answered, "error": self._failed}
        kind = fields["e"]
        if kind in heard:
            heard[kind](holder, wire, fields)
        elif kind == "bye":
            self._begin_afresh(holder)
        elif kind == "closed":
            holder.wire = None

    def _welcomed(self, holder: Holder, wire: Wire, fields: dict[str, Any]) -> None:
        """Learn what was committed, and send the rest again, or some of it."""
        holder.name = holder.shared["name"] = fields["name"]
        holder.welcomed = True
        seq = fields["seq"]
        holder.acked = holder.sent = seq
        holder.last = fields["text"]
        again = {n: text for n, text in holder.waiting.items() if n > seq}
        holder.waiting.clear()
        for number, text in sorted(again.items()):
            if self.chance.random() < 0.8 and number == holder.sent + 1:
                holder.sent = number
                self._send(holder, wire, number, text)

    @staticmethod
    def _answered(holder: Holder, _: Wire, fields: dict[str, Any]) -> None:
        holder.waiting.pop(fields["n"], None)
        holder.acked = max(holder.acked, fields["n"])
        holder.last = fields["text"]

    def _failed(self, holder: Holder, wire: Wire, fields: dict[str, Any]) -> None:
        if fields["code"] == "rolled-back":
            holder.acked = 0
            self._record(holder, wire.k, "accept", acked=None)
        elif fields["code"] == "unknown-session":
            self._begin_afresh(holder)

    def _begin_afresh(self, holder: Holder) -> None:
        holder.shared.pop("name", None)
        holder.acked = holder.sent = 0
        holder.last = None
        holder.waiting.clear()

    def _cut(self, holder: Holder, wire: Wire) -> None:
        """The client gives up; the daemon may notice, or go on for a while."""
        if self.chance.random() < 0.5:
            wire.open_there = False
        if self.chance.random() < 0.6:
            wire.down.clear()
            self._end(holder, wire, self.chance.choice(["ECONNRESET", "timeout", "by client"]))
            if wire.open_there:
                self._old.append((holder, wire))
        else:
            # It is left open and forgotten: its late answers may still be heard.
            self._old.append((holder, wire))
            holder.wire = None

    def _end(self, holder: Holder, wire: Wire, how: str) -> None:
        self._record(holder, wire.k, "closed", how=how)
        wire.open_here = False
        holder.wire = None

    def _late(self) -> None:
        """A forgotten connection goes on: commits what was sent, or asks something more."""
        holder, wire = self.chance.choice(self._old)
        step = self.chance.random()
        if step < 0.5:
            self._serve(wire)
            if not wire.open_here:
                wire.down.clear()
        elif step < 0.8 and wire.open_here:
            self._hear(holder, wire)
        elif wire.open_here and wire.epoch and wire.open_there:
            self._texts += 1
            stored = self.store[wire.name]
            if stored.ended or stored.epoch != wire.epoch:
                self._record(holder, wire.k, "ping", text=f"p{self._texts}")
                wire.up.append(("ping", f"p{self._texts}", None))

    def _lose(self) -> None:
        """An older copy is put in the place of the store, or of half of its slots."""
        if not self._copies or self.chance.random() < 0.5:
            self._copies.append(
                {n: (s.epoch, list(s.lines), s.ended) for n, s in self.store.items()}
            )
            return
        copy = self.chance.choice(self._copies)
        slots = self.chance.choice([ALL_SLOTS, range(SLOTS // 2), range(SLOTS // 2, SLOTS)])
        loss = Loss(self._now - 1e-6, slots)
        self.losses.append(loss)
        for name, stored in self.store.items():
            if not loss.concerns(name):
                continue
            if name not in copy:
                stored.ended = True
            else:
                # Owners' keys are random: who owned it then is not who owns it now.
                stored.epoch, stored.lines, stored.ended = copy[name][0], [*copy[name][1]], False
        for holder in self.holders:
            if holder.wire is not None and holder.wire.open_there:
                if holder.wire.epoch and not loss.concerns(holder.wire.name):
                    continue
                if holder.wire.epoch:
                    self._fail(holder.wire, "rolled-back")
                else:
                    holder.wire.open_there = False
                    holder.wire.down.clear()
                    self._end(holder, holder.wire, "ECONNRESET")
        for _, wire in self._old:
            wire.open_there = wire.open_there and bool(wire.name) and not loss.concerns(wire.name)
