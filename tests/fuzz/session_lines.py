"""Search for bytes that the parsers answer wrong, guided by coverage.

    python -m pip install atheris            Linux only, so not among the locked packages
    python tests/fuzz/session_lines.py -max_total_time=600 CORPUS_DIRECTORY
    python tests/fuzz/keep.py CORPUS_DIRECTORY      → tests/vectors/session_fuzz.json

What it found to be worth keeping is in that file, and tests/unit/test_fuzz_corpus.py
replays it without atheris.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "server")]

with atheris.instrument_imports(include=["echod", "tests"]):
    from tests.fuzz.targets import check

if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
