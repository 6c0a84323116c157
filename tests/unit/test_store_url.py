"""`--store` as a URL: each part arrives, and nothing else than `StoreUrlError` is raised."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.values.store_url import CLUSTERS, DB_MAX, NODES_MAX, StoreUrl, StoreUrlError, Tls, parse

PARTS = ("redis://", "rediss://", "redis+cluster://", "rediss+cluster://", ",", "unix://", "memory://", "user", ":", "@", "[::1]", "h", "/", "1",
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
        (
            "redis+cluster://u:p,@:1@a:1,[::1],c:3",
            StoreUrl(
                "redis+cluster",
                "a",
                1,
                username=b"u",
                password=b"p,@:1",
                nodes=(("a", 1), ("::1", 6379), ("c", 3)),
            ),
        ),
        (
            "rediss+cluster://h?ssl_check_hostname=no",
            StoreUrl("rediss+cluster", "h", tls=Tls(check_hostname=False), nodes=(("h", 6379),)),
        ),
    ],
)
def test_every_part_arrives(text: str, found: StoreUrl) -> None:
    """What is said is what is served."""
    assert parse(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "redis+cluster://",
        "redis+cluster://a,",
        "redis+cluster://a,,b",
        "redis+cluster://a;b",
        "redis+cluster://a:0,b",
        "redis+cluster://a/0",
        "redis+cluster://a,b/1",
        "redis+cluster://a?db=0",
        "redis+cluster://a?ssl_cert_reqs=none",
        "redis+cluster://:@a,b",
        "redis+cluster://" + ",".join(["a"] * (NODES_MAX + 1)),
        "memory+cluster://a",
    ],
)
def test_what_is_no_cluster(text: str) -> None:
    """It has nodes, not too many, and no database but its own."""
    with pytest.raises(StoreUrlError, match=r"^must "):
        parse(text)


LABEL = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
NODE = st.tuples(LABEL, st.integers(1, 65_535))


@given(
    st.sampled_from(CLUSTERS),
    st.lists(NODE, min_size=1, max_size=NODES_MAX),
    st.binary(max_size=8),
    st.binary(min_size=1, max_size=8),
)
def test_every_node_of_a_cluster_arrives(
    scheme: str, nodes: list[tuple[str, int]], user: bytes, password: bytes
) -> None:
    """In order, with who asks, whatever his name and password are."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    found = parse(f"{scheme}://{login}@" + ",".join(f"{host}:{port}" for host, port in nodes))
    assert found == StoreUrl(
        scheme, *nodes[0], username=user, password=password,
        tls=Tls() if scheme == "rediss+cluster" else None, nodes=tuple(nodes),
    )  # fmt: skip


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
        assert (found.scheme in ("redis", "rediss", *CLUSTERS)) == bool(found.host)
        assert (found.scheme in CLUSTERS) == bool(found.nodes)
        assert not found.nodes or found.nodes[0] == (found.host, found.port)
        assert found.scheme.startswith("rediss") == (found.tls is not None)
        assert 0 < found.port < 1 << 16


def test_no_password_is_repeated() -> None:
    """An error's text goes to a terminal and to logs."""
    for text in (
        "redis://:hunter2/x@h",
        "redis://:hunter2#x@h",
        "redis://h:hunter2",
        "redis+cluster://:hunter2/x@h,i",
        "redis+cluster://:hunter2@h,i:hunter2",
        "hunter2://h",
    ):
        with pytest.raises(StoreUrlError) as caught:
            parse(text)
        assert "hunter2" not in str(caught.value)
