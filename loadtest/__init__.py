"""The load: clients that check every byte of every reply, run by Locust.

The plain port (PROTOCOL §1):

    plain.py                what the server owes a client; pure
    client.py               one connection that holds the server to it

The session port (§2, §3), in the order of a line on its way out and its reply's way back:

    session_client.py       one session, through any number of connections: send, receive
    session_memory.py       which lines wait, what a WELCOME says of them; pure
    session_outbox.py       what is to be sent next, and what again after a cut; pure
    session_retry.py        how long to wait, when to try again, when to give up; pure
    session_connection.py   one connection that holds the server to the protocol
    session_requests.py     what a client asks; pure
    session.py              what the server may say to that, line by line; pure
    room_posts.py           a room's posts on their way, and what becomes of a refusal; pure
    room_member.py          its rooms: joined again, posted again; over session_client
    room_ledger.py          every message on every path, and its fate; pure
    session_events.py, session_rooms.py, session_notes.py
                            what it said, of rooms too; and all of it for the history
    history.py              what clients saw, as JSON lines: written here, read by checkers

Both:

    entrances.py            which of several addresses to try next; pure
    sockets.py              how to connect, and to notice that nobody is there
    errors.py, backoff.py   what can go wrong, and the wait after it

Locust's part; nothing above knows of it, so drills and tests use that too:

    options.py              what can be set, and where the target is
    load_user.py, users.py, session_user.py, room_user.py
                            the users of both ports
    shapes.py               the article's run, a storm, a ramp
    latency.py, exposition.py
                            histograms, gathered from the workers, for Prometheus
    summary.py              the run's counts as a file
    locustfile.py           what `locust -f` loads
"""
