"""`--store` as a URL: each part arrives, and nothing else than `StoreUrlError` is raised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.values.store_url import DB_MAX, StoreUrl, StoreUrlError, Tls, parse

PARTS = ("redis://", "rediss://", "unix://", "memory://", "user", ":", "@", "[::1]", "h", "/", "1",
         "?", "&", "=", "db", "ssl_ca_certs", "ssl_cert_reqs", "none", "#", "%", ".", "\0", "é", " ",
         "[", "]", "99999", "\u2100")  # fmt: skip


@pytest.mark.parametrize(
    "text,found",
    [
        ("memory://", StoreUrl("memory")),
        ("redis://h", StoreUrl("redis", host="h", port=6379)),
        (
            "redis://us%65r:p%40ss%20%ff@h:1/7",
            StoreUrl("redis", "h", 1, db=7, username=b"user", password=b"p@ss \xff"),
        ),
        ("redis://:a@b:c@[2001:DB8::1]", StoreUrl("redis", "2001:db8::1", password=b"a@b:c")),
        (f"redis://h?db={DB_MAX}", StoreUrl("redis", "h", db=DB_MAX)),
        ("rediss://h", StoreUrl("rediss", "h", tls=Tls())),
        (
            "rediss://h?ssl_ca_certs=/a%20b&ssl_certfile=c&ssl_keyfile=k&ssl_check_hostname=No&db=2",
            StoreUrl("rediss", "h", db=2, tls=Tls("/a b", "c", "k", check_hostname=False)),
        ),
        (
            "rediss://h?ssl_cert_reqs=none",
            StoreUrl("rediss", "h", tls=Tls(verified=False, check_hostname=False)),
        ),
        (
            "unix://u:p@/run/a%20b?db=3",
            StoreUrl("unix", path="/run/a b", db=3, username=b"u", password=b"p"),
        ),
    ],
)
def test_every_part_arrives(text: str, found: StoreUrl) -> None:
    """What is said is what is served."""
    assert parse(text) == found


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=12).map("".join))
def test_any_text_is_served_or_refused(text: str) -> None:
    """There is one error, and it says what must be."""
    try:
        found = parse(text)
    except StoreUrlError:
        with pytest.raises(StoreUrlError, match=r"^must "):
            parse(text)
    else:
        assert (found.scheme == "unix") == bool(found.path)
        assert (found.scheme in ("redis", "rediss")) == bool(found.host)
        assert 0 < found.port < 1 << 16


def test_no_password_is_repeated() -> None:
    """An error's text goes to a terminal and to logs."""
    for text in (
        "redis://:hunter2/x@h",
        "redis://:hunter2#x@h",
        "redis://h:hunter2",
        "hunter2://h",
    ):
        with pytest.raises(StoreUrlError) as caught:
            parse(text)
        assert "hunter2" not in str(caught.value)
