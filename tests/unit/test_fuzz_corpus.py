"""What the fuzzer found worth keeping (tests/fuzz/), replayed without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fuzz.targets import check

CORPUS: list[str] = json.loads(
    (Path(__file__).parents[1] / "vectors/session_fuzz.json").read_text()
)


@pytest.mark.parametrize("hexed", CORPUS)
def test_replay(hexed: str) -> None:
    """No exception, and the model's answers."""
    check(bytes.fromhex(hexed))
