"""`fleet chat --plain`: stdin is what is typed, stdout what is shown, a line each.

The end of stdin is `/quit`. Lines begin with what they are (`talk.MESSAGE` …) and a tab.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from lab.chat.talk import Shown, Talk

if TYPE_CHECKING:
    from typing import TextIO


def run(addresses: list[tuple[str, int]], room: str) -> None:
    """Talk until the end of stdin, or `/quit`."""
    talk = Talk(addresses, room, _print)
    threading.Thread(target=_read, args=(sys.stdin, talk), daemon=True).start()
    try:
        talk.run()
    except KeyboardInterrupt:
        talk.stop()


def _print(shown: Shown) -> None:
    print(f"{shown.kind}\t{shown.text}", flush=True)


def _read(source: TextIO, talk: Talk) -> None:
    for line in source:
        talk.type(line)
    # As a line of its own, so that what was typed before is said before.
    talk.type("/quit")
