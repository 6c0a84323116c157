"""What a setting may be: texts and numbers go into protocols, networks and system calls. Pure.

Each setting is served exactly, or refused at the start with its name and what it must be
(`config.py`). What a number may be follows from the unit that ends its name, so that a new
setting has bounds as soon as it has a name; a field's metadata can narrow or widen them:

    least, most   in the place of the unit's
    zero          0 too: it turns something off
    choices       one of these words
    must          a function of the value that raises ValueError("must …")

tests/unit/test_config_values.py tries every setting with odd and extreme values, and
fails for one that it has none for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from echod.values import addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

# Below 10 ms nothing here is told from at once: the clock of deadlines has steps of 100 ms.
# A year is what a record may live in Redis, and more than any wait: gevent, the kernel and
# Redis (EX, in milliseconds an int of 64 bits) all take three of it.
SECONDS: Final = (0.01, 366 * 86_400.0)
# A socket's buffer is an int in the kernel, which doubles it.
BYTES: Final = (1, 1 << 30)
# More is no limit on any machine that a daemon of one CPU runs on.
COUNT: Final = (1, 10_000_000)
PORT: Final = (0, 65_535)
# The end of a name → the least and the most. The first that fits counts.
BOUNDS: Final = (
    (("_port",), PORT),
    (("_bytes_max",), BYTES),
    (("_s", "_s_max"), SECONDS),
    (("_max",), COUNT),
)

TRUTHS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}

# A socket can be bound to it, and nobody can connect to one there.
BROADCAST: Final = "255.255.255.255"

# A daemon's name is a word of the lines that daemons send each other, a part of keys and
# channels, and of log lines that are cut at spaces.
NAME_LENGTH_MAX: Final = 64
_NAME = re.compile(f"[A-Za-z0-9_.-]{{1,{NAME_LENGTH_MAX}}}")


def check(name: str, value: object, metadata: Mapping[str, Any]) -> None:
    """Pass what the setting `name` can have.

    Raises:
        ValueError: "must …", for anything else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _number(name, value, metadata)
    choices = metadata.get("choices")
    if choices and value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    if must := metadata.get("must"):
        must(value)


def bounds(name: str, metadata: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the most of a number, beside 0 where `zero` says so.

    Raises:
        KeyError: neither its name nor its metadata says.
    """
    for ends, both in BOUNDS:
        if name.endswith(ends):
            return metadata.get("least", both[0]), metadata.get("most", both[1])
    return metadata["least"], metadata["most"]


def _number(name: str, value: float, metadata: Mapping[str, Any]) -> None:
    least, most = bounds(name, metadata)
    zero = metadata.get("zero", False)
    if not (least <= value <= most or (zero and value == 0)):  # nan is neither
        raise ValueError(f"must be {'0, or ' if zero else ''}{least:.15g} to {most:.15g}")


def truth(text: str) -> bool:
    """What a word says.

    Raises:
        ValueError: "must …": it is none of `TRUTHS`.
    """
    try:
        return TRUTHS[text.lower()]
    except KeyError:
        raise ValueError(f"must be one of {', '.join(TRUTHS)}") from None


def daemon_name(text: str) -> None:
    """Pass a name, or "" for one that is made (`name_of_host`).

    Raises:
        ValueError: "must …", for anything else.
    """
    if text and not _NAME.fullmatch(text):
        raise ValueError(f"must be 1 to {NAME_LENGTH_MAX} of A-Z a-z 0-9 _ . -")


def name_of_host(host: str, chance: str) -> str:
    """A daemon's name of its host's, as far as that can be one, and a part of its own."""
    known = re.sub(r"[^A-Za-z0-9_.-]+", "-", host) or "echod"
    return f"{known[: NAME_LENGTH_MAX - len(chance) - 1]}-{chance}"


def listening_address(text: str) -> None:
    """Pass an address that a socket can be bound to.

    Raises:
        ValueError: "must …": a name, or an address that needs more than itself.
    """
    try:
        address = addresses.parse(text)
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address, as in 0.0.0.0 or ::1") from None
    if "%" in text or address.is_multicast or str(address) == BROADCAST:
        raise ValueError("must be an address of this machine's own, without a zone")


def network_list(text: str) -> None:
    """Pass networks with commas between.

    Raises:
        ValueError: "must …": one of them is none.
    """
    try:
        addresses.networks(text)
    except ValueError as error:
        raise ValueError(
            f"must be networks with commas between, as in 10.0.0.0/8: {error}"
        ) from None
