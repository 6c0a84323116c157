"""`fleet chat`: people talk in a room, on any daemons, and go on when one dies.

    cli ──▶ screen ──▶ talk ──▶ loadtest.room_member ──▶ the fleet

talk     what a person types, and what comes of it, in words; `--plain` as lines
screen   a terminal: the pane, the line below it

docs/chat.md says what can be typed.
"""
