"""The smallest inputs of a corpus that together go every way through the parsers.

    python tests/fuzz/keep.py CORPUS_DIRECTORY      writes tests/vectors/session_fuzz.json

A way is a step from one line of the parsers, or of the model, to the next, and whether it was
gone once, a few times or often. libFuzzer's own `-merge` starts the program again by its
name, which a script has not.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "server")]

from tests.fuzz.targets import check  # noqa: E402 — found by the line above

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

VECTORS = ROOT / "tests/vectors/session_fuzz.json"
OFTEN = 4


def ways(data: bytes) -> set[tuple[str, int, int, int]]:
    """Where `check` goes with this input."""
    steps: Counter[tuple[str, int, int]] = Counter()

    def enter(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:  # noqa: ANN401 — a tracer's
        del event, argument
        name = frame.f_code.co_filename
        if "echod" not in name and "protocol_model" not in name:
            return None
        before = 0

        def step(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:  # noqa: ANN401 — as above
            nonlocal before
            del event, argument
            steps[name, before, frame.f_lineno] += 1
            before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return {(*way, min(times, OFTEN)) for way, times in steps.items()}


def main(corpus: Path) -> None:
    """Keep each input, the short ones first, that goes a way which none before it went."""
    kept: list[str] = []
    gone: set[tuple[str, int, int, int]] = set()
    for data in sorted((path.read_bytes() for path in corpus.iterdir()), key=lambda d: (len(d), d)):
        found = ways(data)
        if not found <= gone:
            gone |= found
            kept.append(data.hex())
    VECTORS.write_text(json.dumps(kept, indent=0) + "\n")
    print(f"{len(kept)} inputs, {len(gone)} ways")  # noqa: T201 — it is a command


if __name__ == "__main__":
    main(Path(sys.argv[1]))
