"""The chat in a terminal: what was said above, who and where you are, a line to type in.

The talk has a thread of its own, so that a daemon that hangs never holds the keys.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import App
from textual.message import Message
from textual.widgets import Input, RichLog, Static

from lab.chat import talk as kinds
from lab.chat.talk import Talk

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

# Lines that are kept: an evening's talk.
LINES_MAX = 10_000
# The state is looked at so often.
STATE_S = 0.2

STYLES = {
    kinds.MESSAGE: "",
    kinds.OWN: "cyan",
    kinds.WHISPER: "magenta",
    kinds.NOTE: "dim",
    kinds.ALERT: "bold yellow",
}


class Came(Message):
    """Something is to be shown."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__()
        self.kind, self.text = kind, text


class Chat(App[None]):
    """The screen over a talk."""

    TITLE = "fleet chat"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #state { color: $text-muted; height: 1; padding: 0 1; }
    #said { height: 1fr; border: round $primary; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("ctrl+c", "quit", "quit")]

    def __init__(self, addresses: list[tuple[str, int]], room: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        """What was shown, the last `LINES_MAX`."""
        self.talk = Talk(addresses, room, lambda *shown: self.post_message(Came(*shown)))
        self._room = room
        self._thread = threading.Thread(target=self._run, daemon=True)

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield Static(id="state")
        yield RichLog(id="said", max_lines=LINES_MAX, wrap=True)
        yield Input(placeholder=kinds.HELP)

    def on_mount(self) -> None:
        """Lay out, and begin to talk."""
        self.query_one("#said").border_title = self._room
        self.query_one(Input).focus()
        self.set_interval(STATE_S, self._show_state)
        self._show_state()
        self._thread.start()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A line was typed."""
        event.input.clear()
        self.talk.type(event.value)

    def on_came(self, event: Came) -> None:
        """Show it."""
        self.lines = [*self.lines[-LINES_MAX + 1 :], event.text]
        self.query_one(RichLog).write(Text(event.text, STYLES[event.kind]))

    async def action_quit(self) -> None:
        """Leave in order."""
        self.talk.stop()

    def _show_state(self) -> None:
        name = self.talk.name or "nobody yet"
        at = f" at {self.talk.where}" if self.talk.where else ""
        self.query_one("#state", Static).update(Text(f"{name}{at}: {self.talk.state}"))

    def _run(self) -> None:
        """The talk's thread."""
        self.talk.run()
        with contextlib.suppress(RuntimeError):  # the screen has gone already
            self.call_from_thread(self.exit)
