"""`fleet chat`: people talk in a room, on any daemons, and go on when one dies.

    cli ──▶ screen (a terminal) ──┐
       └──▶ plain (stdin, stdout) ┴──▶ talk ──▶ loadtest.room_member ──▶ the fleet

talk     what a person types, and what comes of it, in words; no terminal here
screen   the pane, the line below it
plain    the same as lines, for scripts and tests

docs/chat.md says what can be typed.
"""
