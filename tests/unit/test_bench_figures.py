"""The bench's pure parts: percentiles, medians, ratios, promises, tables, choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.measure.bench import many, rows, table
from lab.measure.bench.cli import turns
from lab.measure.bench.table import judge, summarise
from lab.measure.cores import Cores, choose_cores, parse_cpu_list
from lab.measure.errors import MeasureError
from lab.measure.generator import percentile

if TYPE_CHECKING:
    from lab.measure.samples import Row

RUN: Row = {
    "row": rows.FLOOR,
    "connections": 100,
    "round": 1,
    "round_trips": 200_000,
    "round_trips_per_s": 100_000.0,
    "server_us": 8.0,
    "server_kernel_share": 0.9,
    "server_busy": 1.0,
    "redis_us": None,
    "load_us": 4.0,
    "p50_us": 500.0,
    "p99_us": 1_500.0,
    "p999_us": 2_500.0,
    "max_us": 9_000.0,
    "memory_bytes": 1_234.0,
    "memory_bytes_max": 2_345.0,
}


def run(row: str, server_us: float, rate: float, **changes: float) -> Row:
    """A run of `row`, else as `RUN`."""
    return {**RUN, "row": row, "server_us": server_us, "round_trips_per_s": rate, **changes}


@pytest.mark.parametrize(
    "fraction,expected",
    [(0.5, 20), (0.51, 30), (0.9, 30), (0.999, 40), (1.0, 40), (0.001, 10)],
)
def test_percentile_is_the_bucket_that_reaches_the_rank(fraction: float, expected: int) -> None:
    """Ten values: three to 10, two to 20, four to 30, one to 40."""
    assert percentile([(10, 3), (20, 2), (30, 4), (40, 1)], fraction) == expected


def test_percentile_of_a_thousand_is_exact() -> None:
    """0.999 of 1,000 values is the 999th, whatever binary fractions make of it."""
    assert percentile([(1, 999), (2, 1)], 0.999) == 1
    assert percentile([(1, 998), (2, 2)], 0.999) == 2


@pytest.mark.parametrize("buckets,fraction", [([], 0.5), ([(1, 1)], 0.0), ([(1, 1)], 1.5)])
def test_percentile_refuses(buckets: list[tuple[int, int]], fraction: float) -> None:
    """No values have no percentile, and there is none beyond all."""
    with pytest.raises(ValueError, match=r"no values|a fraction is"):
        percentile(buckets, fraction)


def test_summary_has_medians_spreads_and_ratios() -> None:
    """Ratios are those of the medians, so a reader can check them from the table."""
    floor, redis_py = (
        summarise([
            run(rows.FLOOR, 8.0, 100_000),
            run(rows.FLOOR, 12.0, 80_000),
            run(rows.FLOOR, 9.0, 90_000),
            run(rows.REDIS_PY, 180.0, 9_000),
        ])
    )  # fmt: skip

    assert floor["figures"]["server_us"] == {"median": 9.0, "min": 8.0, "max": 12.0}
    assert (floor["rounds"], floor["cpu_to_floor"], floor["rate_to_redis_py"]) == (3, 1.0, 10.0)
    assert (redis_py["cpu_to_floor"], redis_py["rate_to_redis_py"]) == (20.0, 1.0)
    assert "redis_us" not in floor["figures"]


def test_summary_does_not_mix_numbers_of_connections() -> None:
    """A row at 5,000 connections is compared with the floor at 5,000."""
    summaries = summarise([
        run(rows.FLOOR, 8.0, 1.0),
        run(rows.FLOOR, 10.0, 1.0, connections=5_000),
        run(rows.COMMIT, 20.0, 1.0, connections=5_000),
    ])  # fmt: skip

    assert [summary["cpu_to_floor"] for summary in summaries] == [1.0, 1.0, 2.0]


def test_memory_is_shown_only_where_connections_outweigh_the_server() -> None:
    """A hundred connections' memory is lost in the server's own."""
    few, large = summarise([RUN, RUN | {"connections": 5_000}])

    assert "memory_bytes" not in few["figures"]
    assert large["figures"]["memory_bytes"]["median"] == 1_234.0


def test_promises_are_judged_on_their_two_rows() -> None:
    """Both bounds, kept and missed; a promise with a row missing is left out."""
    runs = [
        run(rows.FLOOR, 8.0, 120_000),
        run(rows.COMMIT, 16.1, 90_000),
        run(rows.REDIS_PY, 135.0, 7_000),
        run(f"{rows.COMMIT}-always", 19.0, 35_000),
    ]

    assert [verdict["kept"] for verdict in judge(summarise(runs))] == [False, True, True]
    assert not judge(summarise([one | {"connections": 5_000} for one in runs]))


@pytest.mark.parametrize("session_us,kept", [(22.5, True), (22.6, False)])
def test_a_session_is_held_to_its_price(session_us: float, *, kept: bool) -> None:
    """At most one and a half times the plain port's CPU, of the same run."""
    (verdict,) = judge(summarise([run(rows.COMMIT, 15.0, 1.0), run(rows.SESSION, session_us, 1.0)]))

    assert (verdict["promise"]["row"], verdict["kept"]) == (rows.SESSION, kept)


@pytest.mark.parametrize("cluster_us,kept", [(15.75, True), (15.8, False)])
def test_shards_are_held_to_one_redis(cluster_us: float, *, kept: bool) -> None:
    """A line at home on a cluster costs the daemon what it costs on one Redis, to a twentieth."""
    cluster = f"{rows.COMMIT}-cluster"
    (verdict,) = judge(summarise([run(rows.COMMIT, 15.0, 1.0), run(cluster, cluster_us, 1.0)]))

    assert (verdict["promise"]["row"], verdict["kept"]) == (cluster, kept)


def test_table_is_aligned_and_complete() -> None:
    """One line a row, all of one width but for trailing blanks, `-` for what is not there."""
    text = table.table(summarise([RUN, run(f"{rows.COMMIT}-always", 1234.5, 10, redis_us=2.0)]))
    header, floor, always = text.splitlines()

    assert floor.split()[:3] == [rows.FLOOR, "8.0", "(8.0-8.0)"]
    assert "100,000" in floor
    assert floor.split().count(table.NOTHING) == 4  # Redis, memory twice, no redis-py to compare
    assert always.split()[1] == "1234.5"
    # To the right: a number ends where its heading ends.
    for heading, number in (("CPU µs", " 8.0 "), ("trips/s", " 100,000 "), ("p50 ms", " 0.50 ")):
        assert header.index(heading) + len(heading) == floor.index(number) + len(number) - 1


def test_verdicts_read_as_sentences() -> None:
    """What is missed stands out."""
    missed = table.verdicts(
        judge(summarise([run(rows.FLOOR, 8.0, 1.0), run(rows.COMMIT, 24, 1.0)]))
    )

    assert missed.endswith("3.00 x  at most 2  MISSED")
    assert not table.verdicts([])


def test_rows_are_selected_by_pattern_in_their_order() -> None:
    """Patterns add up; one that fits nothing names what there is."""
    assert [row.name for row in rows.select(["echod-none", "c-*"])] == [rows.FLOOR, "echod-none"]
    with pytest.raises(MeasureError, match=rows.REDIS_PY):
        rows.select(["c-*", "nothing"])


def test_commands_are_filled_in() -> None:
    """No word of a command keeps a placeholder, and only rows with a Redis have a store."""
    words = {"programs": "/built", "store": "redis://there"}
    for row in rows.ROWS:
        command = row.command(words)
        assert not any("{" in word for word in command)
        assert ("redis://there" in command) is (row.stored is not None)


def test_rounds_are_interleaved() -> None:
    """Every row has its first round before any has its second; many connections get fewer."""
    chosen = rows.select(["c-*", "uv*"])
    order = [(count, number, row.name) for count, number, row in turns((100, 5_000), 3, chosen)]

    assert order[:3] == [(100, 1, rows.FLOOR), (100, 1, rows.UVLOOP), (100, 2, rows.FLOOR)]
    assert order[6:] == [(5_000, 1, rows.FLOOR), (5_000, 1, rows.UVLOOP)]


def test_cores_of_two_physical_ones_are_chosen() -> None:
    """0 and 1 being threads of one core, the server gets 2; with no choice it says so."""
    assert choose_cores([0, 1, 2, 3], {0, 1}) == Cores(server=2, load=0)
    assert choose_cores([1, 0], {0, 1}) == Cores(server=1, load=0, siblings=True)
    assert not choose_cores([3], {3}).pinned


def test_cpu_lists_are_read_as_the_kernel_writes_them() -> None:
    """Single CPUs and ranges."""
    assert parse_cpu_list("0,4-6\n") == {0, 4, 5, 6}


@pytest.mark.parametrize(
    "p999_ms,memory_bytes,kept",
    [(249.0, 12_000.0, True), (250.0, 1.0, False), (1.0, 12_001.0, False)],
)
def test_many_connections_are_held_to_both_limits(
    p999_ms: float, memory_bytes: float, *, kept: bool
) -> None:
    """Slow or large is missed, and the text says so."""
    outcome = dict.fromkeys(("connections", "seconds", "round_trips", "p50_ms", "p99_ms"), 1.0)
    outcome |= {"p999_ms": p999_ms, "max_ms": p999_ms, "memory_bytes": memory_bytes}

    assert many.kept(outcome) is kept
    said = many.explain({"scenario": "many", **outcome})
    assert said.endswith("kept" if kept else "MISSED")
