"""`lab.fleet.ports`: free ports are tried again, taken ones are named."""

from __future__ import annotations

import errno
import resource
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING

import pytest

from lab.fleet import ports
from lab.fleet.ports import HOST, RESERVED_SHARE, TRIES_MAX, PortError, check, reserve, start_on
from lab.fleet.processes import StartError
from tests.lab.port_taker import could_be_given

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_a_lost_race_for_a_free_port_is_run_again() -> None:
    """A start that fails on one free port is tried on another."""
    tried: list[int] = []

    def start(ports: Sequence[int]) -> int:
        tried.extend(ports)
        if len(tried) < 3:
            raise StartError("taken")
        return ports[0]

    assert start_on([0], start) == tried[2]
    assert len(set(tried)) == 3


def test_the_races_are_bounded() -> None:
    """A start that always fails ends with its own error."""
    tried: list[int] = []

    def start(ports: Sequence[int]) -> None:
        tried.extend(ports)
        raise StartError(f"try {len(tried)}")

    with pytest.raises(StartError, match=f"try {TRIES_MAX}"):
        start_on([0], start)


def test_a_given_port_is_tried_once() -> None:
    """Only free ports are raced for: a given one fails at once."""
    tried: list[int] = []

    def start(ports: Sequence[int]) -> None:
        tried.extend(ports)
        raise StartError("taken")

    with pytest.raises(StartError):
        start_on([1234], start)
    assert tried == [1234]


def test_several_free_ports_differ() -> None:
    """Two ports of one start are two, and a given one is left alone."""
    first, given, second = start_on([0, 1234, 0], list)

    assert given == 1234
    assert first != second
    assert 0 not in (first, second)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system can keep a port")
def test_a_reserved_port_is_given_to_nobody_else() -> None:
    """Who connects is refused; a server can listen there as often as it is started."""
    port = reserve()

    for _ in range(2):
        with socket.socket() as asker:
            assert asker.connect_ex((HOST, port)) == errno.ECONNREFUSED
        assert not could_be_given(port)
        with socket.create_server((HOST, port)) as server, socket.create_connection((HOST, port)):
            server.accept()[0].close()


@pytest.mark.skipif(sys.platform != "linux", reason="no other system can keep a port")
def test_the_longest_reserved_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit to what is kept."""
    monkeypatch.setattr(ports, "_reserved", deque())
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2 * RESERVED_SHARE, 2 * RESERVED_SHARE))

    first, *others = (reserve() for _ in range(3))

    # As if nobody had it; what is kept is refused as before.
    with socket.socket() as free:
        free.bind((HOST, first))
    assert not any(map(could_be_given, others))


def test_taken_ports_are_named_with_what_to_do() -> None:
    """Every port that is taken is told of in one error, with how to choose another."""
    with socket.create_server((HOST, 0)) as first, socket.create_server((HOST, 0)) as second:
        numbers = [taken.getsockname()[1] for taken in (first, second)]

        with pytest.raises(PortError) as caught:
            check([(number, "the echo", "--port or ECHO_PORT") for number in numbers])

    for number in numbers:
        assert f"port {number} (the echo): Address already in use" in str(caught.value)
    assert "choose another with --port or ECHO_PORT" in str(caught.value)


def test_one_port_wished_for_twice_is_refused() -> None:
    """Two services can't have one port, even if nobody has it yet."""
    with socket.create_server((HOST, 0)) as free:
        number = free.getsockname()[1]

    with pytest.raises(PortError, match=f"port {number} \\(the page\\)"):
        check([(number, "the echo", "--port"), (number, "the page", "--page-port")])


def test_free_ports_pass() -> None:
    """A port that can be had is had again afterwards."""
    with socket.create_server((HOST, 0)) as free:
        number = free.getsockname()[1]

    check([(number, "the echo", "--port")])
    check([(number, "the echo", "--port")])
