"""Where Locust's users go: one target or several, for both ports."""

from __future__ import annotations

import pytest

from loadtest import options
from loadtest.entrances import ENTRANCES_MAX, Address


@pytest.mark.parametrize(
    "urls, found",
    [
        ("tcp://a:1", [("a", 1)]),
        ("tcp://a:1,b:2", [("a", 1), ("b", 2)]),
        ("tcp://a:1, tcp://[::1]:2", [("a", 1), ("::1", 2)]),
    ],
)
def test_targets(urls: str, found: list[Address]) -> None:
    """From the second on, `tcp://` may be left out."""
    assert options.targets(urls) == found


@pytest.mark.parametrize(
    "urls, wrong",
    [
        ("a:1", "a:1"),
        ("tcp://a:1,http://b:2", "http://b:2"),
        ("tcp://a:1,b", "tcp://b"),
        ("tcp://a:1,", "tcp://"),
        (",".join(["tcp://a:1"] * (ENTRANCES_MAX + 1)), "65 targets, at most 64"),
    ],
)
def test_what_is_no_target(urls: str, wrong: str) -> None:
    """The words show which, and the form."""
    with pytest.raises(ValueError, match=wrong):
        options.targets(urls)


@pytest.mark.parametrize(
    "urls, session_urls, found",
    [
        ("tcp://a:1234,b:1234,c:9", "", [("a", 1235), ("b", 1235), ("c", 9)]),
        ("tcp://a:1234,b:1234", "tcp://x:1,y:2", [("x", 1), ("y", 2)]),
    ],
)
def test_where_sessions_are(urls: str, session_urls: str, found: list[Address]) -> None:
    """As said; else at each plain port's neighbour."""
    assert options.session_targets(urls, session_urls) == found


def test_users_of_a_process_share_what_they_learn() -> None:
    """One object for one target, whoever asks."""
    assert options.entrances("tcp://a:1,b:2") is options.entrances("tcp://a:1,b:2")
    one = options.session_entrances("tcp://a:1234", "")
    assert one is options.session_entrances("tcp://a:1234", "")
    assert one.addresses == (("a", 1235),)
