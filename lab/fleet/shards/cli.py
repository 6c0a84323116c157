"""`fleet shards`: show the shards of a store, add one, take one away, while all serve.

Of `fleet up` by its control socket, which starts and ends the nodes; of any cluster by its URL,
whose nodes its owner starts and ends.
"""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import redis as redis_py
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lab.errors import LabError
from lab.fleet import control, secret_files
from lab.fleet.shards import membership
from lab.fleet.shards.cluster import Cluster, Login, place
from lab.fleet.shards.mover import Mover, StoppedError
from lab.fleet.up import NODES_MAX, SHARD_REPLICAS_MAX, SHARDS_MAX, SHARDS_OF_A_CLUSTER, whole

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Iterator

    from lab.fleet.shards.cluster import Picture, Shard

# As a shell says it of a program that Ctrl-C has ended.
STOPPED = 130
EVEN = 1
"""Slots that two even shards may differ by."""

URL_SCHEMES = {"redis+cluster": False, "rediss+cluster": True}
PORT = 6379


@dataclass
class Place:
    """Where the shards are.

    Attributes:
        cluster: its nodes.
        socket: the control socket of the `fleet up` that it belongs to; None for others.
    """

    cluster: Cluster
    socket: Path | None = None

    def nodes(self) -> dict[str, str]:
        """The shard of each of a local fleet's nodes, by address."""
        if self.socket is None:
            return {}
        return _nodes(control.ask(self.socket, {"do": "look"})["fleet"])


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add `shards` and what it does."""
    parser = subparsers.add_parser(
        "shards",
        help="show the store's shards, add one, remove one, while all serve",
        description="Shards of the store come and go while the fleet serves (docs/shards.md).",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="status | add | remove")
    status = verbs.add_parser("status", help="print a table of the shards")
    add = verbs.add_parser(
        "add",
        help="add a shard, and give it an even share of the slots",
        description="Start a new shard in the running fleet (with --url: join these nodes) and"
        " move an even share of the slots there. After a move that was stopped it finishes that,"
        " and adds none.",
    )
    add.add_argument(
        "nodes",
        nargs="*",
        metavar="HOST:PORT",
        help="with --url: nodes that run and are empty, the new master first; none to finish a"
        " move that was stopped",
    )
    add.add_argument(
        "--replicas",
        type=whole(0, SHARD_REPLICAS_MAX),
        metavar="N",
        help="replicas of the new shard [default: as the others have]",
    )
    remove = verbs.add_parser(
        "remove",
        help="move a shard's slots to the others, and end it",
        description="Move a shard's slots evenly to the others, have its nodes forgotten, and end"
        " them (with --url: leave them empty and alone).",
    )
    remove.add_argument(
        "shard", metavar="SHARD", help="its number, with --url the address of one of its nodes"
    )
    for verb in (status, add, remove):
        verb.add_argument(
            "--dir", type=Path, metavar="DIR", help="folder of the `fleet up`, if several run"
        )
        verb.add_argument(
            "--url",
            metavar="URL",
            help="a cluster of your own: redis+cluster://USER@HOST:PORT,…; the user may do"
            " everything there (rediss+cluster: TLS)",
        )
        verb.add_argument(
            "--password-file", type=Path, metavar="PATH", help="with --url: the user's password"
        )
        verb.add_argument(
            "--ca-file", metavar="PATH", help="with rediss+cluster: whose certificates hold"
        )


def run(args: Namespace) -> int:
    """Do it; returns the exit status: 0, or 130 if Ctrl-C stopped it between two batches.

    Raises:
        LabError: It can't be done, or was not finished.
    """
    where = _place(args)
    try:
        if args.verb == "status":
            _show(where)
            return 0
        where.cluster.claim()
        return _add(where, args) if args.verb == "add" else _remove(where, args.shard)
    except redis_py.RedisError as error:
        raise LabError(f"a node of the store: {error}") from None


def _add(where: Place, args: Namespace) -> int:
    cluster, console = where.cluster, _console()
    if where.socket is None:
        addresses = [_address(one) for one in args.nodes]
        empty = [membership.join(cluster, addresses)] if addresses else []
        return _level(where, console, empty=empty)
    if args.nodes:
        raise LabError("a local fleet starts a new shard's nodes itself; name none")
    of_address = where.nodes()
    picture = cluster.look()
    numbers = sorted(set(of_address.values()) - set(picture.shards), key=int)
    sizes = [len(shard.slots) for shard in picture.shards.values()]
    if numbers or picture.half_moved or max(sizes) - min(sizes) > EVEN:
        console.print("An earlier move was stopped: it is finished, and no further shard is added.")
    else:
        numbers = [_start_shard(where.socket, args.replicas, of_address)]
        console.print(f"shard {numbers[0]}: its nodes run")
        of_address = where.nodes()
    empty = []
    for number in numbers:
        addresses = [address for address, shard in of_address.items() if shard == number]
        empty.append(membership.join(cluster, addresses))
    return _level(where, console, empty=empty)


def _start_shard(socket: Path, replicas: int | None, of_address: dict[str, str]) -> str:
    shards = len(set(of_address.values()))
    if replicas is None:
        replicas = len(of_address) // shards - 1
    if shards == SHARDS_MAX or len(of_address) + 1 + replicas > NODES_MAX:
        raise LabError(f"a fleet has {SHARDS_MAX} shards and {NODES_MAX} nodes at most")
    answer = control.ask(socket, {"do": control.ADD_SHARD, "replicas": str(replicas)})
    return str(answer["shard"])


def _remove(where: Place, name: str) -> int:
    cluster, console = where.cluster, _console()
    picture = cluster.look()
    of_address = where.nodes()
    if where.socket is None:
        # Without slots, after a stopped one, it has no name.
        named = next((n for n in picture.nodes.values() if place(n) == _address(name)), None)
        master_id = named and (named.master_id or named.id)
        of_it = [n for n in picture.nodes.values() if master_id in (n.id, n.master_id)]
        addresses = [place(node) for node in of_it]
        shard = picture.shard_of(master_id or "")
        name = shard.name if shard else name
    else:
        addresses = [address for address, of in of_address.items() if of == name]
        shard = picture.shards.get(name)
    known = {place(node) for node in picture.nodes.values()} | set(of_address)
    if not set(addresses) & known:
        raise LabError(f"there is no shard {name}; there are {', '.join(picture.shards)}")
    left = len(set(picture.shards) - {name})
    if left < SHARDS_OF_A_CLUSTER:
        raise LabError(
            f"without shard {name} there would be {left}: of fewer than {SHARDS_OF_A_CLUSTER}"
            " masters no majority is left to replace one that dies"
        )
    if shard or picture.half_moved:
        membership.check_may_leave(cluster, shard.nodes if shard else ())
        status = _level(where, console, leaving=[name])
        if status:
            return status
    membership.leave(cluster, addresses)
    if where.socket:
        answer = control.ask(where.socket, {"do": control.END_SHARD, "shard": name})
        console.print(answer["done"])
    else:
        console.print(f"shard {name}: {', '.join(addresses)} are empty, and in no cluster")
    return 0


def _level(
    where: Place,
    console: Console,
    *,
    leaving: list[str] | None = None,
    empty: list[str] | None = None,
) -> int:
    """Move slots until all is even, and tell what it took; the exit status."""
    began_s = time.monotonic()
    bar = Progress(
        *(BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn()),
        TextColumn("slots"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("slots", total=None)
    with _stopping() as stopped, bar:

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if stopped():
                raise StoppedError

        mover = Mover(where.cluster, lambda text: console.print(text, markup=False), step)
        try:
            mover.level(leaving=leaving or (), empty=empty or ())
        except StoppedError:
            status, how = STOPPED, "stopped, nothing is half-moved; run it again to go on"
        else:
            status, how = 0, "done"
    figures = mover.figures
    print(
        f"{how}: {figures.slots} slots with {figures.keys} keys in"
        f" {time.monotonic() - began_s:.1f} s; the longest that a slot was half-moved:"
        f" {figures.half_moved_s_max * 1000:.0f} ms"
    )
    return status


@contextlib.contextmanager
def _stopping() -> Iterator[Any]:
    """Ctrl-C stops after this batch; a second one at once. Yields whether it was pressed."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, former)

    former = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, former)


def _place(args: Namespace) -> Place:
    if args.url:
        return Place(_of_url(args))
    socket = control.find(args.dir)
    fleet = control.ask(socket, {"do": "look"})["fleet"]
    redis = fleet["redis"]
    if "pid" in redis:
        raise LabError("this fleet's store is one Redis; `fleet up --shards 3` has shards")
    login = Login()
    if redis["password_file"]:
        folder = Path(redis["password_file"]).parent
        login = Login("admin", secret_files.password(folder, secret_files.ADMIN_PASSWORD))
    where = Place(Cluster(_nodes(fleet), login), socket)
    where.cluster.name_of = lambda address: where.nodes().get(address)
    return where


def _nodes(fleet: dict[str, Any]) -> dict[str, str]:
    return {node["address"]: str(node["shard"]) for node in fleet["redis"]["nodes"]}


def _of_url(args: Namespace) -> Cluster:
    scheme, _, rest = args.url.partition("://")
    if scheme not in URL_SCHEMES or not rest:
        raise LabError(f"--url {args.url}: must begin with redis+cluster:// or rediss+cluster://")
    user, _, hosts = rest.partition("/")[0].rpartition("@")
    addresses = [_address(host) for host in hosts.split(",")]
    password = None
    if args.password_file:
        try:
            password = args.password_file.read_text().strip()
        except OSError as error:
            raise LabError(f"--password-file {args.password_file}: {error.strerror}") from None
    login = Login(unquote(user) or None, password, URL_SCHEMES[scheme], args.ca_file)
    return Cluster(addresses, login)


def _address(text: str) -> str:
    """`host:port` of what somebody has written; the port may be left out."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port or PORT
    except ValueError:
        port = 0
    if not parts.hostname or not port or parts.netloc != text or "@" in text:
        raise LabError(f"{text}: must be HOST:PORT")
    return f"{parts.hostname}:{port}"


def _show(where: Place) -> None:
    """Print the table."""
    cluster = where.cluster
    of_address = where.nodes()
    picture = cluster.look()
    table = Table(box=None, pad_edge=False)
    for heading in ("shard", "master", "in step", "slots", "keys", "on the move"):
        table.add_column(heading, justify="left" if heading in ("shard", "master") else "right")
    for shard in picture.shards.values():
        table.add_row(*_row(cluster, picture, shard))
    for number in sorted(set(of_address.values()) - set(picture.shards)):
        table.add_row(number, "no slots yet: `fleet shards add` gives it some", "", "0", "0", "")
    Console(highlight=False, soft_wrap=True).print(table)


def _row(cluster: Cluster, picture: Picture, shard: Shard) -> list[str]:
    in_step, keys = 0, "?"
    with contextlib.suppress(redis_py.RedisError):
        keys = str(cluster.ask(place(shard.master), "DBSIZE"))
        in_step = cluster.in_step(shard)
    moving = sum(1 for mark in picture.marks if mark.at == shard.master.id)
    return [
        shard.name,
        place(shard.master) + ("" if shard.master.reachable else " (dead)"),
        f"{in_step} of {len(shard.replicas)}",
        str(len(shard.slots)),
        keys,
        str(moving),
    ]


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)
