"""docs/model/shards.pml: with all rules every promise holds, with each left out one breaks."""

from __future__ import annotations

import shutil

import pytest

from lab import model

# A search takes a whole CPU, and up to 1.3 GB.
pytestmark = pytest.mark.heavy

needs_spin = pytest.mark.skipif(shutil.which("spin") is None, reason="no spin on PATH")


@needs_spin
@pytest.mark.parametrize("play", model.WHOLE, ids=lambda play: play.name)
def test_all_rules_hold(play: model.Play) -> None:
    """Every state was walked, and in none was a promise broken."""
    result = model.walk(play)
    assert not result.violated, result.trace
    assert result.complete


@needs_spin
@pytest.mark.parametrize("without", model.RULES, ids=lambda rule: rule.flag)
def test_each_rule_is_needed(without: model.Without) -> None:
    """Left out, it is missed, and the trace says so in words."""
    result = model.walk(without.play, without.flag)
    assert result.violated
    assert "daemon" in result.trace


def test_each_switch_of_the_model_is_played() -> None:
    """A rule that can be left out and never is would prove nothing."""
    switches = set(model.switches(model.MODEL.read_text()))
    assert switches == {rule.flag for rule in model.RULES}


@pytest.mark.parametrize(
    "said, violated, complete",
    [
        ("State-vector 84 byte, depth reached 12, errors: 0\n 7 states, stored\n", False, True),
        ("depth reached 12, errors: 1\n 7 states, stored\n", True, False),
        ("error: max search depth too small\ndepth reached 9, errors: 0\n 7 states, stored\n", False, False),
        ("pan: reached -DMEMLIM bound\nWarning: Search not completed\ndepth reached 9, errors: 0\n", False, False),
        ("", False, False),
    ],
)  # fmt: skip
def test_what_was_cut_short_is_not_complete(said: str, *, violated: bool, complete: bool) -> None:
    """Only a search that came to its end without an error says that the rules hold."""
    result = model.read(said, "")
    assert (result.violated, result.complete) == (violated, complete)
