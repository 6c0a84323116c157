"""Every setting with wrong, odd and extreme values: served exactly, or refused by name.

`TABLE` has rows for each field of `Config`, and a field without any fails. A row is what
stands in the environment or behind the flag; where other settings must follow, they stand
beside it. What daemons do with such values is tests/daemon/test_settings.py's.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.config import (
    DURABILITIES,
    LOG_LEVELS,
    READERS,
    ROUTES,
    Config,
    flag_of,
    parse,
    variable_of,
)
from echod.values import checks
from echod.values.store_url import CLUSTERS

YEAR_S = 366 * 86_400


class Rows(NamedTuple):
    """Texts that are served and texts that are refused; `beside` goes with the first."""

    served: tuple[str, ...]
    refused: tuple[str, ...]
    beside: tuple[str, ...] = ()


NO_NUMBERS = ("", " ", "abc", "-1", "nan", "inf", "-inf", "1e999", "0x10", "1,5", "9" * 5000, "½")


def whole(least: int, most: int, *beside: str) -> Rows:
    """Of a whole number."""
    refused = (*NO_NUMBERS, "1.5", "1e3", "1_000", str(least - 1), str(most + 1))
    return Rows((str(least), str(most), f"+{least}", f"00{least}"), refused, beside)


def seconds(*beside: str, zero: bool = False) -> Rows:
    """Of a time."""
    refused = (*NO_NUMBERS, "0.009", "5e-324", str(YEAR_S + 1), "1e308")
    served = ("0.01", "1e-2", "0.3", str(YEAR_S))
    if zero:
        return Rows((*served, "0", "0.0", "-0.0"), refused, beside)
    return Rows(served, (*refused, "0", "-0.0"), beside)


def life(*beside: str) -> Rows:
    """Of a time that the ticks of a daemon must be able to renew."""
    return Rows(("1", "10", str(YEAR_S)), (*NO_NUMBERS, "0", "0.99", str(YEAR_S + 1)), beside)


def words(*choices: str) -> Rows:
    """Of one word of a list."""
    odd = [choices[0].upper(), f" {choices[0]}", f"{choices[0]}\n", choices[0][:-1]]
    return Rows(choices, ("", "maybe", *odd))


PORT = whole(0, 65_535)
COUNT = whole(1, 10_000_000)

TABLE: dict[str, Rows] = {
    "host": Rows(
        ("127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "2001:db8::1"),  # noqa: S104 — a value
        (
            *("", " ", "localhost", "a b", "127.0.0.1 ", "127.0.0.1:80", "[::1]", "1.2.3", "::g"),
            *(
                "127.0.0.256",
                "127.0.0.1\n",
                "10.0.0.0/8",
                "fe80::1%lo",
                "224.0.0.1",
                "ff02::1",
                "255.255.255.255",
                "::ffff:255.255.255.255",
            ),
        ),
    ),
    "echo_port": PORT,
    "session_port": PORT,
    "admin_port": PORT,
    "agent_port": PORT,
    "name": Rows(
        ("a", "echod1", "web-7.example.org", "_", "-", "x" * 64),
        ("echod 1", " ", "a\n", "a\tb", "a\rb", "a:b", "a/b", "*", "é", "a\x00", "x" * 65),
    ),
    "store": Rows(
        (
            "memory://",
            "redis://h",
            "redis://10.0.0.1:1",
            "redis://[::1]:65535/0",
            "redis://h:6379/",
            "redis://h/15",
            "redis+cluster://h",
            "redis+cluster://10.0.0.1:1,[::1]:2,h",
            "rediss+cluster://h?ssl_ca_certs=/ca.pem",
            "redis://h?db=3",
            "redis://:p@h",
            "redis://u:p:q@r@h",
            "redis://a_b.c-d.:6379",
            "rediss://h",
            "rediss://h?ssl_ca_certs=/a/b.pem",
            "rediss://h?ssl_certfile=/a&ssl_keyfile=/b&ssl_check_hostname=no",
            "rediss://h?ssl_cert_reqs=none",
            "unix:///run/redis.sock",
            "unix://u:p@/run/redis.sock?db=1",
        ),
        (
            *(
                "",
                " ",
                "memory",
                "memory:",
                "memory:///",
                "memory://x",
                "memory://?a=b",
                "MEMORY://",
            ),
            *("mysql://x", "REDIS://h", "redis:h", "redis:/h", "redis:///0", "redis://", "//h"),
            *("redis://h:abc", "redis://h:99999", "redis://h:0", "redis://h:", "redis://h:-1"),
            *("redis://h:6379:1", "redis://h/x", "redis://h/-1", "redis://h/0/1", "redis://h/1.5"),
            *("redis://h/99999999999", "redis://h/1?db=1", "redis://h?db=", "redis://h?db=x"),
            *("redis://@h", "redis://u:@h", "redis://u@h", "redis://:p/q@h", "redis://:p#q@h"),
            *("redis://:p?q@h", "redis://h#", "redis://h h", "redis://h\n", "redis://a..b"),
            *(
                "redis+cluster://",
                "redis+cluster://h,",
                "redis+cluster://h/1",
                "redis+cluster://h?db=0",
            ),
            *("redis://-h", f"redis://{'x' * 64}", f"redis://{'x.' * 130}x", "redis://%68"),
            *("redis://::1", "redis://[::1", "redis://[::g]", "redis://[h]", "redis://1.2.3.256"),
            *("redis://1.2.3", "redis://12", "redis://h,i", "redis://é"),
            *("redis://h?timeout=1", "redis://h?max_connections=1", "redis://h?", "redis://h?db"),
            *("redis://h?ssl_ca_certs=/a", "rediss://h?ssl_cert_reqs=optional"),
            *(
                "rediss://h?ssl_cert_reqs=",
                "rediss://h?ssl_min_version=2",
                "rediss://h?SSL_CA_CERTS=x",
            ),
            *("rediss://h?ssl_check_hostname=ture", "rediss://h?ssl_keyfile=/k"),
            *("rediss://h?ssl_ca_certs=/a&ssl_ca_certs=/b", "rediss://h?protocol=3"),
            *("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=1",),
            *("rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/a",),
            *("unix://", "unix:///", "unix://tmp/redis.sock", "unix://h:1/x", "unix:///x%00y"),
            *(f"unix:///{'x' * 107}", "unix:///x?ssl_ca_certs=/a", "unix:///x?path=/y"),
        ),
    ),
    "store_password_file": Rows(("/no/such", "a b"), (), ("--store=redis://u@h",)),
    "durability": words(*DURABILITIES),
    "async_lines_max": COUNT,
    "async_s_max": seconds(),
    "session_ttl_s": seconds("--session-idle-s-max=0.01")._replace(
        served=("0.03", "10", "2.5", str(YEAR_S))
    ),
    "proxy_protocol": Rows(
        ("1", "true", "yes", "on", "TRUE", "On", "0", "false", "no", "off", "No"),
        ("ture", "2", "y", "t", "enabled", " ", "true ", "none", "-1"),
    ),
    "proxy_networks": Rows(
        ("10.0.0.0/8", " 10.0.0.1 , ::1 ", "::ffff:10.0.0.0/104", "0.0.0.0/0,::/0", ""),
        ("10.0.0.0/99", "10.0.0.1/8", "10/8", "localhost", "10.0.0.0/8 ::1", "::/129", "x,::1"),
    ),
    "proxy_header_bytes_max": whole(232, 65_551),
    "proxy_s_max": seconds(),
    "connections_max": COUNT,
    "line_bytes_max": whole(
        128,
        1 << 24,
        *(f"--{name}-bytes-max=100000000" for name in ("outbox", "unsent", "pending", "source")),
    ),
    "source_bytes_max": whole(8_192, 1 << 30),
    "unsent_bytes_max": whole(1 << 20, 1 << 30),
    "kernel_send_bytes": whole(4_096, 1 << 30),
    "kernel_receive_bytes": whole(4_096, 1 << 30),
    "rooms_max": COUNT,
    "memberships_max": COUNT,
    "line_s_max": seconds(),
    "echo_idle_s_max": seconds(),
    "session_idle_s_max": Rows(
        ("0.01", "1e-2", "100"), (*NO_NUMBERS, "0", str(YEAR_S + 1)), ("--session-ttl-s=300",)
    ),
    "inflight_lines_max": COUNT,
    "outbox_bytes_max": whole(98_304, 1 << 30, f"--unsent-bytes-max={1 << 30}"),
    "send_s_max": seconds(),
    "linger_s_max": seconds(),
    "commit_s_max": seconds(f"--marker-s={YEAR_S}")._replace(
        served=("0.01", "1e-2", "0.3", str(YEAR_S / 3))
    ),
    "batch_writes_max": COUNT,
    "pending_bytes_max": whole(16_384, 1 << 30),
    "store_replicas": Rows(("0", "1", "16"), (*NO_NUMBERS, "-1", "17"), ("--store=redis://h",)),
    "store_fill_max": Rows(("0.01", "0.5", "0.99"), (*NO_NUMBERS, "0", "1", "80", "80%")),
    "announcement_s": life(f"--room-s-max={YEAR_S}", "--room-linger-s=0.5"),
    "lease_s": life(),
    "marker_s": life("--commit-s-max=0.3"),
    "room_route": words(*ROUTES),
    "room_tick_s": seconds(zero=True),
    "rooms_joined_max": COUNT,
    "room_messages_max": COUNT,
    "room_s_max": seconds()._replace(served=("90", "1e3", str(YEAR_S))),
    "room_linger_s": seconds()._replace(served=("0.01", "1e-2", "0.3", "45")),
    "drain_s": seconds("--agent-interval-s=0.01")._replace(served=("0.02", "0.3", str(YEAR_S))),
    "agent_interval_s": seconds(f"--drain-s={YEAR_S}")._replace(
        served=("0.01", "0.5", str(YEAR_S / 2))
    ),
    "reader": words(*READERS),
    "log_level": words(*LOG_LEVELS),
}

FIELDS = dataclasses.fields(Config)
SERVED = [(spec.name, text) for spec in FIELDS for text in TABLE[spec.name].served]
REFUSED = [(spec.name, text) for spec in FIELDS for text in TABLE[spec.name].refused]


def short(value: object) -> str:
    """Of a test's name."""
    return ascii(value)[1:-1][:40]


@pytest.mark.parametrize("spec", FIELDS, ids=lambda spec: spec.name)
def test_every_setting_has_rows(spec: dataclasses.Field[object]) -> None:
    """A new setting needs bounds, and rows that try them."""
    rows = TABLE[spec.name]
    assert rows.served
    assert rows.refused or spec.name == "store_password_file"  # any path may be made later
    if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
        least, most = checks.bounds(spec.name, spec.metadata)
        tried = {float(text) for text in rows.served}
        zero = {0.0} if spec.metadata.get("zero") else set()
        assert least <= min(tried - zero) <= max(tried) <= most


def test_there_are_rows_for_settings_only() -> None:
    """None is left over of a setting that is gone."""
    assert set(TABLE) == {spec.name for spec in FIELDS}


@pytest.mark.parametrize("name,text", SERVED, ids=short)
def test_served_exactly(name: str, text: str) -> None:
    """The value is the text's, from the flag and from the variable alike."""
    default: Any = next(spec.default for spec in FIELDS if spec.name == name)
    beside = TABLE[name].beside
    found = getattr(parse(beside, {variable_of(name): text}), name)
    if isinstance(default, bool):
        assert found is (text.lower() in ("1", "true", "yes", "on"))
        return
    assert found == (type(default)(text) if text else default)
    assert type(found) is type(default)
    assert getattr(parse([*beside, f"{flag_of(name)}={text}"], {}), name) == type(default)(text)


@pytest.mark.parametrize("name,text", REFUSED, ids=short)
def test_refused_by_name(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the setting and says what it must be; it shows no URL."""
    is_bool = name == "proxy_protocol"
    ways: list[tuple[list[str], dict[str, str]]] = []
    if text:  # an empty variable is not set
        ways.append(([], {variable_of(name): text}))
    if not is_bool:
        ways.append(([f"{flag_of(name)}={text}"], {}))
    for argv, environ in ways:
        with pytest.raises(SystemExit) as caught:
            parse(argv, environ)
        assert caught.value.code == 2
        said = capsys.readouterr().err.rpartition("error: ")[2]
        assert (variable_of(name) if is_bool else flag_of(name)) in said
        assert "must" in said
        assert name != "store" or "@" not in said


@pytest.mark.parametrize(
    "argv,named",
    [
        (["--session-ttl-s=100", "--session-idle-s-max=50"], "--session-ttl-s=100"),
        (["--drain-s=0.9"], "--drain-s=0.9"),
        (["--agent-interval-s=6"], "--agent-interval-s=6"),
        (["--pending-bytes-max=16000"], "--pending-bytes-max=16000"),
        (["--outbox-bytes-max=98303"], "--outbox-bytes-max=98303"),
        (["--line-bytes-max=262144"], "--line-bytes-max=262144"),
        (["--proxy-protocol", "--proxy-networks="], "--proxy-networks"),
        (["--proxy-protocol", "--proxy-networks= , "], "--proxy-networks"),
        (["--store-password-file=/x"], "--store-password-file"),
        (["--store-password-file=/x", "--store=redis://:p@h"], "--store-password-file"),
        (["--store=redis://u@h"], "--store"),
        (["--store=memory://", "--store-replicas=1"], "--store-replicas"),
        (["--store=redis://h", "--store-replicas=1", "--room-route=directed"], "--room-route"),
        (["--store=unix://u@/x"], "--store"),
        (["--store=redis+cluster://u@h,i"], "--store"),
        (["--store=redis+cluster://h", "--room-route=broadcast"], "--room-route=broadcast"),
        (["--store=redis+cluster://h", "--room-route=directed"], "--room-route=directed"),
        (["--store=redis+cluster://h", "--marker-s=17"], "--marker-s=17"),
    ],
)
def test_pairs_that_contradict(
    argv: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is well alone; the error names both, and which is to be mended."""
    with pytest.raises(SystemExit):
        parse(argv, {})
    said = capsys.readouterr().err.rpartition("error: ")[2]
    assert named in said
    assert "must" in said


@given(st.text(max_size=300))
def test_any_host_makes_a_name(host: str) -> None:
    """The default fits, whatever a host is called."""
    name = checks.name_of_host(host, "abcdef")
    checks.daemon_name(name)
    assert name.endswith("-abcdef")


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("variable", [False, True])
def test_defaults_of_a_cluster(cluster: str, *, variable: bool) -> None:
    """Where nothing was said; whoever says something is served, one Redis's defaults too."""
    url = f"{cluster}://h,i"
    argv = [] if variable else [f"--store={url}"]
    environ = {"ECHOD_STORE": url} if variable else {}
    one, many = parse([], {"ECHOD_STORE": "redis://h"}), parse(argv, environ)
    assert (one.store_replicas, one.commit_s_max) == (0, 2.0)
    assert (many.store_replicas, many.commit_s_max) == (1, 6.0)
    said = parse([*argv, "--store-replicas=0"], {**environ, "ECHOD_COMMIT_S_MAX": "2"})
    assert (said.store_replicas, said.commit_s_max) == (0, 2.0)
    changed = {
        spec.name for spec in FIELDS if getattr(one, spec.name) != getattr(many, spec.name)
    } - {"store", "name"}
    assert changed == {spec.name for spec in FIELDS if "cluster" in spec.metadata}


def test_help_says_both_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one Redis and of a cluster."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    shown = " ".join(capsys.readouterr().out.split())
    assert "[ECHOD_STORE_REPLICAS, default 0, 1 with a cluster]" in shown
    assert "[ECHOD_COMMIT_S_MAX, default 2.0, 6.0 with a cluster]" in shown
