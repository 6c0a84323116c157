"""Other programs during a measurement: seen, and measured again within limits."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.measure import calm, clocks
from lab.measure.calm import OTHERS_MAX, TRIES_MAX, Calm
from lab.measure.clocks import Cpus


def others_use(monkeypatch: pytest.MonkeyPatch, *shares: float) -> None:
    """Other programs seem to use these shares of the CPUs, one after the other."""
    left = iter(shares)
    monkeypatch.setattr(calm, "others", lambda *_: next(left))


def test_a_disturbed_measurement_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, until it was calm; the calm one counts."""
    others_use(monkeypatch, 0.5, 0.4, 0.1)
    made = iter("abc")
    one = Calm(repeats=1)
    assert one.measure(1, lambda: next(made)) == ("c", 0.1)
    assert one.again == 2
    assert one.shares == [0.1]
    assert not one.warnings()


def test_a_neighbour_that_stays_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many tries; the calmest counts, and the report says so."""
    others_use(monkeypatch, *[0.5, 0.3, 0.4][:TRIES_MAX])
    made = iter("abc")
    one = Calm(repeats=1)
    assert one.measure(1, lambda: next(made)) == ("b", 0.3)
    assert "during 1 of 1 measurements" in one.warnings()[0]
    assert "30%" in one.row()[1].replace(" ", "")


def test_time_for_it_is_bounded_and_shared_by_the_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first repeats leave of it is there for the later ones."""
    now_s = 0.0

    def make() -> None:
        nonlocal now_s
        now_s += 4.0

    monkeypatch.setattr("lab.measure.calm.time.perf_counter", lambda: now_s)
    others_use(monkeypatch, *[0.5] * 20)
    one = Calm(repeats=2, extra_s=10.0)
    one.measure(1, make)
    assert one.again == 1, "4 of 5 s"
    one.measure(1, make)
    assert one.again == 1
    one.measure(2, make)
    assert one.again == 2, "8 of 10 s"
    one.measure(2, make)
    assert one.again == 2
    none = Calm(repeats=1, extra_s=0.0)
    none.measure(1, make)
    assert none.again == 0


def test_a_failure_is_never_measured_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else went on: neither an error, nor a try that had a wrong reply."""
    others_use(monkeypatch, 0.3, 0.9)
    made = iter(["right", "wrong"])
    assert Calm(1).measure(1, lambda: next(made), final=lambda text: text == "wrong") == (
        "wrong",
        0.9,
    )

    def fail() -> None:
        raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        Calm(1).measure(1, fail)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.01, 100), st.floats(0, 300))
def test_a_share_is_what_nobody_known_used(
    used: float, interrupts: float, idle: float, own: float
) -> None:
    """Between none and all."""
    before = Cpus(10, 5, 100)
    after = Cpus(10 + used + interrupts, 5 + interrupts, 100 + used + interrupts + idle)
    share = calm.others(before, after, own)
    assert 0 <= share <= 1
    assert share == pytest.approx(max(0.0, used - own) / (used + interrupts + idle), abs=1e-6)
    assert calm.others(before, before, own) == 0


def test_own_processes_are_not_others() -> None:
    """What a child and its child used counts as ours, ended or not."""
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    before_s = calm.own_cpu_s()
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE) as child:
        child.wait(30)
    ended_s = calm.own_cpu_s() - before_s
    assert ended_s >= 0.15
    begin, cpus = time.process_time(), clocks.cpus()
    while time.process_time() - begin < 0.1:
        pass
    assert calm.own_cpu_s() - before_s - ended_s >= 0.08
    after = clocks.cpus()
    assert after.total > cpus.total
    assert after.used - cpus.used >= 0.05
    assert 0 < OTHERS_MAX < 1
