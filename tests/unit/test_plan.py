"""`fleet plan`: what is computed from measured costs, and what is refused without them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import cli
from lab.measure.fanout.systems import Load
from lab.measure.plan import needs
from lab.measure.plan.needs import DAEMONS, HAPROXY, STORE, Lines, Posts, Range, Wanted
from lab.report import results

if TYPE_CHECKING:
    from pathlib import Path

    from lab.measure.samples import Row

# 10 µs of the daemon with one daemon, 20 with four; a shard works 4 to 5 and waits 5 to 6.
LINE = Lines(Range(10, 20), Range(8, 9), Range(4, 5), Range(5, 6), 80_000, 10_000, 1_500)
POST = Posts(Range(100, 200), Range(50, 60), Load(50, 20, 400))

COUNT = st.integers(0, 10**7)
SOME = st.builds(Wanted, COUNT, COUNT, st.integers(1, 10**6), st.integers(1, 10**4), COUNT,
                 st.floats(0.05, 1.0))  # fmt: skip


def wanted(**changes: Any) -> Wanted:  # noqa: ANN401 — its fields
    """Nothing but these."""
    return Wanted(0, 0, 1, 20, 0, 0.7)._replace(**changes)


def test_an_example_by_hand() -> None:
    """100,000 lines/s: 1 to 2 CPUs of daemons; a thread works and waits 0.9 to 1.1 s a second."""
    found = needs.needs(wanted(lines_per_s=100_000, connections=25_000), LINE, None)
    assert found.cpus[DAEMONS] == pytest.approx((1, 2))
    assert found.cpus[HAPROXY] == pytest.approx((0.8, 0.9))
    assert found.haproxy_threads == (2, 2)
    assert found.all_cpus == pytest.approx((2.2, 3.4))
    assert found.cpus[STORE] == pytest.approx((0.4, 0.5))
    assert found.threads == pytest.approx((0.9, 1.1))
    assert found.daemons == (3, 3), "for 25,000 connections, of which one holds 10,000"
    assert found.shards == (3, 3), "two would be enough, and no cluster has two"
    assert found.memory_bytes == 25_000 * 1_500
    assert found.beyond == [("lines a second", 1.25, 80_000), ("connections", 2.5, 10_000)]
    assert found.one_redis == pytest.approx((1 / 1.1, 1 / 0.9))
    assert found.full_first == DAEMONS


def test_posts_are_added() -> None:
    """Lines cost what they cost; rooms that are larger than those measured are told of."""
    found = needs.needs(wanted(posts_per_s=1_000, members=200), LINE, POST)
    assert found.cpus[DAEMONS] == pytest.approx((0.1, 0.2))
    assert found.cpus[STORE] == pytest.approx((0.05, 0.06))
    assert found.cpus[HAPROXY] == (0, 0)
    assert [name for name, _, _ in found.beyond] == ["posts a second", "members of a room"]


@given(SOME)
def test_parts_are_never_fuller_than_asked(one: Wanted) -> None:
    """Enough of each, by the dearest costs; a store is one Redis or at least three shards."""
    found = needs.needs(one, LINE, POST)
    assert found.cpus[DAEMONS].high <= found.daemons.high * one.busy * (1 + 1e-9)
    assert found.threads.high <= found.shards.high * one.busy * (1 + 1e-9)
    assert found.daemons.high * 10_000 >= one.connections
    for low, high in (found.daemons, found.shards, *found.cpus.values(), found.one_redis):
        assert low <= high
    assert {found.shards.low, found.shards.high}.isdisjoint({0, 2})


@given(SOME, st.integers(2, 10))
def test_more_never_needs_less(one: Wanted, times: int) -> None:
    """So many times the load takes so many times the CPUs, and no fewer of anything."""
    more = one._replace(connections=one.connections * times, lines_per_s=one.lines_per_s * times,
                        posts_per_s=one.posts_per_s * times)  # fmt: skip
    few, many = needs.needs(one, LINE, POST), needs.needs(more, LINE, POST)
    for part in few.cpus:
        assert many.cpus[part] == pytest.approx(few.cpus[part].times(times))
    assert many.daemons.high >= few.daemons.high
    assert many.shards.high >= few.shards.high
    assert {name for name, _, _ in few.beyond} <= {name for name, _, _ in many.beyond}
    assert all(factor > 1 for _, factor, _ in many.beyond)


def scaling(*, shards: int = 1) -> list[Row]:
    """Rows as the experiment writes them: a machine of two CPUs that is full."""
    line_us = {1: 10.0, 2: 11.0, 4: 12.0}
    shapes = {"Redis, HAProxy": 1, **({f"{shards} shards, direct": shards} if shards > 1 else {})}
    return [
        {
            "shape": shape, "daemons": count, "shards": of, "repeat": repeat,
            "round_trips_per_s": 2e6 / (daemon_us + 4 + 8 + 3) * (0.9 + 0.1 * repeat),
            "daemons_us": daemon_us * of, "redis_us": 4.0, "redis_disk_us": 0.0, "haproxy_us": 8.0 * (of == 1),
            "load_us": 3.0,
        }
        for shape, of in shapes.items()
        for count, daemon_us in line_us.items()
        for repeat in (0, 1, 2)
    ]  # fmt: skip


def test_costs_are_read_from_the_rows() -> None:
    """Medians' least and most; on the most shards where there are some, HAProxy's from one Redis."""
    line = needs.lines(scaling(), None)
    assert line is not None
    assert (line.daemon_us, line.haproxy_us, line.store_us) == ((10, 12), (8, 8), (4, 4))
    assert line.per_s_max == pytest.approx(80_000)
    assert line.connections is None
    on_shards = needs.lines(scaling(shards=4), None)
    assert on_shards is not None
    assert (on_shards.daemon_us, on_shards.haproxy_us) == ((40, 48), (8, 8))
    assert needs.lines([], None) is None


def test_a_post_is_taken_from_the_nearest_rooms() -> None:
    """By how many times as large they are; a delivery's cost is multiplied by the members."""
    rows: list[Row] = [
        {
            "system": "echod-room", "servers": servers, "rooms": 1, "members": members,
            "posts_per_s": 40, "repeat": 1, "servers_us": us * servers, "redis_us": us,
        }
        for members, us in ((2, 50.0), (1_000, 3.0))
        for servers in (1, 2)
    ]  # fmt: skip
    small, large = needs.posts(rows, 10), needs.posts(rows, 500)
    assert small is not None
    assert large is not None
    assert (small.load.members, small.daemon_us) == (2, (500, 1_000))
    assert (large.load.members, large.store_us) == (1_000, (1_500, 1_500))
    assert needs.posts([], 10) is None


def test_the_check_predicts_a_number_by_the_others() -> None:
    """Within, if costs are alike; outside, if this number pays another price."""
    held = needs.check(scaling(), cpus=2)
    assert [one.daemons for one in held] == [1, 2, 4]
    assert all(one.within for one in held)
    slow = [
        row | {"round_trips_per_s": 20_000.0} if row["daemons"] == 4 else row for row in scaling()
    ]
    assert [one.within for one in needs.check(slow, cpus=2)] == [True, True, False]


def write(
    root: Path, name: str, rows: list[Row], *, quick: bool = False, failed: bool = False
) -> Path:
    """A run of an experiment, as it is found."""
    directory = root / f"{name}-{len(list(root.iterdir()))}"
    directory.mkdir()
    results.write_csv(directory / "points.csv", rows)
    command = f"fleet experiment {name}{' --quick' if quick else ''}"
    run = {"name": name, "command": command, "failed": failed, "date": directory.name}
    (directory / "run.json").write_text(json.dumps(run))
    return directory


def plan(root: Path, *flags: str) -> int:
    """The command."""
    return cli.main(["plan", "--results", str(root), *flags])


def test_without_measurements_nothing_is_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a smoke run nor one that failed is a measurement; the text names the command."""
    write(tmp_path, "scaling", scaling(), quick=True)
    write(tmp_path, "scaling", scaling(), failed=True)
    assert plan(tmp_path, "--lines-per-s", "1000") == 1
    assert "run `fleet experiment scaling` first" in capsys.readouterr().err
    write(tmp_path, "scaling", scaling())
    assert plan(tmp_path, "--posts-per-s", "10") == 1
    assert "run `fleet experiment fanout` first" in capsys.readouterr().err
    assert plan(tmp_path, "--connections", "10") == 1
    assert "no connections were held in it" in capsys.readouterr().err


def test_results_of_an_earlier_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What they lack is named."""
    write(
        tmp_path, "scaling", [{k: v for k, v in row.items() if k != "shards"} for row in scaling()]
    )
    assert plan(tmp_path, "--lines-per-s", "1000") == 1
    assert "have no 'shards': run the experiment again" in capsys.readouterr().err


def test_a_plan_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many, how far beyond what was measured, what is not in it, and from which run."""
    directory = write(tmp_path, "scaling", scaling(shards=4))
    held = {"connections": 9_900, "busy_bytes": 2_000.0}
    results.write_csv(directory / "c10k.csv", [held])
    assert plan(tmp_path, "--lines-per-s", "400000", "--connections", "30000") == 0
    said = capsys.readouterr().out
    assert "For 30,000 connections, 400,000 lines/s:" in said
    assert re.search(r"daemons +23 to 28 +16.0 to 19.2 +60 MB for connections\n", said)
    assert "Beyond what was measured: lines a second, 5.00 times the 80,000 that were." in said
    assert "because no experiment measures it: the network" in said
    assert f"Measured: {directory}." in said
    assert plan(tmp_path, "--check") == 0
    assert "held against its repeats" in capsys.readouterr().out
