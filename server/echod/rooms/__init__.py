"""Rooms over daemons, PROTOCOL §3: one order for every member, wherever it is connected.

    SAY ─▶ committer ─▶ post.lua: stream, PUBLISH ─▶ subscription ─▶ hub ─▶ members
                                                          └─ a hole ─▶ read.lua ─┘

room          one room as this daemon has it: position, holes, what is sent; pure
hub           all rooms that have members here: enters, leaves, catches up
member        a connection's part in rooms: JOIN … TELL, and its way through what it missed
subscription  the connection that publications arrive on

Publications are hints, the stream's offsets are the truth (ADR 9).
"""
