"""python-socketio with its Redis manager on gevent, set up as its documentation does.

    python python_socketio_server.py redis://127.0.0.1:PORT

Listens on a free port of 127.0.0.1 and says which in one JSON line. Events: `join` with a
room's name, acknowledged when it has joined; `say` with a text, which every member of the
sender's room, the sender among them, gets as `msg`. Started by `servers.py`, with the
interpreter of the peers' own virtual environment.
"""

# Before everything else: the Redis manager refuses sockets that are not patched.
from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402

import socketio  # noqa: E402
from gevent import pywsgi  # noqa: E402
from geventwebsocket.handler import WebSocketHandler  # noqa: E402


def serve(url: str) -> None:
    """Serve until the end of the process."""
    server = socketio.Server(
        async_mode="gevent",
        client_manager=socketio.RedisManager(url),
        transports=["websocket"],
    )
    rooms: dict[str, str] = {}

    @server.event  # type: ignore[untyped-decorator]
    def join(sid: str, room: str) -> None:
        rooms[sid] = room
        server.enter_room(sid, room)

    @server.event  # type: ignore[untyped-decorator]
    def say(sid: str, text: str) -> None:
        server.emit("msg", text, to=rooms[sid])

    listener = pywsgi.WSGIServer(
        ("127.0.0.1", 0), socketio.WSGIApp(server), handler_class=WebSocketHandler, log=None
    )
    listener.start()
    print(json.dumps({"event": "ready", "port": listener.server_port}), flush=True)
    listener.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1])
