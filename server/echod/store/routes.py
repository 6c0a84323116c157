"""How a post finds the daemons that have members of its room: three ways, and their channels.

broadcast  one channel that every daemon listens to
room       a channel for each room, subscribed while a daemon has members in it
directed   the inboxes of the daemons that announced members (post.lua looks them up)

A channel lives where its braces say, as a key does, and is published to by SPUBLISH: the posts
of a room are on the room's shard (ADR 25).

Why three: docs/adr/0009. When which: docs/fanout.md. Pure.
"""

from __future__ import annotations

from typing import Final, Protocol

from echod.store.slots import tag_of


class Route(Protocol):
    """One of them.

    Attributes:
        subscribed_apart: a room's posts arrive once it is subscribed, and until then do not.
        needs_members: posts pass by a daemon that has announced nobody.
        common: the channels that a daemon listens to whichever rooms it has, beside its inbox.
    """

    subscribed_apart: bool
    needs_members: bool
    common: tuple[bytes, ...]

    def channel(self, room: bytes) -> bytes:
        """Where a room's posts are published; b"": to inboxes, one by one."""

    def room_of(self, channel: bytes) -> bytes:
        """The inverse of `channel`; b"" for one that is no room's own."""


def inbox_name(slot: int, daemon: bytes, run: bytes) -> bytes:
    """How one run of one daemon is called among all; it is reached on the shard of this slot."""
    return b"{%b}:%b:%b" % (tag_of(slot), daemon, run)


def inbox_channel(inbox: bytes) -> bytes:
    """Where a daemon listens for what is meant for it alone."""
    return b"inbox:" + inbox


class Broadcast:
    """See the module."""

    subscribed_apart = needs_members = False
    common: tuple[bytes, ...] = (b"c",)

    def channel(self, room: bytes) -> bytes:
        """See `Route`."""
        del room
        return b"c"

    def room_of(self, channel: bytes) -> bytes:
        """See `Route`."""
        del channel
        return b""


class ByRoom:
    """See the module."""

    subscribed_apart, needs_members = True, False
    common: tuple[bytes, ...] = ()

    def channel(self, room: bytes) -> bytes:
        """See `Route`."""
        return b"c:{%b}" % room

    def room_of(self, channel: bytes) -> bytes:
        """See `Route`."""
        return channel[3:-1] if channel.startswith(b"c:{") else b""


class Directed:
    """See the module."""

    subscribed_apart, needs_members = False, True
    common: tuple[bytes, ...] = ()

    def channel(self, room: bytes) -> bytes:
        """See `Route`."""
        del room
        return b""

    def room_of(self, channel: bytes) -> bytes:
        """See `Route`."""
        del channel
        return b""


# By the word of `--room-route`.
ROUTES: Final[dict[str, Route]] = {
    "broadcast": Broadcast(),
    "room": ByRoom(),
    "directed": Directed(),
}
