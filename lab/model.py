"""`python -m lab.model`: walk every state of docs/model/shards.pml, with and without each rule.

    shards.pml ──spin──▶ a verifier in C ──gcc──▶ walks every state ──▶ verdict
                                                       └─ a trace ──spin──▶ in words

With all rules there must be no violation, and nothing left unwalked. With one rule left out
there must be one, and its trace is printed. What is modelled: docs/model.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from lab.errors import LabError

MODEL = Path(__file__).parents[1] / "docs/model/shards.pml"

# The largest search takes 1.3 GB and, on a quiet CPU, half a minute: docs/model.md.
MEMORY_MB_MAX = 4_000
SEARCH_S_MAX = 600.0
DEPTH_MAX = 100_000


class Play(NamedTuple):
    """What is played, with which faults."""

    name: str
    flags: tuple[str, ...]


LINES = Play("lines, two faults", ("LINES", "FAULTS=2", "MOVES=0"))
LINES_MOVE = Play("lines, a fault and a move", ("LINES", "FAULTS=1", "MOVES=1"))
POSTS = Play("posts, a fault", ("POSTS", "FAULTS=1", "MOVES=0", "HICCUPS=0"))
POSTS_LATE = Play("posts, late bytes", ("POSTS", "FAULTS=0", "MOVES=0", "HICCUPS=1"))
POSTS_MOVE = Play("posts, a move", ("POSTS", "FAULTS=0", "MOVES=1", "HICCUPS=0"))
BEYOND = Play("posts, lost data", ("POSTS", "FAULTS=0", "MOVES=0", "HICCUPS=0", "BEYOND"))
BEYOND_FAULT = Play(
    "posts, lost data and a fault", ("POSTS", "FAULTS=1", "MOVES=0", "HICCUPS=0", "BEYOND")
)
BEYOND_MOVE = Play(
    "posts, lost data and a move", ("POSTS", "FAULTS=0", "MOVES=1", "HICCUPS=0", "BEYOND")
)
BEYOND_SESSION = Play(
    "posts, a session's lost data", ("POSTS", "FAULTS=0", "MOVES=0", "HICCUPS=0", "BEYOND_SESSION")
)
WHOLE = (LINES, LINES_MOVE, POSTS, POSTS_LATE, POSTS_MOVE, BEYOND, BEYOND_SESSION)


class Without(NamedTuple):
    """A rule that is left out, or played as it was first said, and where that shows."""

    flag: str
    play: Play
    means: str


RULES = (
    Without("WITHOUT_S6_CONFIRM", POSTS, "SAID does not wait for the session's shard"),
    Without("WITHOUT_S6_FENCE", POSTS, "a room takes posts of an earlier owner"),
    Without("WITHOUT_S6_GENERATION", BEYOND_SESSION, "epochs compare across a rollback"),
    Without("WITHOUT_S7", LINES, "acknowledged by the master alone"),
    Without("WITHOUT_S7_PROOF", LINES, "a later WAIT is believed without reading the marker"),
    Without("WITHOUT_S8", POSTS, "the script publishes"),
    Without(
        "WITHOUT_S8_REFUSED", POSTS_LATE, "a post that is there is refused before its id is seen"
    ),
    Without("WITHOUT_S9_FORMER", LINES, "only the latest former link is killed"),
    Without("WITHOUT_S9_KEYS", LINES, "a batch in doubt is sent again under the same keys"),
    Without("WITHOUT_S9_MARKERS", LINES, "all links share one marker"),
    Without("WITHOUT_S9_PAGE", BEYOND, "a page is not held against what was sent"),
    Without("S9_PAGE_AS_SAID", BEYOND, "only the length of a page is"),
    Without("WITHOUT_S10", POSTS_MOVE, "a subscription stays where the slot was"),
    Without("WITHOUT_S11_ORDER", LINES_MOVE, "a route changes while a line is on its way"),
    Without("WITHOUT_S11_GENERATION", BEYOND_MOVE, "the generation does not move along"),
    Without(
        "WITHOUT_S11_RAISE",
        BEYOND_FAULT,
        "a raised generation is forgotten before it is acknowledged",
    ),
    Without("WITHOUT_S11_MARKER", LINES_MOVE, "a marker that has moved counts as gone"),
    Without("WITHOUT_S11_ARRIVAL", LINES_MOVE, "what is absent after a move has ended"),
    Without("WITHOUT_S13_EMPTY", LINES, "a node without its data starts as a master"),
)


class Result(NamedTuple):
    """Of one search."""

    states: int
    depth: int
    violated: bool
    complete: bool
    trace: str


def walk(play: Play, without: str = "") -> Result:
    """Walk the states of one play; a trace is the first violation that the search met."""
    spin, gcc = need("spin"), need("gcc")
    flags = [f"-D{flag}" for flag in (*play.flags, *filter(None, [without]))]
    with tempfile.TemporaryDirectory() as at:
        run([spin, "-a", *flags, str(MODEL)], at)
        # Breadth first where a violation is looked for: its trace is the shortest, and found
        # before a compiler would have earned its pains.
        ways = ["-O0", "-DBFS"] if without else ["-O2"]
        run([gcc, "-DSAFETY", "-DCOLLAPSE", "-DNOREDUCE", "-DVECTORSZ=2048",
             f"-DMEMLIM={MEMORY_MB_MAX}", *ways, "-o", "pan", "pan.c"], at)  # fmt: skip
        said = run(["./pan", "-n", "-w24", f"-m{DEPTH_MAX}"], at)
        trails = list(Path(at).glob("*.trail"))
        trace = ""
        if trails:
            trace = run([spin, "-t", "-B", *flags, "-k", str(trails[0]), str(MODEL)], at)
    return read(said, trace)


def switches(model: str) -> list[str]:
    """The rules that a model asks about: each can be left out, or played as first said."""
    return re.findall(r"#ifn?def ((?:WITHOUT|S\d+)_\w+)", model)


def read(said: str, trace: str) -> Result:
    """What the verifier has said."""
    number = {
        name: int(match[1]) if (match := re.search(pattern, said)) else -1
        for name, pattern in (
            ("states", r"(\d+) states, stored"),
            ("depth", r"depth reached (\d+)"),
            ("errors", r"errors: (\d+)"),
        )
    }
    cut_short = re.search(r"Search not completed|max search depth too small|out of memory", said)
    complete = number["errors"] == 0 and cut_short is None
    steps = [line[6:] for line in trace.splitlines() if not line.startswith("spin:")]
    return Result(
        number["states"], number["depth"], number["errors"] > 0, complete, "\n".join(steps)
    )


def need(program: str) -> str:
    """Where a program is."""
    path = shutil.which(program)
    if path is None:
        raise LabError(f"{program} is not on PATH (Debian, Ubuntu: apt-get install {program})")
    return path


def run(argv: list[str], at: str) -> str:
    """A step of the way; what it printed."""
    done = subprocess.run(
        argv, cwd=at, timeout=SEARCH_S_MAX, capture_output=True, text=True, check=False
    )
    if argv[0] != "./pan" and done.returncode != 0 and "-t" not in argv:
        raise LabError(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """One table, and the traces; 1 if a verdict is not what it must be."""
    parser = argparse.ArgumentParser(prog="python -m lab.model", description=main.__doc__)
    parser.add_argument("--only", metavar="FLAG", help="one rule left out, e.g. WITHOUT_S7")
    only = parser.parse_args().only
    if only and only not in {rule.flag for rule in RULES}:
        parser.error(f"no such rule: {only}")
    wrong = 0
    print(f"{'rule':24}{'states':>12}{'depth':>7}  verdict")
    for play in () if only else WHOLE:
        result = walk(play)
        verdict = "VIOLATED" if result.violated else "holds" if result.complete else "NOT WALKED"
        wrong += verdict != "holds"
        print(f"{'all rules':24}{result.states:12,}{result.depth:7}  {verdict}: {play.name}")
        print(indented(result.trace), end="", flush=True)
    for flag, play, means in RULES:
        if only in (None, flag):
            result = walk(play, flag)
            verdict = "violated" if result.violated else "NO VIOLATION FOUND"
            wrong += not result.violated
            print(f"{flag:24}{result.states:12,}{result.depth:7}  {verdict}: {means}")
            print(indented(result.trace), end="", flush=True)
    return 1 if wrong else 0


def indented(trace: str) -> str:
    """A trace as it stands below its line of the table."""
    return "".join(f"        {line}\n" for line in trace.splitlines())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(str(error))
