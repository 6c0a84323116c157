"""Pages of the fleet's own programs: they are on this machine, so no proxy is asked.

In many networks `http_proxy` leads everything to a proxy, which can't reach this machine's
127.0.0.1. Everything of the lab and of its tests that speaks HTTP does it here.
"""

from __future__ import annotations

import http.client
import urllib.error
from typing import TYPE_CHECKING
from urllib import request

if TYPE_CHECKING:
    from urllib.request import Request

# Unlike `build_opener`'s, it knows no proxy, and no file:// or ftp://.
_OPENER = request.OpenerDirector()
for handler in (
    request.HTTPHandler,
    request.HTTPSHandler,
    request.HTTPDefaultErrorHandler,
    request.HTTPRedirectHandler,
    request.HTTPErrorProcessor,
    request.UnknownHandler,
):
    _OPENER.add_handler(handler())


def page(
    url: str | Request, body: bytes | None = None, timeout: float = 10.0
) -> http.client.HTTPResponse:
    """Ask for a page, with a `body` to POST; close what comes.

    Raises:
        urllib.error.HTTPError: its status is no good one.
        OSError: there is no answer, or no such URL.
    """
    try:
        answer: http.client.HTTPResponse = _OPENER.open(url, body, timeout)
    except (http.client.HTTPException, ValueError) as error:
        raise urllib.error.URLError(str(error) or type(error).__name__) from error
    return answer


def read(url: str | Request, timeout: float = 10.0, bytes_max: int = -1) -> bytes:
    """The body of a page, or as much of it.

    Raises:
        OSError: as `page`; or it broke off.
    """
    with page(url, timeout=timeout) as answer:
        try:
            return answer.read(bytes_max if bytes_max >= 0 else None)
        except http.client.HTTPException as error:
            raise urllib.error.URLError(str(error) or type(error).__name__) from error
