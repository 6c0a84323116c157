"""A client's part of the history (history.py): requests and events as its records.

A client without a recorder notes nothing, at the cost of one comparison. Secrets never
get here: of a token only the public name is noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest import session_events as events
from loadtest import session_requests as requests

if TYPE_CHECKING:
    from loadtest.history import Recorder
    from loadtest.session_events import Event
    from loadtest.session_requests import Request


class Notes:
    """Of one client, connection after connection.

    Attributes:
        connection: the number of the latest one, from 1; 0 before the first.
    """

    def __init__(self, recorder: Recorder | None = None, client: str = "") -> None:
        self.connection = 0
        self._recorder = recorder
        self._client = client

    def connecting(self, address: tuple[str, int]) -> None:
        """Another attempt to connect begins."""
        self.connection += 1
        self.note("connect", to=f"{address[0]}:{address[1]}")

    def note(self, kind: str, **fields: object) -> None:
        """Note anything else of the latest connection."""
        if self._recorder is not None:
            self._recorder.record(kind, c=self._client, k=self.connection, **fields)

    def request(self, request: Request) -> None:
        """Note a request, before it goes out."""
        if self._recorder is None:
            return
        match request:
            case requests.Echo(n, text):
                self.note("sent", n=n, text=text)
            case requests.Hello():
                self.note("hello", name=request.name, acked=request.acked)
            case requests.Ping(text):
                self.note("ping", text=text)
            case requests.Quit():
                self.note("quit")
            case _:
                self._room_request(request)

    def _room_request(self, request: Request) -> None:
        match request:
            case requests.Join(room, life, offset):
                self.note("join", room=room, life=life, offset=offset)
            case requests.Say(room, id_, text):
                self.note("say", room=room, id=id_, text=text)
            case requests.Tell(name, text):
                self.note("tell", name=name, text=text)
            case requests.Part(room):
                self.note("part", room=room)
            case requests.Who(room):
                self.note("who", room=room)

    def event(self, event: Event) -> None:
        """Note what the server said."""
        if self._recorder is None:
            return
        match event:
            case events.Answered(n, previous, text):
                self.note("answered", n=n, previous=previous, text=text)
            case events.Welcome(_, epoch, seq, _, text):
                self.note("welcome", name=event.name, epoch=epoch, seq=seq, text=text)
            case events.Pong(text):
                self.note("pong", text=text)
            case events.Bye():
                self.note("bye")
            case events.Drain(ms):
                self.note("drain", ms=ms)
            case events.ErrorLine(code, text):
                self.note("error", code=code, text=text)
            case _:
                self._room_event(event)

    def _room_event(self, event: Event) -> None:
        match event:
            case events.Msg(room, offset, sender, text):
                self.note("msg", room=room, offset=offset, sender=sender, text=text)
            case events.Gap(room, first, last):
                self.note("gap", room=room, first=first, last=last)
            case events.Said(room, id_, offset):
                self.note("said", room=room, id=id_, offset=offset)
            case events.Joined(room, life, offset, how):
                self.note("joined", room=room, life=life, offset=offset, how=how)
            case events.Parted(room):
                self.note("parted", room=room)
            case events.Members(room, members, daemons):
                self.note("members", room=room, members=members, daemons=daemons)
            case events.Told(name, how):
                self.note("told", name=name, how=how)
            case events.From(sender, text):
                self.note("from", sender=sender, text=text)
