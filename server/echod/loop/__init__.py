"""The event loop's parts; nothing of echo.

reader    waiting until a socket can be read
parking   where one greenlet waits, for a socket or for work
clock     the daemon's time
guard     a bug in one thing stops none behind it
sweeper   the one greenlet that looks at all deadlines
"""
