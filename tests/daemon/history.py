"""What Redis's append-only file says that was done to sessions: the truth after the fact.

Only what changed something is in the file, in the order in which it was done.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import hiredis

from echod.store.keys import decode_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from echod.protocol.state import State


class Change(NamedTuple):
    """A state was written by owner number `epoch`."""

    epoch: int
    owner: bytes
    state: State


def history(directory: Path) -> dict[bytes, list[Change]]:
    """All changes of each session's state, by its name."""
    changes: dict[bytes, list[Change]] = defaultdict(list)
    for path in sorted(directory.glob("**/*.incr.aof")):
        reader = hiredis.Reader()
        reader.feed(path.read_bytes())
        while (command := reader.gets()) is not False:
            match command:
                case [b"SET", key, value, *_] if key.startswith(b"s:"):
                    _, name, epoch, owner = key.split(b":")
                    changes[name[1:-1]].append(Change(int(epoch), owner, decode_state(value)))
    return changes


def check(changes: list[Change], answered: int, texts: Mapping[int, set[bytes]]) -> None:
    """Nothing answered is missing, no line stands twice, no earlier owner wrote after a later.

    An owner whose batch was in doubt goes on under another name (ADR 24), and never goes back.

    Args:
        changes: a session's, in order.
        answered: the highest number that its client was answered.
        texts: what was ever sent under each number.
    """
    assert max(change.state.seq for change in changes) >= answered
    owners = [(change.epoch, change.owner) for change in changes]
    assert owners == sorted(owners, key=list(dict.fromkeys(owners)).index)
    for before, after in pairwise(changes):
        assert before.epoch <= after.epoch
        # A batch that was sent again writes the same once more.
        assert before.state.seq < after.state.seq or before.state == after.state
    for _, _, state in changes:
        assert state.seq == 0 or state.last in texts[state.seq]
        assert state.seq <= 1 or state.previous in texts[state.seq - 1]
