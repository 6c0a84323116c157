"""Which slots go where, so that all shards have as many. Pure.

    moves ──▶ one Move a slot ──▶ batches ──▶ what is on its way at one time

As few slots move as can be: a shard gives only what is above its share.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

# Slots without keys on their way together. Who asks for a key of one waits meanwhile: some 10 ms.
EMPTY_TOGETHER = 512
# Keys on their way together, and slots of them: lines of these wait until all have arrived.
KEYS_TOGETHER = 100
SLOTS_TOGETHER = 16


class Move(NamedTuple):
    """A slot, from one shard to another, by their names."""

    slot: int
    source: str
    target: str


def moves(slots_of: Mapping[str, Sequence[int]], leaving: Collection[str] = ()) -> list[Move]:
    """Return what makes the shards even; those that leave give all.

    Even is: no two shards differ by more than one slot. Those that have most keep the odd ones.

    Raises:
        LabError: No shard stays.
    """
    staying = sorted(
        (name for name in slots_of if name not in leaving),
        key=lambda name: (-len(slots_of[name]), name),
    )
    if not staying:
        raise LabError("no shard would be left")
    share, odd = divmod(sum(map(len, slots_of.values())), len(staying))
    shares = {name: share + (number < odd) for number, name in enumerate(staying)}
    given = [
        (slot, name)
        for name, slots in sorted(slots_of.items())
        # The last ones: what stays is a few ranges, not many single slots.
        for slot in sorted(slots)[shares.get(name, 0) :]
    ]
    wanting = (
        name
        for name in sorted(staying)
        for _ in range(shares[name] - min(shares[name], len(slots_of[name])))
    )
    return [
        Move(slot, source, target) for (slot, source), target in zip(given, wanting, strict=True)
    ]


def batches(planned: Iterable[Move], keys: Mapping[int, int]) -> Iterator[list[Move]]:
    """Return what goes together, from one shard to one other: slots without keys first.

    Args:
        planned: As `moves` returns it.
        keys: How many each slot has; none where it is not named.
    """

    def kind(move: Move) -> tuple[str, str, bool]:
        return move.source, move.target, bool(keys.get(move.slot))

    for (_, _, full), group in groupby(
        sorted(planned, key=lambda move: (*kind(move), move.slot)), kind
    ):
        batch: list[Move] = []
        held = 0
        for move in group:
            count = keys.get(move.slot, 0)
            most = SLOTS_TOGETHER if full else EMPTY_TOGETHER
            if batch and (len(batch) == most or held + count > KEYS_TOGETHER):
                yield batch
                batch, held = [], 0
            batch.append(move)
            held += count
        yield batch
