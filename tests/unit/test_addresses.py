"""An address has one form, wherever it came from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.values import addresses

V4 = st.ip_addresses(v=4)


@given(V4, st.integers(0, 65_535))
def test_a_mapped_address_is_the_ipv4_one(address: ipaddress.IPv4Address, port: int) -> None:
    """As text, as bytes, compared and shown."""
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert addresses.parse(str(mapped)) == addresses.parse(mapped.packed) == address
    shown = f"{address}:{port}"
    assert addresses.show(str(mapped), port) == addresses.show(mapped.packed, port) == shown
    assert addresses.show(str(address), port) == shown


@given(V4, st.integers(0, 32))
def test_a_mapped_network_has_the_ipv4_ones(address: ipaddress.IPv4Address, length: int) -> None:
    """Who names it so means the same peers."""
    network = ipaddress.IPv4Network((address, length), strict=False)
    mapped = f"::ffff:{network.network_address}/{96 + length}"
    assert addresses.networks(f"{mapped}, {network}") == (network, network)


def test_ipv6_stays() -> None:
    """Brackets, so that the port can be told from it; a zone is a part of it."""
    assert addresses.show("2001:db8:0::1", 80) == "[2001:db8::1]:80"
    assert addresses.show("::", 0) == "[::]:0"
    assert str(addresses.parse("fe80::1%lo")) == "fe80::1%lo"
    assert addresses.networks("::1/128, fc00::/7") == (
        ipaddress.ip_network("::1/128"), ipaddress.ip_network("fc00::/7"),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "::g"])
def test_what_is_none(text: str) -> None:
    """A name is no address."""
    with pytest.raises(ValueError, match="does not appear to be"):
        addresses.parse(text)
