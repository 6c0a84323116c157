"""`fleet up`: the whole fleet without containers, until Ctrl-C.

stdout gets one JSON line, the ready line; everything for people goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from echod import config as echod_config
from lab.errors import LabError
from lab.fleet import haproxy_server, ports, prometheus_server, redis_server, secret_files
from lab.fleet.control import listening
from lab.fleet.local import SHARD_REPLICAS, DirectoryError, Fleet, Plan

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Callable, Mapping

# One for each CPU is enough, and each is a process of 40 MB and more.
DAEMONS_MAX = 64

# Redis Cluster's nodes all ask each other: 48 of them are up in 4 s on two idle CPUs.
SHARDS_MAX = 16
SHARD_REPLICAS_MAX = 4
NODES_MAX = 48
# Only masters elect another, by a majority of them: one of two is none.
SHARDS_OF_A_CLUSTER = 3

PORT_MAX = 65_535

STDERR = 2
NO_HISTORY = "none: there is no prometheus on PATH"

# How soon a dead part is told of.
WATCH_EVERY_S = 0.2

# A terminal's Ctrl-C, a supervisor's stop, and the end of the terminal.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# By the names in `Plan.ports`: flag, variable (docker-compose.yml has the same), default, and who
# listens there.
PORTS = {
    "echo": ("--port", "ECHO_PORT", 1234, "the echo"),
    "session": ("--session-port", "SESSION_PORT", 1235, "the sessions"),
    "echo_tls": ("--tls-port", "ECHO_TLS_PORT", 2234, "the echo in TLS"),
    "session_tls": ("--session-tls-port", "SESSION_TLS_PORT", 2235, "the sessions in TLS"),
    "stats": ("--stats-port", "HAPROXY_STATS_PORT", 8404, "HAProxy's statistics"),
    "locust": ("--locust-port", "LOCUST_PORT", 8089, "Locust's page"),
    "prometheus": ("--prometheus-port", "PROMETHEUS_PORT", 9090, "Prometheus"),
}


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add `up` and its flags."""
    parser = subparsers.add_parser(
        "up",
        help="run the whole fleet as local processes, until Ctrl-C",
        description="Bring the fleet up without containers. Settings of the daemons (ECHOD_…),"
        " of HAProxy and of the load come from the environment.",
    )
    parser.add_argument(
        "--daemons",
        type=whole(1, DAEMONS_MAX),
        default=os.environ.get("ECHOD_REPLICAS") or "4",
        metavar="N",
        help=f"number of daemons, 1 to {DAEMONS_MAX} [ECHOD_REPLICAS, default %(default)s]",
    )
    parser.add_argument(
        "--durability",
        choices=echod_config.DURABILITIES,
        help="durability of the plain port [ECHOD_DURABILITY]",
    )
    parser.add_argument(
        "--appendfsync",
        choices=("no-aof", "no", "everysec", "always"),
        default="always",
        help="when Redis writes its append-only file to the disk [default %(default)s]",
    )
    parser.add_argument(
        "--shards",
        type=_shards,
        default=os.environ.get("SHARDS") or "1",
        metavar="N",
        help=f"shards of the store: 1 is one Redis, {SHARDS_OF_A_CLUSTER} to {SHARDS_MAX} are a"
        " Redis Cluster [SHARDS, default %(default)s]",
    )
    parser.add_argument(
        "--shard-replicas",
        type=whole(0, SHARD_REPLICAS_MAX),
        default=os.environ.get("SHARD_REPLICAS") or None,
        metavar="N",
        help=f"replicas of each shard of a Redis Cluster, 0 to {SHARD_REPLICAS_MAX}"
        f" [SHARD_REPLICAS, default {SHARD_REPLICAS}]",
    )
    parser.add_argument("--no-load", action="store_true", help="start no Locust")
    for name, (flag, variable, default, what) in PORTS.items():
        parser.add_argument(
            flag,
            dest=f"{name}_port",
            type=whole(0, PORT_MAX),
            default=os.environ.get(variable) or str(default),
            metavar="PORT",
            help=f"port of {what}, 0 for any free port [{variable}, default %(default)s]",
        )
    parser.add_argument(
        "--secrets",
        type=Path,
        default=os.environ.get("SECRETS") or None,
        metavar="DIR",
        help="folder with passwords and certificates from `fleet secrets` [SECRETS, default:"
        " new passwords, no TLS]",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="folder for data, configurations and logs [default: a temporary folder, kept if a part"
        " dies]",
    )


def run(args: Namespace) -> int:
    """Bring the fleet up, watch it, and end it when one of `STOP_SIGNALS` comes; return 0.

    Raises:
        lab.errors.LabError: It can't be brought up; nothing is left running.
    """
    _check(args)
    shard_replicas = _shard_replicas(args)
    directory = (args.dir or Path(tempfile.mkdtemp(prefix="echofleet-"))).resolve()
    plan = Plan(
        directory=directory,
        daemons=args.daemons,
        durability=args.durability,
        appendfsync=args.appendfsync,
        shards=args.shards,
        shard_replicas=shard_replicas,
        load=not args.no_load,
        prometheus=prometheus_server.installed(),
        secrets=args.secrets.resolve() if args.secrets else None,
        ports={name: getattr(args, f"{name}_port") for name in PORTS},
    )
    fleet = Fleet(plan)
    _on_stop_signals(signal.default_int_handler)
    ended_well = False
    try:
        fleet.start()
        _watch(fleet)
    except KeyboardInterrupt:
        ended_well = not fleet.dead
    finally:
        _end(fleet)
        if ended_well and not args.dir:
            shutil.rmtree(directory)
        else:
            _say(f"fleet: logs and data are in {directory}")
    return 0


def _check(args: Namespace) -> None:
    """Find what would fail later before anything is started."""
    echod_config.parse([])  # exits, naming an ECHOD_ variable that no daemon could start with
    if args.secrets and not args.secrets.is_dir():
        # Made anew it would have no certificate: TLS that was asked for would be missing.
        raise DirectoryError(f"--secrets {args.secrets}: no such folder; `fleet secrets` makes one")
    redis_server.find()
    haproxy_server.BINARY.find()
    used = {*haproxy_server.PORTS, "locust", "prometheus"}
    if args.secrets and secret_files.has_certificate(args.secrets):
        used |= {*haproxy_server.TLS_PORTS}
    if args.no_load:
        used.remove("locust")
    if not prometheus_server.installed():
        used.remove("prometheus")
    ports.check(
        [
            (port, what, f"{flag} or {variable}")
            for name, (flag, variable, _, what) in PORTS.items()
            if name in used and (port := getattr(args, f"{name}_port"))
        ]
    )


def _shard_replicas(args: Namespace) -> int:
    """How many each shard has; one Redis has none that could be asked for."""
    wanted: int | None = args.shard_replicas
    if args.shards == 1 and wanted:
        raise LabError(
            f"--shard-replicas {wanted}: one Redis has no replicas, only a cluster"
            f" (--shards {SHARDS_OF_A_CLUSTER} or more) has"
        )
    replicas = SHARD_REPLICAS if wanted is None else wanted
    nodes = args.shards * (1 + replicas)
    if nodes > NODES_MAX:
        raise LabError(
            f"--shards {args.shards} --shard-replicas {replicas}: {nodes} processes of Redis,"
            f" more than {NODES_MAX}"
        )
    return replicas


def _watch(fleet: Fleet) -> NoReturn:
    """Say that it is ready, tell of every part that dies, and do what `fleet top` asks for.

    Until a stop signal raises `KeyboardInterrupt`.
    """
    with contextlib.ExitStack() as stack:
        wait: Callable[[float], None] = time.sleep
        try:
            wait = stack.enter_context(listening(fleet))
        except OSError as error:
            _say(f"fleet: `fleet top` can't look at this fleet: {error}")
        print(json.dumps(fleet.ready), flush=True)  # who reads it may ask at once
        _say(_table(fleet.ready))
        while True:
            for name, process in fleet.deaths():
                how = f"{name} (pid {process.pid}) {_how(process.status)}"
                _say(f"fleet: {how}; its log: {process.log}")
            wait(WATCH_EVERY_S)


def _end(fleet: Fleet) -> None:
    """Stop the fleet in order; a stop signal meanwhile kills what is left."""
    if fleet.parts:
        _say("fleet: ending the load, HAProxy, the daemons, Redis (Ctrl-C again: at once)")
    try:
        fleet.stop()
    except KeyboardInterrupt:
        _on_stop_signals(signal.SIG_IGN)
        fleet.kill()
    _on_stop_signals(signal.SIG_IGN)  # what is left takes no time


def _how(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exited with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


def _table(ready: Mapping[str, Any]) -> str:
    """The ready line, for people."""
    redis, haproxy, locust, prometheus = (
        ready[name] for name in ("redis", "haproxy", "locust", "prometheus")
    )
    tls, nodes = haproxy["echo_tls"], redis["nodes"]
    password_file = Path(redis["password_file"]).with_name(secret_files.ADMIN_PASSWORD)
    rows = {
        "talk to it": f"nc {ready['echo'].replace(':', ' ')}",
        "a session": f"nc {ready['session'].replace(':', ' ')}, and HELLO",
        "… in TLS": tls and f"openssl s_client -quiet -connect {tls}",
        "the load": locust and f"http://{locust['web']}  (Locust)",
        "the balance": f"http://{haproxy['stats']}  (HAProxy; /metrics)",
        "the history": f"http://{prometheus['web']}  (Prometheus)" if prometheus else NO_HISTORY,
        **{
            one["name"]: f"pid {one['pid']}  http://{one['admin']}/metrics"
            f"  echo {one['echo']}  session {one['session']}"
            for one in ready["daemons"]
        },
        **{
            node["name"]: f"pid {node['pid']}  {node['address']}"
            + (f"  shard {node['shard']}, {node['role']}" if len(nodes) > 1 else "")
            for node in nodes
        },
        "watch it": "fleet top",
        "look into it": f"REDISCLI_AUTH=$(cat {password_file}) redis-cli --user admin"
        f" {'-c ' if len(nodes) > 1 else ''}-p {ports.split(nodes[0]['address'])[1]}",
        "logs and data": ready["directory"],
    }
    lines = [f"  {what:<14} {where}" for what, where in rows.items() if where]
    return "\n".join(["The fleet is up; Ctrl-C ends it.", *lines])


def _say(text: str) -> None:
    # Who listened may have gone, and the fleet must be ended all the same. Unbuffered, so
    # that nothing is left to fail at the exit.
    with contextlib.suppress(OSError):
        os.write(STDERR, f"{text}\n".encode())


def _on_stop_signals(handler: signal.Handlers | Callable[..., NoReturn]) -> None:
    for signum in STOP_SIGNALS:
        # Under nohup the end of the terminal is ignored, and stays so.
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def whole(least: int, most: int) -> Callable[[str], int]:
    """What an argument has to be, for argparse."""

    def parse(text: str) -> int:
        if text.isdecimal() and least <= int(text) <= most:
            return int(text)
        raise ArgumentTypeError(f"{text!r}: must be a whole number from {least} to {most}")

    return parse


def _shards(text: str) -> int:
    """As `whole`, without what is no cluster."""
    shards = whole(1, SHARDS_MAX)(text)
    if 1 < shards < SHARDS_OF_A_CLUSTER:
        raise ArgumentTypeError(
            f"{shards}: must be 1 (one Redis), or {SHARDS_OF_A_CLUSTER} to {SHARDS_MAX} (Redis"
            " Cluster: a master that died is replaced by a majority of masters, and one of two is"
            " none)"
        )
    return shards
