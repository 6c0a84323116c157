"""A real browser without a window: opens pages, clicks, reads what is shown, takes pictures.

Chromium, spoken to in its DevTools protocol over two pipes (--remote-debugging-pipe):
JSON texts, each ended by a NUL. No port, no driver, no library. Used by tests that look at
pages, and by what takes the README's pictures.
"""

from __future__ import annotations

import base64
import json
import select
import shutil
import subprocess
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any, Self, cast

from lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# It starts, or a page loads, or a script answers: seconds on a busy machine.
ANSWER_S_MAX = 60.0
END_S_MAX = 10.0

PIPE_BYTES = 1 << 16

# Chromium looks for the protocol's pipes as files 3, to read from, and 4, to write to.
WITH_PIPES = 'exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null'


class BrowserError(LabError):
    """There is none, or it did not do what it was asked."""


def find() -> str | None:
    """A Chromium on PATH."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Browser:
    """One page of a browser of its own. Leaving its `with` block ends it."""

    def __init__(self, width: int = 1280, height: int = 800) -> None:
        """Start it with an empty page of that size.

        Raises:
            BrowserError: There is none on PATH, or it does not start.
        """
        program = find()
        if program is None:
            raise BrowserError(f"no {' or '.join(BROWSERS)} on PATH")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._width = width
        self._number = 0
        self._received = b""
        self._session: dict[str, str] = {}
        self._process = subprocess.Popen(
            [
                *("sh", "-c", WITH_PIPES, "sh", program),
                *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--disable-background-networking", "--no-first-run", "--no-proxy-server"),
                *("--remote-debugging-pipe", f"--user-data-dir={self._profile.name}"),
            ],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._to = cast("IO[bytes]", self._process.stdin)
        self._from = cast("IO[bytes]", self._process.stdout)
        try:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
            self._session = {"sessionId": attached["sessionId"]}
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self._ask("Emulation.setDeviceMetricsOverride", **size)
        except BaseException:
            self.close()
            raise

    def open(self, url: str) -> None:
        """Go to a page; its scripts may still be at work when this returns.

        Raises:
            BrowserError: It can't be had.
        """
        answer = self._ask("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(f"{url}: {answer['errorText']}")

    def run(self, script: str) -> Any:  # noqa: ANN401 — whatever the script gives
        """The value of a JavaScript expression on the page.

        Raises:
            BrowserError: It threw; the text says what.
        """
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"].get("exception", answer)))
        return answer["result"].get("value")

    def text(self) -> str:
        """The words that are shown now, with one blank between them."""
        return " ".join(str(self.run("document.body ? document.body.innerText : ''")).split())

    def click(self, words: str) -> bool:
        """Click the button, tab or link that says so; False if there is none (yet)."""
        return self._found(
            "const all = [...document.querySelectorAll('button, a, [role=tab]')];"
            "const one = all.find(e => e.innerText.trim().toLowerCase() === given[0]);"
            "one?.click(); return Boolean(one)",
            words.lower(),
        )

    def fill(self, name: str, value: str) -> bool:
        """Write into the input of that name, as a person would; False if there is none (yet)."""
        return self._found(
            "const one = document.querySelector(`input[name=${given[0]}]`);"
            "if (!one) return false;"
            # React looks at the property of the class, and waits for the event.
            "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')"
            ".set.call(one, given[1]);"
            "one.dispatchEvent(new Event('input', {bubbles: true})); return true",
            name,
            value,
        )

    def shoot(self, path: Path, height: int | None = None) -> None:
        """Write what is shown as a PNG; no more of it than `height`, if that is given."""
        clip = {"x": 0, "y": 0, "width": self._width, "height": height, "scale": 1}
        only = {"clip": clip} if height else {}
        answer = self._ask("Page.captureScreenshot", format="png", **only)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """End it, and leave no file."""
        self._to.close()  # for which it ends by itself
        try:
            self._process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()
        self._profile.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _found(self, script: str, *given: str) -> bool:
        """Whether the body of a JavaScript function returns true."""
        return bool(self.run(f"((...given) => {{{script}}})(...{json.dumps(given)})"))

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """A command and its answer; events on the way are let pass."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        try:
            self._to.write(json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise BrowserError(f"{method}: it has ended") from None
        deadline = time.monotonic() + ANSWER_S_MAX
        answer: dict[str, Any] = {}
        while answer.get("id") != self._number:
            while b"\0" not in self._received:
                left_s = max(0.0, deadline - time.monotonic())
                if not select.select([self._from], [], [], left_s)[0]:
                    raise BrowserError(f"{method}: no answer within {ANSWER_S_MAX:g} s")
                part = self._from.read(PIPE_BYTES)
                if not part:
                    raise BrowserError(f"{method}: it has ended")
                self._received += part
            text, _, self._received = self._received.partition(b"\0")
            answer = json.loads(text)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result
