"""The wire, pure: bytes and numbers go in, values come out.

No gevent, redis, socket or clock is imported here (tests/unit/test_purity.py).

proxy    the PROXY v2 header that a balancer puts before a client's bytes
wire     bytes to lines
errors   what the server says before it closes, PROTOCOL §4
plain    lines to replies, PROTOCOL §1
words    what the lines of sessions and rooms have in common
token    what a client shows to resume a session
state    what a session is between two lines
rooms    the lines of rooms, PROTOCOL §3
session  the lines of sessions, PROTOCOL §2, and the table of all verbs
"""
