"""A person's part in a room, without a terminal: what is typed goes in, what is shown comes out.

    type(line) ─▶ queue ─▶ run (its thread) ─▶ RoomMember ─▶ the fleet
                             └─▶ show(kind, text) ◀─────────────┘

Reconnects are the session client's, joins at the last position the room member's; here they
become words, so that whoever reads sees the break and that nothing is missing behind it.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from loadtest import session_events as events
from loadtest import session_requests as requests
from loadtest.errors import ClientError, RolledBack, SessionLost
from loadtest.room_member import GivenUp, RoomMember
from loadtest.session_client import SessionClient
from loadtest.session_retry import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

HELP: Final = "/who   /tell NAME text   /quit   anything else is said in the room"

# Between two looks at what was typed: nobody feels it, and 20 a second cost nothing.
LOOK_S: Final = 0.05
# A person waits less patiently than a load: for another attempt, and to be told. For an answer
# as long as any client, or a slow store would be taken for a dead daemon.
PATIENCE: Final = Patience(give_up_s=10.0, ping_every_s=5.0, backoff_s_max=1.0)
# Leaving waits so long for the fleet to hear of it.
QUIT_S_MAX: Final = 2.0
# Typed and not taken yet: more than a script writes at once waits in its pipe.
TYPED_MAX: Final = 1_000

# What a line that is shown can be.
MESSAGE, OWN, WHISPER, NOTE, ALERT = "message", "own", "whisper", "note", "alert"


class Talk:
    """See the module.

    Args:
        addresses: Entrances to the session port, each (host, port).
        room: Its name.
        show: Called with a line to be shown: what it is, and its printable text.

    Attributes:
        name: this session's public name; empty before the first WELCOME.
        state: what there is to know of the connection, in words.
    """

    def __init__(
        self, addresses: list[tuple[str, int]], room: str, show: Callable[[str, str], object]
    ) -> None:
        self.name = ""
        self.state = "connecting …"
        self._addresses = addresses
        self._room = room.encode()
        self._say = show
        self._typed: queue.Queue[str] = queue.Queue(TYPED_MAX)
        self._over = False
        self._away = False
        self._room_away = False
        self._member = RoomMember(self._client())
        self._member.join(self._room)

    @property
    def where(self) -> str:
        """The entrance of the latest connection, host:port; empty before the first."""
        entrance = self._member.client.entrance
        return "{}:{}".format(*entrance) if entrance else ""

    def type(self, line: str) -> None:
        """A line that a person has typed; any thread may."""
        self._typed.put(line)

    def stop(self) -> None:
        """As `/quit`."""
        self._over = True

    def run(self) -> None:
        """Talk until `/quit` or `stop`, and leave."""
        while not self._over:
            try:
                self._turn()
            except SessionLost:
                self._begin_again()
            except RolledBack:
                self._member.client.accept_loss()
                self._say(ALERT, "the fleet has lost data; what was said lately may be gone")
            except ClientError as error:
                self._cut(f"no service: {error}")
        self._leave()

    def _client(self) -> SessionClient:
        return SessionClient(*self._addresses, patience=PATIENCE)

    def _turn(self) -> None:
        if not self._member.client.connected and self.name and not self._away:
            self._cut("connection lost")
        while not self._over and not self._typed.empty():
            self._take(self._typed.get())
        if not self._over:
            for happened in self._member.receive(LOOK_S):
                self._hear(happened)

    def _leave(self) -> None:
        client = self._member.client
        # What was said is to be heard: its answers are waited for, and QUIT's is not.
        until_s = time.monotonic() + QUIT_S_MAX
        try:
            while (self._member.unanswered or self._member.behind) and (time.monotonic() < until_s):
                for happened in self._member.receive(LOOK_S):
                    self._hear(happened)
        except ClientError as error:
            self._say(ALERT, f"left while {self._member.unanswered} posts were unanswered: {error}")
        client.leave()

    # What is typed.

    def _take(self, line: str) -> None:
        line = line.strip("\r\n")
        verb, _, rest = line.partition(" ")
        try:
            if verb == "/quit":
                self._over = True
            elif verb == "/who":
                self._member.who(self._room)
            elif verb == "/tell":
                name, _, text = rest.partition(" ")
                self._member.tell(name.encode(), text.encode())
            elif verb.startswith("/"):
                self._say(NOTE, HELP)
            elif line:
                self._member.say(self._room, line.encode())
        except ValueError as error:
            self._say(ALERT, f"that can't be sent: {error}")

    # What happens.

    def _hear(self, happened: object) -> None:
        match happened:
            case events.Welcome():
                self._welcomed(happened)
            case events.Joined():
                self._joined(happened)
            case events.Msg(_, _, sender, text):
                own = sender.decode() == self.name
                self._say(OWN if own else MESSAGE, f"{sender.decode()}: {_shown(text)}")
            case events.Gap(_, first, last):
                self._say(ALERT, f"{last - first + 1} messages can no longer be had")
            case events.Drain():
                self._say(NOTE, "this daemon is leaving; moving to another")
            case events.ErrorLine("room-unavailable"):
                # The member asks again; a person hears of it once.
                if not self._room_away:
                    self._say(ALERT, "the room's part of the store is away; trying again …")
                self._room_away = True
            case events.ErrorLine("out-of-order" | "conflict"):
                pass  # the member posts it under another id
            case events.ErrorLine(code, text):
                self._say(ALERT, f"refused: {code} {text}")
            case _:
                self._hear_more(happened)

    def _hear_more(self, happened: object) -> None:
        """What `/who` and `/tell` come to, here and there."""
        match happened:
            case events.Members(_, members, daemons):
                self._room_away = False
                self._say(NOTE, f"{members} in the room, on {daemons} daemons")
            case events.From(sender, text):
                self._say(WHISPER, f"{sender.decode()} tells you: {_shown(text)}")
            case events.Told(name, "delivered"):
                self._say(NOTE, f"told {name.decode()}")
            case events.Told(name, _):
                self._say(NOTE, f"{name.decode()} is not there")
            case events.Said():
                self._room_away = False
            case GivenUp(requests.Say(_, _, text)):
                self._say(ALERT, f"not known whether it was said: {_shown(text)}")
            case GivenUp(requests.Join(room)):
                self._member.join(room)
            case GivenUp(requests.Tell(name, _)):
                self._say(ALERT, f"cut off while telling {name.decode()}: it may not have come")

    def _welcomed(self, welcome: events.Welcome) -> None:
        first, self.name = not self.name, welcome.name.decode()
        if not first and not self._away:
            self._cut("connection lost")  # and found again between two looks
        self._away = False
        self.state = f"connected, connection {welcome.epoch}"
        if first:
            self._say(NOTE, f"you are {self.name}; {HELP}")
        else:
            self._say(NOTE, f"reconnected at {time.strftime('%H:%M:%S')}, still {self.name}")

    def _joined(self, joined: events.Joined) -> None:
        room, self._room_away = joined.room.decode(), False
        if joined.how == "fresh":
            self._say(NOTE, f"in {room}")
        elif joined.how == "recovered":
            self._say(NOTE, f"back in {room}: nothing is missing")
        else:
            self._say(ALERT, f"back in {room}: what was said meanwhile can't be had")

    def _cut(self, why: str) -> None:
        self.state = f"{why}; trying again …"
        if not self._away:
            self._say(ALERT, self.state)
        self._away = True

    def _begin_again(self) -> None:
        """The session is gone: another, with another name."""
        self._member.client.close()
        left = self._member.move(self._client())
        self.name = ""
        self._say(ALERT, "the session has expired: you get another name")
        for post in left:
            self._say(ALERT, f"not known whether it was said: {_shown(post.text)}")


def _shown(text: bytes) -> str:
    """What another has sent, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}"
                   for c in text.decode(errors="replace"))  # fmt: skip


def in_lines(addresses: list[tuple[str, int]], room: str) -> None:
    """`--plain`: stdin is what is typed, and its end `/quit`; stdout what is shown.

    A line begins with what it is (`MESSAGE` …) and a tab.
    """
    talk = Talk(addresses, room, lambda kind, text: print(f"{kind}\t{text}", flush=True))

    def read() -> None:
        for line in sys.stdin:
            talk.type(line)
        # As a line of its own, so that what was typed before is said before.
        talk.type("/quit")

    threading.Thread(target=read, daemon=True).start()
    try:
        talk.run()
    except KeyboardInterrupt:
        talk.stop()
