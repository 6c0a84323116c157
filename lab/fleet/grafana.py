"""Notes in Grafana of what was done to the fleet, where a Grafana answers and lets us."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from lab import web

if TYPE_CHECKING:
    from collections.abc import Sequence

# On loopback, a page that is not there in a second is not there.
ANSWER_S_MAX = 1.0
TAG = "drill"


class Note(NamedTuple):
    """What is shown at a moment (Unix time), and found by its tag."""

    at_s: float
    tag: str
    text: str


def annotate(url: str, drill: str, notes: Sequence[Note]) -> str:
    """Post one annotation for each note; returns in words what came of it. Never raises.

    `url` may hold a user and a password. The reader's rights do not allow it: Grafana's
    anonymous organisation role has to be Editor, or a user be given.
    """
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    headers = {"Content-Type": "application/json"}
    if parts.username:
        login = f"{parts.username}:{parts.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    try:
        for note in notes:
            annotation = {
                "time": round(1000 * note.at_s),
                "tags": [TAG, drill, note.tag],
                "text": f"{drill}: {note.text}",
            }
            request = urllib.request.Request(  # noqa: S310 — the person at the command line gave it
                f"{bare.rstrip('/')}/api/annotations", json.dumps(annotation).encode(), headers
            )
            web.page(request, timeout=ANSWER_S_MAX).close()
    except urllib.error.HTTPError as error:
        return f"Grafana at {bare} refuses annotations ({error.code} {error.reason})"
    except (OSError, ValueError) as error:
        return f"no Grafana at {bare} ({error})"
    return f"{len(notes)} annotations in Grafana at {bare}, tagged {TAG}"
