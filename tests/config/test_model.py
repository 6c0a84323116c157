"""docs/model/shards.pml: with all rules every promise holds, with each left out one breaks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from lab import model

# A search takes a whole CPU, and up to 1.3 GB.
pytestmark = pytest.mark.heavy

# A switch of the model, in its documents.
RULE = re.compile(r"`((?:WITHOUT_)?S\d+_\w+|WITHOUT_S\d+)`")

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


PAGE = Path("docs/model.md")
# A function in its file, as the page names it; in Lua a file is one.
CODE = re.compile(r"`([^`]+\.(?:py|lua|sh))`((?:,? `[\w.]+`)*)")


def test_the_page_has_each_play_and_each_rule() -> None:
    """With what it means and where it is found; the figures are those of the last walk."""
    text = PAGE.read_text()
    for play in model.WHOLE:
        assert re.search(rf"^\| {play.name} \| [\d,]+ \| \d+ \|$", text, re.MULTILINE), play.name
    for rule in model.RULES:
        row = (
            rf"^\| `{rule.flag}`: {re.escape(rule.means)} \| {rule.play.name} \| [\d,]+ \| \d+ \|$"
        )
        assert re.search(row, text, re.MULTILINE), rule.flag


def test_each_rule_leads_to_its_code_and_its_decision() -> None:
    """What is named is there; no rule is in two decisions, and none is left out."""
    _, _, map_of_rules = PAGE.read_text().partition("## Where the rules are in the code")
    map_of_rules, _, _ = map_of_rules.partition("\n## ")
    named = [name for row in map_of_rules.splitlines() for name in RULE.findall(row)]
    decided = [
        name
        for page in sorted(Path("docs/adr").glob("*.md"))
        for line in page.read_text().splitlines()
        if line.startswith("**Modelled**")
        for name in RULE.findall(line)
    ]
    rules = sorted(rule.flag for rule in model.RULES)
    assert sorted(named) == sorted(decided) == rules
    found = CODE.findall(map_of_rules)
    assert len(found) >= len(rules) - 4
    for file, names in found:
        text = Path(file).read_text()
        for name in re.findall(r"[\w.]+", names):
            word = name.rpartition(".")[2]
            assert re.search(rf"(def|class) {word}\b", text), f"{file}: {name}"


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
