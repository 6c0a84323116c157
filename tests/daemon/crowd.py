"""A room of many, of whom some never read: `crowd.py PORT MEMBERS DEAF POSTS_PER_S SECONDS`.

A member is deaf once it has joined: it takes nothing any more. When it is cut it comes back at
once, with its token and its position, as a client without any patience does. Those who read
check that they get every post in order, and when: latency is from when a post was due. With
0 posts a second it only stays: the deaf have a process of their own, because what coming back
costs them is not to be in the readers' figures.

stdout gets the line `joined`, then, when a line has come on stdin and the posts are over, one
of JSON: `Result`. Standard library only.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

TEXT_BYTES = 8_000
# Posts that are still on their way at the end.
REST_S = 3.0
# Members on their way in at once.
JOINING_MAX = 64


@dataclass
class Result:
    """What the crowd has seen; times in milliseconds."""

    deliveries: int = 0
    missed: int = 0
    posts: int = 0
    cut: int = 0
    """How often a member that was deaf was cut, and came back."""
    readers_cut: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass
class Member:
    """One of them."""

    deaf: bool
    sock: socket.socket
    got: bytes = b""
    token: bytes = b""
    position: bytes = b""
    joined: bool = False
    heard: int = 0


@dataclass
class Crowd:
    """See the module."""

    port: int
    result: Result = field(default_factory=Result)
    members: dict[int, Member] = field(default_factory=dict)
    late_s: list[float] = field(default_factory=list)
    due_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.epoll = select.epoll()
        self.joined = 0

    def open(self, *, deaf: bool, token: bytes = b"", position: bytes = b"") -> Member:
        """Connect one, which joins as soon as it may."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.settimeout(0)
        sock.sendall(b"HELLO %b\n" % token if token else b"HELLO\n")
        member = Member(deaf, sock, token=token, position=position)
        self.members[sock.fileno()] = member
        self.epoll.register(sock, select.EPOLLIN)
        return member

    def turn(self, until_s: float) -> None:
        """What comes until then, or the first of it."""
        for fd, events in self.epoll.poll(max(0.0, until_s - time.monotonic())):
            member = self.members[fd]
            if events & (select.EPOLLHUP | select.EPOLLERR):
                self._lost(member)
            else:
                self._read(member)

    def _lost(self, member: Member) -> None:
        del self.members[member.sock.fileno()]
        member.sock.close()
        self.joined -= member.joined
        if member.deaf:
            self.result.cut += 1
        else:
            self.result.readers_cut += 1
        self.open(deaf=member.deaf, token=member.token, position=member.position)

    def _read(self, member: Member) -> None:
        try:
            data = member.sock.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._lost(member)
            return
        *lines, member.got = (member.got + data).split(b"\n")
        for line in lines:
            self._take(member, line)

    def _take(self, member: Member, line: bytes) -> None:
        if line.startswith(b"MSG "):
            if member.deaf:
                return  # beside JOINED: not what it is here for
            number = int(line.split(b" ", 5)[4])
            self.late_s.append(time.monotonic() - self.due_s[number])
            self.result.deliveries += 1
            self.result.missed += number - member.heard
            member.heard = number + 1
        elif line.startswith(b"WELCOME "):
            member.token = line.split(b" ")[1]
            member.sock.sendall(
                b"JOIN lobby %b\n" % member.position if member.position else b"JOIN lobby\n"
            )
        elif line.startswith(b"JOINED "):
            member.position = member.position or b" ".join(line.split(b" ")[2:4])
            member.joined = True
            self.joined += 1
            if member.deaf:
                self.epoll.modify(member.sock, 0)

    def gather(self, members: int, deaf: int) -> None:
        """Let all join."""
        for number in range(members):
            self.open(deaf=number >= members - deaf)
            while len(self.members) - self.joined > JOINING_MAX:
                self.turn(time.monotonic() + 10)
        while self.joined < members:
            self.turn(time.monotonic() + 10)

    def post(self, per_s: float, seconds: float) -> None:
        """One who is no member of those counted posts at an even pace; then what is on its way."""
        if not per_s:
            self._stay(seconds + REST_S)
            return
        poster = self.open(deaf=False)
        while not poster.joined:
            self.turn(time.monotonic() + 10)
        begin_s = time.monotonic()
        text = b"x" * (TEXT_BYTES - 10)
        while (due_s := begin_s + len(self.due_s) / per_s) < begin_s + seconds:
            while time.monotonic() < due_s:
                self.turn(due_s)
            number = len(self.due_s)
            self.due_s.append(due_s)
            poster.sock.sendall(b"SAY lobby %d %d %b\n" % (number + 1, number, text))
        self._stay(REST_S)
        late = sorted(self.late_s)
        self.result.posts = len(self.due_s)
        self.result.missed += sum(
            len(self.due_s) - member.heard for member in self.members.values() if not member.deaf
        )
        self.result.p50_ms = 1000 * late[len(late) // 2]
        self.result.p99_ms = 1000 * late[len(late) * 99 // 100]

    def _stay(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.turn(end_s)


if __name__ == "__main__":
    port, members, deaf, per_s, seconds = sys.argv[1:]
    crowd = Crowd(int(port))
    crowd.gather(int(members), int(deaf))
    print("joined", flush=True)  # noqa: T201 — what its starter waits for
    sys.stdin.readline()
    crowd.post(float(per_s), float(seconds))
    print(json.dumps(asdict(crowd.result)))  # noqa: T201 — what its starter reads
