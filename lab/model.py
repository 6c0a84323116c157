"""`make model`: walk every state of docs/model/shards.pml, with all rules and without each.

    shards.pml ──spin──▶ a verifier in C ──gcc──▶ walks every state ──▶ verdict
                                                       └─ a trace ──spin──▶ in words

With all rules there must be no violation, and nothing left unwalked. With one rule left out
there must be one. What is modelled: docs/model.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from lab.errors import LabError

MODEL = Path(__file__).parents[1] / "docs/model/shards.pml"

# The largest search takes 0.7 GB; one that grows past this ends.
MEMORY_MB_MAX = 2_000
SEARCH_S_MAX = 600.0
DEPTH_MAX = 100_000
# Of the program, where one is missing.
EXIT_MISSING = 2


# How spin begins what a process prints; how the model begins its last word.
INDENT = 7 * " "
BROKEN = "BROKEN: "


class MissingError(LabError):
    """A program is not there."""


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
BEYOND_MOVE = Play(
    "posts, lost data and a move", ("POSTS", "FAULTS=0", "MOVES=1", "HICCUPS=0", "BEYOND")
)
BEYOND_SESSION = Play(
    "posts, a session's lost data", ("POSTS", "FAULTS=0", "MOVES=0", "HICCUPS=0", "BEYOND_SESSION")
)
POSTS_LEAVE = Play(
    "posts, a member that leaves", ("POSTS", "FAULTS=0", "MOVES=0", "HICCUPS=0", "LEAVES")
)
SLOTS = Play("slots, two faults and three moves", ("SLOTS", "FAULTS=2", "MOVES=3"))
SLOTS_BEYOND = Play(
    "slots, lost data, a fault and two moves", ("SLOTS", "FAULTS=1", "MOVES=2", "BEYOND")
)
WHOLE = (
    *(LINES, LINES_MOVE),
    *(POSTS, POSTS_LATE, POSTS_MOVE, POSTS_LEAVE, BEYOND, BEYOND_SESSION),
    *(SLOTS, SLOTS_BEYOND),
)


class Without(NamedTuple):
    """A rule that is left out, or played as it was first said, and where that shows."""

    flag: str
    play: Play
    means: str


RULES = (
    Without("WITHOUT_S6_CONFIRM", POSTS, "SAID does not wait for the session's shard"),
    Without("WITHOUT_S6_FENCE", POSTS, "a room takes posts of an earlier owner"),
    Without("WITHOUT_S6_GENERATION", BEYOND_SESSION, "epochs compare across a rollback"),
    Without("S6_LEAVE_AS_SAID", POSTS_LEAVE, "who leaves a room takes its entry along"),
    Without("WITHOUT_S7", LINES, "acknowledged by the master alone"),
    Without("WITHOUT_S7_PROOF", LINES, "a later WAIT is believed without reading the marker"),
    Without("WITHOUT_S8", POSTS, "the script publishes"),
    Without("WITHOUT_S8_REFUSED", POSTS_LATE, "a post that is there is refused, its id not seen"),
    Without("WITHOUT_S9_FORMER", LINES, "only the latest former link is killed"),
    Without("WITHOUT_S9_KEYS", LINES, "a batch in doubt is sent again under the same keys"),
    Without("WITHOUT_S9_MARKERS", LINES, "all links share one marker"),
    Without("WITHOUT_S9_COMPARE", BEYOND, "no marker is compared at reconnect"),
    Without("WITHOUT_S9_PAGE", BEYOND, "a page is not held against what was sent"),
    Without("S9_PAGE_AS_SAID", BEYOND, "only the length of a page is"),
    Without("WITHOUT_S10", POSTS_MOVE, "a subscription stays where the slot was"),
    Without("WITHOUT_S11_ORDER", LINES_MOVE, "a route changes while a line is on its way"),
    Without("WITHOUT_S11_GENERATION", BEYOND_MOVE, "the generation does not move along"),
    Without("WITHOUT_S11_MARKER", LINES_MOVE, "a marker that has moved counts as gone"),
    Without("WITHOUT_S11_ARRIVAL", LINES_MOVE, "what is absent after a move has ended"),
    Without("WITHOUT_S11_LOOK", SLOTS_BEYOND, "who connects does not look at what it has there"),
    Without("WITHOUT_S11_ARRIVAL_LOOK", SLOTS_BEYOND, "nor when a slot has come"),
    Without("WITHOUT_S11_ABSENT", SLOTS, "what is absent before its time has ended"),
    Without("S11_ARRIVAL_AS_SAID", SLOTS, "a marker on arrival, and no look"),
    Without("S11_TAG_AS_SAID", SLOTS_BEYOND, "one marker for each shard, compared where it is"),
    Without("WITHOUT_S11_SLOTS", SLOTS_BEYOND, "a loss is raised only in slots that are there now"),
    Without("WITHOUT_S11_STEP", SLOTS, "a slot moves while a replica is behind"),
    Without("WITHOUT_S13_EMPTY", LINES, "a node without its data starts as a master"),
)


class Result(NamedTuple):
    """Of one search.

    Attributes:
        states, depth: how many were walked, and steps of the longest way there, which is the
            trace's length if a promise was broken; -1 if the search died.
        violated: a promise was broken.
        complete: none was, and every state was walked.
        trace: the steps to the broken promise, in words, the promise last.
        took_s: with the making of the verifier.
    """

    states: int
    depth: int
    violated: bool
    complete: bool
    trace: str
    took_s: float = 0.0

    @property
    def promise(self) -> str:
        """The one that was broken."""
        return self.trace.partition(BROKEN)[2]


def walk(play: Play, without: str = "") -> Result:
    """Walk the states of one play; a trace is the first violation that the search met."""
    began_at = monotonic()
    spin, gcc = need("spin"), need("gcc")
    flags = [f"-D{flag}" for flag in (*play.flags, *filter(None, [without]))]
    with tempfile.TemporaryDirectory() as at:
        run([spin, "-a", *flags, str(MODEL)], at)
        # Breadth first where a violation is looked for: its trace is the shortest, and found
        # before a compiler would have earned its pains.
        ways = ["-O0", "-DBFS"] if without else ["-O2"]
        run([gcc, "-DSAFETY", "-DNOREDUCE", "-DVECTORSZ=2048",
             f"-DMEMLIM={MEMORY_MB_MAX}", *ways, "-o", "pan", "pan.c"], at)  # fmt: skip
        said = run(["./pan", "-n", "-w24", f"-m{DEPTH_MAX}"], at)
        trails = list(Path(at).glob("*.trail"))
        trace = ""
        if trails:
            trace = run([spin, "-t", "-B", *flags, "-k", str(trails[0]), str(MODEL)], at)
    return read(said, trace)._replace(took_s=monotonic() - began_at)


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
    # spin indents whatever is printed. The step that breaks a promise is printed to its end.
    lines = [line[6:] for line in trace.splitlines() if not line.startswith("spin:")]
    steps = "\n".join(lines).replace(f":{INDENT}", ": ")
    before, broken, after = steps.partition(BROKEN)
    steps = before + broken + after.partition("\n")[0]
    return Result(number["states"], number["depth"], number["errors"] > 0, complete, steps)


def need(program: str) -> str:
    """Where a program is."""
    path = shutil.which(program)
    if path is None:
        raise MissingError(f"{program} is not on PATH (Debian, Ubuntu: apt-get install {program})")
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
    """Walk all, print one table, and end with 1 if a verdict is not what it must be."""
    parser = argparse.ArgumentParser(prog="make model", description=main.__doc__)
    parser.add_argument("--trace", metavar="RULE", choices=[rule.flag for rule in RULES],
                        help="only the trace without this rule, e.g. WITHOUT_S7")  # fmt: skip
    parser.add_argument("--markdown", action="store_true",
                        help="the two tables of docs/model.md, to be put there")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="searches at a time (a search: one CPU, 1 GB; default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    need("spin")
    need("gcc")
    if args.trace:
        return show(next(rule for rule in RULES if rule.flag == args.trace))
    return table(args.jobs, MARKDOWN if args.markdown else TEXT)


def show(rule: Without) -> int:
    """What happens without a rule, step by step."""
    result = walk(rule.play, rule.flag)
    print(f"{rule.flag}: {rule.means} ({rule.play.name})\n")
    print(result.trace if result.violated else "NO VIOLATION FOUND")
    return 0 if result.violated else 1


class Form(NamedTuple):
    """How the tables are written: a play with all rules, then a rule that is left out."""

    plays: tuple[str, ...]
    """Lines above the first."""
    play: str
    rules: tuple[str, ...]
    rule: str


TEXT = Form(
    (f"{'left out':27}{'states':>11}{'steps':>7}{'s':>6}  what comes of it",),
    "{:27}{:11,}{:7}{:6.0f}  {play}: {verdict}",
    (),
    "{:27}{:11,}{:7}{:6.0f}  {play}: {verdict}",
)
# As docs/model.md has them; tests/config/test_model.py holds both to the same names.
MARKDOWN = Form(
    ("| play | states | depth |", "| --- | --- | --- |"),
    "| {play} | {1:,} | {2} |",
    ("", "| left out | found in the play | states | steps |", "| --- | --- | --- | --- |"),
    "| `{0}`: {means} | {play} | {1:,} | {2} |",
)


def table(jobs: int, form: Form) -> int:
    """Every play with all rules, and every rule left out; traces of what must not be."""
    began_at = monotonic()
    wrong = 0
    with ThreadPoolExecutor(jobs) as pool:
        # All are begun here; what `jobs` leave waiting waits.
        whole = [pool.submit(walk, play) for play in WHOLE]
        without = [pool.submit(walk, rule.play, rule.flag) for rule in RULES]
        print(*form.plays, sep="\n", flush=True)
        for play, running in zip(WHOLE, whole, strict=True):
            result = running.result()
            verdict = "VIOLATED" if result.violated else "holds" if result.complete else "CUT SHORT"
            wrong += verdict != "holds"
            told = {"play": play.name, "verdict": verdict, "means": ""}
            line = form.play.format("(all rules)", *figures(result), **told)
            print(line, indented(result.trace), sep="", flush=True)
        print(*form.rules, sep="\n", end="\n" * bool(form.rules))
        for rule, running in zip(RULES, without, strict=True):
            result = running.result()
            wrong += not result.violated
            verdict = f"not kept: {result.promise}" if result.violated else "NO VIOLATION FOUND"
            told = {"play": rule.play.name, "verdict": verdict, "means": rule.means}
            print(form.rule.format(rule.flag, *figures(result), **told), flush=True)
    print(f"{monotonic() - began_at:.0f} s, {jobs} searches at a time", file=sys.stderr)
    return 1 if wrong else 0


def figures(result: Result) -> tuple[int, int, float]:
    """States, steps and seconds, as a line of the table has them."""
    return result.states, result.depth, result.took_s


def indented(trace: str) -> str:
    """A trace as it stands below its line of the table."""
    return "".join(f"\n        {line}" for line in trace.splitlines())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MissingError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_MISSING)
    except LabError as error:
        sys.exit(str(error))
