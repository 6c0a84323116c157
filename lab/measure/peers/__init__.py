"""What a user would otherwise take for rooms over several servers, for `fleet experiment fanout`.

    socketio_server.mjs          Socket.IO with its Redis adapter, or its Redis streams adapter
    python_socketio_server.py    python-socketio with its Redis manager, on gevent
    channels_app.py              Django Channels with channels_redis, on daphne
    install                      their packages, at first use, into the user's cache
    servers                      N processes of one of them on one Redis, started and ended

They are set up as their own documentation does, and none imports from `lab` or `echod`: what
they need is locked beside them (package-lock.json, requirements.txt) and never among the
project's own dependencies.
"""
