"""What the nodes of a cluster say of themselves, and how they are asked.

    Cluster.look ──CLUSTER NODES of every node──▶ Picture: shards, slots, half-moved slots

Of nodes that disagree the newer epoch is right, as for the daemons (`echod.store.topology`).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from echod.store.topology import NodeView, parse_nodes
from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

# One command; a full disk delays it by an fsync, a MIGRATE of many keys by more.
ANSWER_S_MAX = 6.0
CONNECT_S_MAX = 1.0

# In the line of a node that says it of itself: `[5->-id]` goes to it, `[5-<-id]` comes from it.
MARK = re.compile(r"\[(\d+)-([<>])-(\w+)\]")

# Its id, its address for clients, and where other nodes reach it: `host:port@bus,name`.
BUS = re.compile(r"^(\w+) (\S+):(\d+)@(\d+)", re.MULTILINE)

# What the connections of a command that moves slots are called, before a name of its own.
NAME = "fleet-shards-"
NAMED = re.compile(rf"\bname={NAME}(\w+)")


class ClusterError(LabError):
    """The cluster is not as it must be; the text says what is missing."""


class Login(NamedTuple):
    """Who asks: a user that may do everything, and how nodes are reached."""

    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A node's word that a slot is on its way between it and another.

    Attributes:
        at: the id of the node that says so.
        other: of the node at the other end.
        comes: to the node that says so; otherwise it goes from there.
    """

    slot: int
    at: str
    other: str
    comes: bool


@dataclass(slots=True)
class Shard:
    """A master that lives or not, its replicas, and the slots that are its own."""

    name: str
    master: NodeView
    replicas: list[NodeView]
    slots: list[int] = field(default_factory=list)

    @property
    def nodes(self) -> list[NodeView]:
        """All of them, the master first."""
        return [self.master, *self.replicas]


@dataclass(slots=True)
class Picture:
    """A cluster at one moment.

    Attributes:
        shards: by name; those with slots, and those without that were asked for.
        nodes: all that anybody knows, by id.
        marks: of the nodes that answered.
    """

    shards: dict[str, Shard]
    nodes: dict[str, NodeView]
    marks: list[Mark]

    @property
    def half_moved(self) -> dict[int, list[Mark]]:
        """The slots with marks."""
        found: dict[int, list[Mark]] = defaultdict(list)
        for mark in self.marks:
            found[mark.slot].append(mark)
        return dict(found)

    def owner(self, slot: int) -> Shard | None:
        """Return the shard that has a slot."""
        return next((shard for shard in self.shards.values() if slot in shard.slots), None)

    def shard_of(self, node_id: str) -> Shard | None:
        """Return the shard that a node is in."""
        for shard in self.shards.values():
            if any(node.id == node_id for node in shard.nodes):
                return shard
        return None


class Cluster:
    """The nodes of a cluster, each asked over a connection of its own.

    Args:
        addresses: Of some nodes, `host:port`; the others are found.
        login: As whom. With TLS nodes are reached by the names that they announce, if they do.

    Attributes:
        name_of: a shard's name, from the address of one of its nodes; None if it has none.
        buses: of the nodes that were seen, by id: host, port and bus port, as the other nodes
            reach them.
    """

    def __init__(self, addresses: Iterable[str], login: Login) -> None:
        self.login = login
        self.name_of: Callable[[str], str | None] = lambda _: None
        self.buses: dict[str, tuple[str, int, int]] = {}
        self._client_name = ""
        self._known = list(addresses)
        self._clients: dict[str, redis_py.Redis] = {}

    def ask(self, address: str, *words: object) -> Any:  # noqa: ANN401 — whatever Redis answers
        """Send one command.

        Raises:
            redis.RedisError: It refused, or did not answer.
        """
        client: Any = self._client(address)
        with _of(address):
            return client.execute_command(*words)

    def claim(self) -> None:
        """Be the only one that moves slots here; called before anything else is asked.

        Each connection has the command's name, and whoever finds another's on a node gives up:
        of two, the second to take its name there sees the first, or each sees the other. A name
        is gone with its connection, so that a command that is killed leaves nothing behind.

        Raises:
            ClusterError: Somebody else does.
            redis.RedisError: A node does not say who is connected.
        """
        self._client_name = NAME + secrets.token_hex(8)
        self.look()
        for address in self._known:
            text = self.ask(address, "CLIENT", "LIST").decode()
            if any(NAME + name != self._client_name for name in NAMED.findall(text)):
                raise ClusterError(f"another `fleet shards` moves slots here ({address} says so)")

    def ask_all(
        self, address: str, commands: Sequence[Sequence[object]], lanes: int = 1
    ) -> list[Any]:
        """Send many commands at once; what was refused is an error in its place.

        Args:
            address: Whom.
            commands: In this order, with one lane.
            lanes: Connections over which they are spread, for a server that has one wait for the
                other on each.

        Raises:
            redis.RedisError: It did not answer.
        """
        with _of(address):
            return self._ask_all(address, commands, lanes)

    def _ask_all(self, address: str, commands: Sequence[Sequence[object]], lanes: int) -> list[Any]:
        pool: Any = self._client(address).connection_pool
        used = [pool.get_connection() for _ in range(min(lanes, len(commands)))]
        answers: list[Any] = [None] * len(commands)
        try:
            for lane, connection in enumerate(used):
                connection.send_packed_command(
                    connection.pack_commands(commands[lane :: len(used)])
                )
            for lane, connection in enumerate(used):
                for number in range(lane, len(commands), len(used)):
                    try:
                        answers[number] = connection.read_response()
                    except redis_py.ResponseError as error:
                        answers[number] = error
        except BaseException:
            for connection in used:
                connection.disconnect()
            raise
        finally:
            for connection in used:
                pool.release(connection)
        return answers

    def view(self, address: str) -> list[NodeView]:
        """Return every node as one of them sees it.

        Raises:
            redis.RedisError: It does not answer.
        """
        return self._read(self.ask(address, "CLUSTER", "NODES").decode())

    def info(self, address: str) -> Mapping[str, Any]:
        """Return what INFO says of replication and persistence."""
        told: Mapping[str, Any] = self.ask(address, "INFO", "everything")
        return told

    def look(self, empty: Collection[str] = ()) -> Picture:
        """Ask every node.

        Args:
            empty: Addresses of nodes whose shard counts though it has no slots: it is to get
                some. Others without slots are masters of before that have not heard it yet.

        Raises:
            ClusterError: None answers, or they are not all of one cluster.
            redis.ResponseError: One may not be asked, or is no node of a cluster.
        """
        newest: dict[str, NodeView] = {}
        marks: list[Mark] = []
        asked: set[str] = set()
        known_to: dict[str, set[str]] = {}
        silent: list[str] = []
        to_ask = list(self._known)
        while to_ask:
            address = to_ask.pop()
            if address in asked:
                continue
            asked.add(address)
            try:
                text = self.ask(address, "CLUSTER", "NODES").decode()
            except redis_py.ResponseError:
                raise
            except redis_py.RedisError as error:
                silent.append(str(error))
                continue
            view = self._read(text)
            known_to[address] = {node.id for node in view}
            marks += _marks(text, next(node.id for node in view if node.itself))
            self._note_buses(text)
            for node in view:
                known = newest.get(node.id)
                if known is None or (node.epoch, node.itself) > (known.epoch, known.itself):
                    newest[node.id] = node
                if node.reachable:
                    to_ask.append(place(node))
        if not newest:
            raise ClusterError(f"no node of the store answers: {'; '.join(silent)}")
        _check_one(known_to)
        self._known = [place(node) for node in newest.values() if node.reachable] or self._known
        return Picture(self._shards(newest, empty), newest, marks)

    def _note_buses(self, text: str) -> None:
        for node_id, host, port, bus in BUS.findall(text):
            if host:
                self.buses[node_id] = (host.strip("[]"), int(port), int(bus))

    def _read(self, text: str) -> list[NodeView]:
        return parse_nodes(text, by_name=self.login.tls)

    def _shards(self, nodes: Mapping[str, NodeView], empty: Collection[str]) -> dict[str, Shard]:
        owners: dict[int, str] = {}
        for node in sorted(nodes.values(), key=lambda node: (node.epoch, node.id)):
            for span in node.slots:
                owners |= dict.fromkeys(span, node.id)
        slots_of: dict[str, list[int]] = defaultdict(list)
        for slot, owner in sorted(owners.items()):
            slots_of[owner].append(slot)
        shards = {}
        for node in nodes.values():
            slots = slots_of.get(node.id, [])
            if slots or (not node.master_id and place(node) in empty):
                replicas = [other for other in nodes.values() if other.master_id == node.id]
                name = self.name_of(place(node)) or place(node)
                shards[name] = Shard(name, node, replicas, slots)
        return dict(sorted(shards.items()))

    def _client(self, address: str) -> redis_py.Redis:
        if address not in self._clients:
            host, _, port = address.rpartition(":")
            tls: dict[str, Any] = (
                {"ssl": True, "ssl_ca_certs": self.login.ca_file} if self.login.tls else {}
            )
            self._clients[address] = redis_py.Redis(
                host=host,
                port=int(port),
                username=self.login.username,
                password=self.login.password,
                protocol=2,
                client_name=self._client_name or None,
                socket_timeout=ANSWER_S_MAX,
                socket_connect_timeout=CONNECT_S_MAX,
                retry=Retry(NoBackoff(), 0),
                **tls,
            )
        return self._clients[address]

    def behind(self, shard: Shard) -> str:
        """What a shard's replicas do not have of what its master has now; "" if in step.

        A replica that the others take for dead is left out, as long as one is in step.
        """
        told = self.info(place(shard.master))
        if told["role"] != "master":
            return f"{place(shard.master)} is no master any more"
        offset = told["master_repl_offset"]
        living = [node for node in shard.replicas if node.reachable]
        if shard.replicas and not living:
            return f"shard {shard.name} has no replica that answers"
        return next(filter(None, (self._lacks(node, offset) for node in living)), "")

    def in_step(self, shard: Shard) -> int:
        """How many of a shard's replicas have what its master has now."""
        offset = self.info(place(shard.master))["master_repl_offset"]
        count = 0
        for node in shard.replicas:
            with contextlib.suppress(redis_py.RedisError):
                count += not self._lacks(node, offset)
        return count

    def _lacks(self, node: NodeView, offset: int) -> str:
        told = self.info(place(node))
        if told.get("master_link_status") != "up" or told["slave_repl_offset"] < offset:
            return f"{place(node)} does not have all that its master has"
        # After a copy it holds until then what was before the copy (docs/adr/0023).
        if told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"]:
            return f"{place(node)} has not written its copy to its disk"
        return ""


def place(node: NodeView) -> str:
    """Where a node is, `host:port`."""
    return f"{node.address.host}:{node.address.port}"


@contextlib.contextmanager
def _of(address: str) -> Iterator[None]:
    """Errors say which node they are of."""
    try:
        yield
    except redis_py.RedisError as error:
        if address not in str(error):
            error.args = (f"{address}: {error}",)
        raise


def _check_one(known_to: Mapping[str, set[str]]) -> None:
    """See that nodes are of one cluster: those who know others know each other, by hearsay too."""
    groups: list[tuple[str, set[str]]] = []
    for address, ids in known_to.items():
        if len(ids) == 1:  # it has left, or not yet joined
            continue
        met = [group for group in groups if group[1] & ids]
        groups = [group for group in groups if group not in met]
        groups.append((address, ids.union(*(group[1] for group in met))))
    if len(groups) > 1:
        raise ClusterError(f"{groups[0][0]} and {groups[1][0]} are of different clusters")


def _marks(text: str, node_id: str) -> Iterable[Mark]:
    for slot, way, other in MARK.findall(text):
        yield Mark(int(slot), node_id, other, way == "<")
