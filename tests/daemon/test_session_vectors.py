"""tests/vectors/session.json over real sockets: what any server of the session port answers.

A vector is some dialogues, each on a connection of its own unless it says `on`. In them
`{token}` is the session's token, `{ttl}` a number and `{text}` what is said to people.
`closes`: the server does so after the reply, which until then it does not.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors/session.json").read_text()
)
PLACES = {
    b"{token}": rb"(?P<token>[a-z2-7]{10}\.[a-z2-7]{26})",
    b"{ttl}": rb"[1-9][0-9]*",
    b"{text}": rb"[^\n]+",
}


def whole(sent: bytes) -> list[bytes]:
    """In one piece."""
    return [sent]


def byte_by_byte(sent: bytes) -> list[bytes]:
    """A segment for each."""
    return [sent[at : at + 1] for at in range(len(sent))]


def in_pieces(sent: bytes) -> list[bytes]:
    """Cut anywhere, the same each time."""
    rng = random.Random(sent)
    edges = sorted(rng.randrange(len(sent) + 1) for _ in range(4))
    return [sent[a:b] for a, b in zip([0, *edges], [*edges, len(sent)], strict=True)]


class Player:
    """Plays one vector."""

    def __init__(self, port: int, cut: Callable[[bytes], list[bytes]], trailing: bytes) -> None:
        self.port = port
        self.cut = cut
        self.trailing = trailing
        self.token = b""
        self.socks: list[socket.socket] = []

    def play(self, vector: dict[str, Any]) -> None:
        """Every dialogue in turn."""
        dialogues = vector["dialogues"]
        go_on = {dialogue["on"] for dialogue in dialogues if "on" in dialogue}
        try:
            for number, dialogue in enumerate(dialogues):
                self.converse(vector["name"], dialogue, goes_on=number in go_on)
        finally:
            for sock in self.socks:
                sock.close()

    def converse(self, name: str, dialogue: dict[str, Any], *, goes_on: bool) -> None:
        """One dialogue: what is sent, and what must come."""
        if "on" in dialogue:
            sock = self.socks[dialogue["on"]]
        else:
            sock = raw.connect(self.port)
            self.socks.append(sock)
        half_close, closes = dialogue.get("half_close", False), dialogue.get("closes", False)
        sent = dialogue["sent"].encode("latin-1").replace(b"{token}", self.token)
        # An unfinished line asks for nothing; behind a last word, whole ones neither.
        trailing = b"" if half_close or goes_on else self.trailing
        if closes and trailing:
            trailing = b"ECHO 9 x\n" + trailing
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has been said why
            for piece in (*self.cut(sent), *self.cut(trailing)):
                if piece:
                    sock.sendall(piece)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        self.expect(sock, name, dialogue["reply"].encode("latin-1"), closes=closes or half_close)

    def expect(self, sock: socket.socket, name: str, reply: bytes, *, closes: bool) -> None:
        """Exactly `reply`, as far as can be seen."""
        got = b""
        while closes or got.count(b"\n") < reply.count(b"\n"):
            data = sock.recv(65_536)
            if not data:
                assert closes, f"{name}: closed after {got!r}"
                break
            got += data
        pattern = re.escape(reply)
        for place, meaning in PLACES.items():
            pattern = pattern.replace(re.escape(place), meaning)
        match = re.fullmatch(pattern, got)
        assert match, f"{name}: {got!r} is not {reply!r}"
        if b"{token}" in reply:
            assert self.token in (b"", match["token"]), f"{name}: another token"
            self.token = match["token"]


@pytest.mark.parametrize("kind", ["memory", "redis", "greenlet"])
def test_vectors(kind: str, echod: Callable[..., Echod], redis: RedisServer) -> None:
    """Each is answered byte for byte, whole, cut anywhere, and with more behind it."""
    store = "memory://" if kind == "memory" else redis.url
    reader = "greenlet" if kind == "greenlet" else "callback"
    port = echod(store=store, reader=reader).session_port
    for cut in (whole, byte_by_byte, in_pieces):
        for trailing in (b"", b"ECHO 1"):
            for vector in VECTORS:
                Player(port, cut, trailing).play(vector)
