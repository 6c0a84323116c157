"""One connection to Redis, without anything that acts on its own.

redis-py's client retries, pools and reconnects by itself, and a retry hidden in a client
can run a write twice, or let an old connection speak after a new one (ADR 3). So the
committer has this: bytes out, replies in, an exception at the first doubt. values/store_url.py
reads the URL, hiredis packs and parses.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import ssl
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis

from echod.loop.parking import Parking
from echod.store.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.values.store_url import StoreUrl, Tls

# More than a record of TLS (16 KiB): of one that is not taken whole, the rest would wait where
# no file shows it. OpenSSL reads no further ahead than that.
RECEIVE_BYTES = 65_536
# SO_LINGER on with 0 seconds: closing resets, and nothing is delivered late.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# Longer is no password: Redis's users have 64 hexadecimal digits here.
PASSWORD_BYTES_MAX = 4096

# Without SPUBLISH: a heartbeat would break every batch.
OLD_VERSIONS = (b"2", b"3", b"4", b"5", b"6")

# What a socket says that takes nothing just now, with TLS or without.
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Reply = Any


def pack(*words: str | bytes) -> bytes:
    """One command in Redis's protocol."""
    # hiredis's types say a tuple of one.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed


class Link:
    """A connected, authenticated socket to Redis.

    Attributes:
        id: Redis's number for this connection, by which another one can kill it.
        run_id: the Redis process at the other end.
    """

    def __init__(  # noqa: PLR0913 — each is one independent choice of the caller
        self,
        place: StoreUrl,
        timeout_s: float,
        password_file: str = "",
        *,
        connect_s_max: float = math.inf,
        silence_s: float = math.inf,
        on_silence: Callable[[], bool] | None = None,
    ) -> None:
        """Connect; each later wait is bounded by `timeout_s` too.

        The password is the URL's, or in the file: read now, so that another one is used
        from the next connection on. With `on_silence`, a wait of `silence_s` calls it, and goes
        on unless it raises, or says that the other end answers elsewhere.

        Raises:
            StoreError: with the kind `password` (it can't be read), `version` (it is too old),
                `refused`, `timeout`, `closed` or Redis's own word.
        """
        password = read_password(password_file) if password_file else place.password
        self._reader = hiredis.Reader()
        self._timeout_s = timeout_s
        self._on_silence = on_silence
        self._silence_s = timeout_s if on_silence is None else min(silence_s, timeout_s)
        self._unsent = b""
        try:
            self._socket = _connect(place, min(timeout_s, connect_s_max))
        except TimeoutError as error:
            raise StoreError("timeout", f"connecting: {error}") from error
        except OSError as error:
            raise StoreError("refused", f"connecting: {error}") from error
        # Waiting is for the parking, so that neither side of a batch arms a timer of its own.
        self._socket.settimeout(0)
        self._parking = Parking(self._socket.fileno(), self._silence_s)
        try:
            self._introduce(place, password)
        except BaseException:
            # Whoever waits here may be killed. A closed file that is still watched ends the
            # process: libev aborts when the kernel does not know it.
            self.reset()
            raise

    def _introduce(self, place: StoreUrl, password: bytes) -> None:
        first: list[tuple[str | bytes, ...]] = []
        if password:
            names = (place.username,) if place.username else ()
            first.append(("AUTH", *names, password))
        if place.db:
            first.append(("SELECT", str(place.db)))
        *_, self.id, info = self.execute(*first, ("CLIENT", "ID"), ("INFO", "server"))
        fields = dict(line.partition(b":")[::2] for line in info.splitlines())
        self.run_id: bytes = fields.get(b"run_id", b"")
        version: bytes = fields.get(b"redis_version", b"")
        if version.partition(b".")[0] in OLD_VERSIONS:
            text = (
                f"Redis {version.decode()} has no sharded publish and subscribe: 7.0 or newer has"
            )
            raise StoreError("version", text)

    def execute(self, *commands: Sequence[str | bytes], replies: int | None = None) -> list[Reply]:
        """Send the commands in one go and return their replies: one each, if not said otherwise.

        Raises:
            StoreError: if one of them failed, or no answer came.
        """
        packed = b"".join(pack(*command) for command in commands)
        self.send(packed)
        return self.receive(len(commands) if replies is None else replies)

    def send(self, packed: bytes) -> None:
        """Send packed commands, or begin to: `receive` waits until all is taken.

        Never waits, because the caller has acknowledged replies to hand out after it.

        Raises:
            StoreError: as `execute`.
        """
        try:
            try:
                sent = self._socket.send(packed)
            except NOT_NOW:
                sent = 0
            self._unsent = packed[sent:]
        except OSError as error:
            raise StoreError("closed", str(error)) from error

    def receive(self, count: int) -> list[Reply]:
        """Wait for `count` replies to what was sent.

        Raises:
            StoreError: as `execute`.
        """
        gets = self._reader.gets
        replies: list[Reply] = []
        try:
            if self._unsent:
                self._send_all(self._unsent)
                self._unsent = b""
            while True:
                while (reply := gets()) is not False:
                    if isinstance(reply, hiredis.ReplyError):
                        raise _refusal(reply)
                    replies.append(reply)
                if len(replies) >= count:
                    return replies
                self._reader.feed(self._receive())
        except TimeoutError as error:
            raise StoreError("timeout", "no answer in time") from error
        except (OSError, hiredis.ProtocolError) as error:
            raise StoreError("closed", str(error)) from error

    def send_all(self, packed: bytes) -> None:
        """Send packed commands, waiting as long as each piece may take.

        Raises:
            StoreError: as `execute`.
        """
        try:
            self._send_all(packed)
        except OSError as error:
            raise StoreError("closed", str(error)) from error

    def _send_all(self, packed: bytes) -> None:
        left = memoryview(packed)
        silences = 0
        self._socket.settimeout(self._silence_s)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except TimeoutError:
                silences = self._silent(silences)
        self._socket.settimeout(0)

    def _silent(self, before: int) -> int:
        """Nothing came, or went, for `silence_s`, after so many times before; how many now.

        Raises:
            TimeoutError: It has been too long.
            StoreError: Somebody knows better than to wait; of kind `silent`, the link is dead.
        """
        if self._on_silence is None or (before + 1) * self._silence_s >= self._timeout_s:
            raise TimeoutError("nothing came in time")
        if self._on_silence() and not self._readable():
            raise StoreError("silent", "the other end answers elsewhere, and not here")
        return before + 1

    def _readable(self) -> bool:
        """Whether something has come meanwhile."""
        number = self._socket.fileno()
        if number < 0:
            raise StoreError("closed", "reset while somebody asked whether it is dead")
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))

    def _receive(self, *, patient: bool = False) -> bytes:
        """What comes next, of which there is at least a byte."""
        silences = 0
        while True:
            try:
                self._parking.park(patient=patient)
            except TimeoutError:
                silences = self._silent(silences)
                continue
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except NOT_NOW:
                continue
            if not data:
                raise StoreError("closed", "Redis closed the connection")
            return data

    def listen(self) -> list[Reply]:
        """Wait, for as long as it takes, for what comes unasked; all that came together.

        An error is among them, as a `StoreError`: it concerns one subscription, and the others
        go on.

        Raises:
            StoreError: the link has failed.
        """
        replies: list[Reply] = []
        try:
            while True:
                while (reply := self._reader.gets()) is not False:
                    replies.append(
                        _refusal(reply) if isinstance(reply, hiredis.ReplyError) else reply
                    )
                if replies:
                    return replies
                self._reader.feed(self._receive(patient=True))
        except (OSError, hiredis.ProtocolError) as error:
            raise StoreError("closed", str(error)) from error

    def reset(self) -> None:
        """Close so that nothing of what was sent is delivered later by this kernel."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close()

    def close(self) -> None:
        """Close in order: everything was answered."""
        self._parking.close()
        self._socket.close()


def read_password(path: str) -> bytes:
    """What a password file holds, without space around it.

    Raises:
        StoreError: of kind `password`: it is no file, can't be read, or holds none.
    """
    try:
        # What is no file may never end, or be another thing at the next connect.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 — Path's hides a NUL's ValueError
            raise StoreError("password", f"{path}: must be a file")
        with Path(path).open("rb") as file:
            password = file.read(PASSWORD_BYTES_MAX + 1).strip()
    except (OSError, ValueError) as error:
        raise StoreError("password", f"{path}: {error}") from error
    if not 0 < len(password) <= PASSWORD_BYTES_MAX:
        raise StoreError("password", f"{path}: must hold 1 to {PASSWORD_BYTES_MAX} bytes")
    return password


def _refusal(reply: Exception) -> StoreError:
    """Redis's `-WORD text` as an error whose kind is that word."""
    word, _, _ = str(reply).partition(" ")
    return StoreError(word.lower() if word.isalpha() else "error", str(reply))


def _connect(place: StoreUrl, timeout_s: float) -> socket.socket:
    if place.scheme == "unix":
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.settimeout(timeout_s)
            unix.connect(place.path)
        except BaseException:
            unix.close()
            raise
        return unix
    plain = socket.create_connection((place.host, place.port), timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if place.tls is None:
        return plain
    # Closes `plain` where it fails.
    return tls_context(place.tls).wrap_socket(plain, server_hostname=place.host)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What of the store's certificate is looked at, read anew for each connection.

    Raises:
        OSError: a file is not there, or not what it must be (`ssl.SSLError` is one too).
    """
    context = ssl.create_default_context(cafile=tls.ca_certs or None)
    context.check_hostname = tls.check_hostname
    if not tls.verified:
        context.verify_mode = ssl.CERT_NONE
    if tls.certfile:
        # A key with a passphrase would be asked for at a terminal: a daemon has none.
        context.load_cert_chain(tls.certfile, tls.keyfile or None, password=lambda: b"")
    return context
