"""Rooms over daemons, PROTOCOL §3: one order for every member, wherever it is connected.

    SAY ─▶ committer ─▶ post.lua: stream, SPUBLISH ─▶ feed of the room's shard ─▶ hub ─▶ members
                                                               └─ a hole ─▶ read.lua ─┘

Publications are hints, the stream's offsets are the truth (ADR 9). Each imports those above it:

position      how far into a room's stream somebody has been sent it; pure
room          a room that has members here, and its states
kept          what is kept of rooms for those who are on their way to them
delivery      from a room to its members: one send a member
presence      who is in a room, as the fleet knows it
admission     who comes in and leaves, within the daemon's bounds
pages         pages of streams that are read: a few at once
catching_up   a room is read to its end: holes, other histories, new subscriptions
recovery      a member on its way through what it missed
mailbox       TELL from daemon to daemon
audit         each room's position is held against the store
subscription  the connection that a shard's publications arrive on
heartbeat     the proof that they do, and the daemon's lease there
feed          both, and the daemon's inbox on that shard
hub           all rooms here: where these meet
connection    what a member needs of its connection
member        a connection's part in rooms: JOIN … TELL
"""
