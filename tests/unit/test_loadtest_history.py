"""The history: what was recorded is what is read, byte for byte and in order."""

from __future__ import annotations

import gzip
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.history import HistoryFile, read

TEXTS = st.binary(max_size=20).map(lambda text: text.replace(b"\n", b""))


@given(st.lists(st.tuples(st.integers(1), TEXTS, st.none() | TEXTS), max_size=10))
def test_what_was_recorded_is_read(answers: list[tuple[int, bytes, bytes | None]]) -> None:
    """Any bytes come back by encoding as latin-1, and None as None, with c, k and the kind."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.jsonl"
        with HistoryFile(path) as history:
            for n, text, previous in answers:
                history.record("answered", c="a", k=3, n=n, text=text, previous=previous)
        events = list(read(path))
    for event, (n, text, previous) in zip(events, answers, strict=True):
        assert (event["c"], event["k"], event["e"], event["n"]) == ("a", 3, "answered", n)
        assert (event["text"] or "").encode("latin-1") == text
        was = event["previous"]
        assert (None if was is None else was.encode("latin-1")) == previous


def test_times_are_the_monotonic_clock(tmp_path: Path) -> None:
    """`t` can be compared with another process's."""
    before = time.monotonic()
    with HistoryFile(tmp_path / "h") as history:
        history.record("quit", c="a", k=1)
        history.record("bye", c="a", k=1)
    quit_, bye = read(tmp_path / "h")
    assert before <= quit_["t"] <= bye["t"] <= time.monotonic()


def test_it_appends(tmp_path: Path) -> None:
    """A second recorder of the same file loses nothing of the first's."""
    for client in ("a", "b"):
        with HistoryFile(tmp_path / "h") as history:
            history.record("connected", c=client, k=1)
            history.flush()
            assert list(read(tmp_path / "h"))[-1]["c"] == client
    assert [event["c"] for event in read(tmp_path / "h")] == ["a", "b"]


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    """Each client's events in its order, none mixed with another's."""

    def record(client: str) -> None:
        for n in range(2_000):
            history.record("sent", c=client, k=1, n=n, text=b"x" * (n % 50))

    with HistoryFile(tmp_path / "h") as history:
        threads = [threading.Thread(target=record, args=(str(i),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = list(read(tmp_path / "h"))
    for client in "0123":
        assert [event["n"] for event in events if event["c"] == client] == list(range(2_000))


def test_a_compressed_history_is_read_the_same(tmp_path: Path) -> None:
    """By its name's end."""
    with HistoryFile(tmp_path / "h") as history:
        history.record("drain", c="a", k=1, ms=500)
    (tmp_path / "h.gz").write_bytes(gzip.compress((tmp_path / "h").read_bytes()))
    assert list(read(tmp_path / "h.gz")) == list(read(tmp_path / "h"))


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    """Only at the end: it was being written."""
    (tmp_path / "h").write_text('{"t":1,"c":"a","k":1,"e":"bye"}\n{"t":2,"c":"a",')
    assert [event["e"] for event in read(tmp_path / "h")] == ["bye"]


@pytest.mark.parametrize("line", ["{", "[]", '{"t":1,"k":1,"e":"bye"}', ""])
def test_any_other_line_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    """A history that can't be read proves nothing, so it is not read in part."""
    (tmp_path / "h").write_text('{"t":1,"c":"a","k":1,"e":"bye"}\n' + line + "\n")
    with pytest.raises(ValueError, match="line 2"):
        list(read(tmp_path / "h"))
