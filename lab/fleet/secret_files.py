"""Passwords and certificates as files, and `fleet secrets`, which makes them.

    redis_echod           the daemons' password at Redis
    redis_exporter.json   the exporter's, in the only form that it reads
    redis_replica         a replica's, at its master
    redis_admin           people's; no container but Redis's own has it
    haproxy.pem           HAProxy's certificate and key        ┐
    clients_ca.pem        who signs clients                    │ only of `fleet secrets`
    ca.pem                what clients check HAProxy against   │
    client.pem            a client's certificate and key       │
    authority.pem         signs the others; nobody else's      ┘

The containers take the folder that $SECRETS names (docker-compose.yml). What is there
stays, but for certificates whose time is coming: made anew, by the same authority.

The folder is its owner's alone (0700). What containers read in it is readable by all
(0644), because each runs as a user of its own, and is handed its own files only.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.fleet import certificates
from lab.fleet.certificates import Pair

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Callable, Sequence

ECHOD_PASSWORD, ADMIN_PASSWORD = "redis_echod", "redis_admin"
REPLICA_PASSWORD = "redis_replica"  # noqa: S105 — the name of a file
EXPORTER_PASSWORD = "redis_exporter.json"  # noqa: S105 — the name of a file
CERTIFICATE, CLIENTS_AUTHORITY = "haproxy.pem", "clients_ca.pem"
AUTHORITY, AUTHORITY_CERTIFICATE, CLIENT = "authority.pem", "ca.pem", "client.pem"

# 256 random bits: nobody guesses it, so Redis need not slow guessing down.
PASSWORD_BYTES = 32

# The one Redis of docker-compose.yml, and the nodes of deploy/cluster.yml. Which of its ways of
# naming an address the exporter looks up depends on its version.
REDISES = ("redis", *(f"redis-{shard}-{number}" for shard in range(3) for number in range(3)))
EXPORTER_ADDRESSES = tuple(
    f"redis://{user}{host}:6379" for host in REDISES for user in ("", "exporter@")
)

# Where clients reach HAProxy: from this machine, and from the containers beside it.
NAMES = ("localhost", "127.0.0.1", "::1", "haproxy")

FOLDER_MODE, OWNERS_MODE, CONTAINERS_MODE = 0o700, 0o600, 0o644


class SecretsError(LabError):
    """The folder, or a file in it, can't be used."""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add `secrets` and its flags."""
    parser = subparsers.add_parser(
        "secrets",
        help="make passwords and certificates of your own",
        description="Make the missing passwords and certificates in the folder, and renew certificates"
        " in their last month.",
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("secrets/own"), help="the folder [default %(default)s]"
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="one more host name or address of HAProxy, beside " + ", ".join(NAMES),
    )


def run(args: Namespace) -> int:
    """Make them, and say how they are used; returns 0.

    Raises:
        SecretsError: The folder can't be used.
    """
    try:
        made = make_passwords(args.dir) + make_certificates(args.dir, [*NAMES, *args.name])
    except (OSError, ValueError) as error:
        raise SecretsError(f"{args.dir}: {error}") from error
    print(f"{args.dir}: {', '.join(made) or 'nothing'} made; what was there was kept")
    print(f"use them:      SECRETS={args.dir.resolve()} docker compose up      (or in .env)")
    print(f"               .venv/bin/fleet up --secrets {args.dir}")
    print(f"clients check: {args.dir / AUTHORITY_CERTIFICATE}")
    return 0


def make_passwords(folder: Path) -> list[str]:
    """Make the passwords that are missing; returns their files' names."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    made = []
    for name in (ECHOD_PASSWORD, EXPORTER_PASSWORD, REPLICA_PASSWORD, ADMIN_PASSWORD):
        if not (folder / name).exists():
            made.append(name)
            text = secrets.token_urlsafe(PASSWORD_BYTES)
            if name == EXPORTER_PASSWORD:
                text = json.dumps(dict.fromkeys(EXPORTER_ADDRESSES, text))
            _write(folder / name, f"{text}\n".encode(), CONTAINERS_MODE)
    return made


def make_certificates(
    folder: Path, names: Sequence[str], now: dt.datetime | None = None
) -> list[str]:
    """Make the certificates that are missing or due; returns their files' names.

    Raises:
        ValueError: A file is there that holds something else.
    """
    now = now or dt.datetime.now(dt.UTC)
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    made = []

    def have(name: str, mode: int, make: Callable[[], Pair]) -> Pair:
        path = folder / name
        if path.exists() and not (found := Pair.read(path.read_bytes())).due(now):
            return found
        made.append(name)
        pair = make()
        _write(path, pair.pem, mode)
        return pair

    signer = have(AUTHORITY, OWNERS_MODE, lambda: certificates.authority(now))
    if made:
        for name in (CERTIFICATE, CLIENT):
            (folder / name).unlink(missing_ok=True)  # of an authority that is no more
    for name in (AUTHORITY_CERTIFICATE, CLIENTS_AUTHORITY):
        _write(folder / name, signer.certificate_pem, CONTAINERS_MODE)
    have(CERTIFICATE, CONTAINERS_MODE, lambda: certificates.server(signer, names, now))
    have(CLIENT, OWNERS_MODE, lambda: certificates.client(signer, "client", now))
    return made


def password(folder: Path, name: str) -> str:
    """A password of this folder; not the exporter's, which has a form of its own."""
    return (folder / name).read_text().strip()


def has_certificate(folder: Path) -> bool:
    """Whether HAProxy finds a certificate there, and not the default's note that it is none."""
    path = folder / CERTIFICATE
    return path.exists() and b"PRIVATE KEY" in path.read_bytes()


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace the file at once, so that nobody reads half of it."""
    beside = path.with_name(path.name + ".new")
    beside.touch(mode=OWNERS_MODE)
    beside.write_bytes(data)
    beside.chmod(mode)
    beside.replace(path)
