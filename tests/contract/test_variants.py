"""The article's programs as files: self-contained, in order, and its clients judge rightly."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from lab.fleet import processes
from tests.contract.conftest import SERVERS, VARIANTS, no_node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PYTHON_FILES = sorted(VARIANTS.glob("*.py"))
CLIENTS = ["client_gevent", "client_asyncio"]
RUN_S_MAX = 30.0


def test_every_server_is_here() -> None:
    """The servers of the contract's table are all there are, and each has its file."""
    files = {path.stem for path in VARIANTS.iterdir() if path.suffix in {".py", ".mjs"}}
    servers = {name for name in SERVERS if not name.startswith("echod ")}
    assert files == {*servers, *CLIENTS, "timeout", "__init__"}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.stem))
def test_self_contained(path: Path) -> None:
    """No variant imports echod or another one, and each says what it is."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names}  # fmt: skip
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    own = {other.stem for other in PYTHON_FILES} | {"echod", "lab", "loadtest", "variants"}
    assert not own & {name.split(".")[0] for name in imported}


@pytest.mark.skipif(bool(no_node()), reason=no_node())
@pytest.mark.parametrize("path", sorted(VARIANTS.glob("*.mjs")), ids=lambda path: str(path.stem))
def test_node_parses(path: Path) -> None:
    """Node.js finds no syntax error, and the file says what it is."""
    subprocess.run(["node", "--check", str(path)], check=True, timeout=RUN_S_MAX)
    assert path.read_text().startswith("// ")


def visit(client: str, port: int) -> subprocess.CompletedProcess[str]:
    """Let five clients send three lines each."""
    flags = [f"--port={port}", "--clients=5", "--lines=3", "--pause-s=0.01"]
    return subprocess.run(
        [sys.executable, str(VARIANTS / f"{client}.py"), *flags],
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_prints_the_transcript(client: str, tmp_path: Path) -> None:
    """Every reply is printed, and the exit status is 0."""
    argv = [sys.executable, str(VARIANTS / "threads.py"), "--port=0"]
    with processes.start(argv, log=tmp_path / "log") as server:
        done = visit(client, int(server.ready["echo"].rsplit(":", 1)[1]))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "5 of 5 clients got 3 right replies\n"
    lines = done.stdout.splitlines()
    counts = {line: lines.count(line) for line in lines}
    assert counts == {"Hello World!:0": 10, "Hello World!:1": 10, "Hello World!:2": 5}


def dripping(sock: socket.socket, previous: bytes, line: bytes) -> None:
    """The right reply, a byte at a time."""
    for byte in previous + line:
        sock.send(bytes([byte]))


def current_only(sock: socket.socket, previous: bytes, line: bytes) -> None:
    """The defect of the article's A1 and A5."""
    del previous
    sock.sendall(line)


def one_too_many(sock: socket.socket, previous: bytes, line: bytes) -> None:
    """The right reply, and at the end one that nobody is owed."""
    sock.sendall(previous + line)
    if line.endswith(b":2\n"):
        sock.sendall(line)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "answer, right", [(dripping, True), (current_only, False), (one_too_many, False)]
)
def test_a_client_judges(
    client: str, answer: Callable[[socket.socket, bytes, bytes], None], *, right: bool
) -> None:
    """Replies that are cut are whole to it; wrong or stray ones, and it says so and exits 1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(RUN_S_MAX)

        def serve(sock: socket.socket) -> None:
            previous = b""
            with sock, sock.makefile("rb") as lines:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for line in lines:
                    answer(sock, previous, line)
                    previous = line

        def accept() -> None:
            for _ in range(5):
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        done = visit(client, listener.getsockname()[1])
        acceptor.join(RUN_S_MAX)
    assert done.returncode == (0 if right else 1)
    assert ("owed" in done.stderr) is not right
    assert "Traceback" not in done.stderr
