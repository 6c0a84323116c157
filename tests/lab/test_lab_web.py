"""`lab.web`: pages of this machine without a proxy, and nobody asks in another way."""

from __future__ import annotations

import ast
import http.server
import threading
import urllib.error
from typing import TYPE_CHECKING

import pytest

from lab import web
from lab.fleet.local import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# What else would ask, each with the proxy of its environment.
ASKERS = {"urlopen", "urlretrieve", "build_opener", "install_opener"}
LIBRARIES = {"requests", "httpx", "aiohttp", "urllib3", "geventhttpclient"}


class Pages(http.server.BaseHTTPRequestHandler):
    """A server whose pages are odd."""

    def do_GET(self) -> None:
        """Well, broken off, no HTTP, an error."""
        if self.path == "/broken":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        elif self.path == "/odd":
            self.wfile.write(b"hello\n")
        elif self.path == "/moved":
            self.wfile.write(b"HTTP/1.0 302 Found\r\nLocation: /well\r\n\r\n")
        elif self.path == "/well":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nwell")
        else:
            self.send_error(503)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of the server; the environment leads to a proxy that is not there."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_no_proxy_is_asked(address: str) -> None:
    """Nor by a redirect."""
    assert web.read(f"{address}/well") == web.read(f"{address}/moved") == b"well"
    assert web.read(f"{address}/well", bytes_max=2) == b"we"


@pytest.mark.parametrize("path", ["broken", "odd", "none"])
def test_every_failure_is_one_error(address: str, path: str) -> None:
    """Whatever a part that dies, or is none, has said."""
    with pytest.raises(OSError, match=r"."):
        web.read(f"{address}/{path}")


@pytest.mark.parametrize(
    "url",
    ["", "x", "file:///etc/hostname", "http://", "http://127.0.0.1:x/", "http://a b/", "ftp://h/"],
)
def test_what_is_no_url(url: str) -> None:
    """A person's text is no traceback, and no file is read."""
    with pytest.raises(urllib.error.URLError):
        web.read(url)


def test_nobody_asks_in_another_way() -> None:
    """One opener for all that is on this machine."""
    others = []
    for path in sorted(ROOT.glob("*/**/*.py")):
        inside = path.relative_to(ROOT)
        if inside.parts[0] not in ("lab", "loadtest", "server", "tests"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            named = {getattr(node, "attr", ""), getattr(node, "id", "")}
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                modules = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                named = {name.split(".")[0] for name in modules} & LIBRARIES
                named |= {alias.name for alias in node.names} & ASKERS
                if named:
                    others.append(f"{inside}:{node.lineno}")
            elif named & ASKERS:
                others.append(f"{inside}:{getattr(node, 'lineno', 0)}")
    assert not others
