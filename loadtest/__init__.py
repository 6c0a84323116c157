"""The load: clients that check every byte of every reply, run by Locust.

    plain.py      what the server owes a client (PROTOCOL §1); pure
    client.py     one connection that holds the server to it
    options.py    what can be set, and where the target is
    users.py      the article's client, and one that stays connected
    shapes.py     the article's run: 100 clients, 100 loops
    summary.py    the run's counts as a file
    locustfile.py what `locust -f` loads

`plain` and `client` know nothing of Locust: drills and tests use them too.
"""
