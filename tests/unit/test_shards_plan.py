"""Which slots go where: even, as few as can be, and nothing to do twice."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError
from lab.fleet.shards import plan

SLOTS = 400

slots_of = st.lists(st.integers(0, 7), min_size=SLOTS, max_size=SLOTS).map(
    lambda owners: {
        str(shard): [slot for slot in range(SLOTS) if owners[slot] == shard] for shard in range(8)
    }
)


def after(before: dict[str, list[int]], planned: list[plan.Move]) -> dict[str, list[int]]:
    """Who has what when all has moved."""
    held = {name: set(slots) for name, slots in before.items()}
    for slot, source, target in planned:
        held[source].remove(slot)
        held[target].add(slot)
    return {name: sorted(slots) for name, slots in held.items()}


@given(slots_of, st.sets(st.sampled_from("01234567"), max_size=7))
def test_even_with_the_fewest_moves(before: dict[str, list[int]], leaving: set[str]) -> None:
    """No two shards that stay differ by more than one, and nobody gives what is its share."""
    planned = plan.moves(before, leaving)
    held = after(before, planned)
    sizes = [len(held[name]) for name in held if name not in leaving]
    assert max(sizes) - min(sizes) <= 1
    assert not any(held[name] for name in leaving)
    fewest = sum(len(before[name]) - min(len(before[name]), len(held[name])) for name in before)
    assert len(planned) == fewest == len({move.slot for move in planned})
    assert not {move.source for move in planned} & {move.target for move in planned}
    assert plan.moves({name: held[name] for name in held if name not in leaving}) == []


def test_removed_and_added_again() -> None:
    """Only one share comes and goes, and then nothing is left to do."""
    three = {"0": list(range(100)), "1": list(range(100, 200)), "2": list(range(200, 300))}
    two = after(three, plan.moves(three, ["1"]))
    again = plan.moves(two)
    assert len(again) == 100
    assert {move.target for move in again} == {"1"}
    assert plan.moves(after(two, again)) == []


@given(slots_of, st.dictionaries(st.integers(0, SLOTS - 1), st.integers(1, 150)))
def test_batches(before: dict[str, list[int]], keys: dict[int, int]) -> None:
    """Every move once, of one pair, and no more keys than may wait together."""
    planned = plan.moves(before, ["0"])
    made = list(plan.batches(planned, keys))
    assert Counter(move for batch in made for move in batch) == Counter(planned)
    for batch in made:
        assert len({move[1:] for move in batch}) == 1
        held = sum(keys.get(move.slot, 0) for move in batch)
        assert len(batch) == 1 or held <= plan.KEYS_TOGETHER
        assert len(batch) <= (plan.SLOTS_TOGETHER if held else plan.EMPTY_TOGETHER)


def test_somebody_must_stay() -> None:
    """The slots have to be somewhere."""
    with pytest.raises(LabError, match="no shard would be left"):
        plan.moves({"0": [1]}, ["0"])
