"""What a person sees of a page: a real browser opens it. Used by tests that look at pages."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import tempfile

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# It starts, loads one page, and lets its scripts run.
BROWSE_S_MAX = 90.0
SCRIPTS_MS = 5000


def chromium() -> str:
    """A Chromium on PATH; a test without one is skipped."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no {' or '.join(BROWSERS)} on PATH")
    return found


def read(url: str) -> str:
    """The words on a page, after its scripts have run, with a blank between them."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            *(chromium(), "--headless", "--no-sandbox", "--disable-gpu"),
            *("--disable-background-networking", f"--user-data-dir={profile}"),
            *(f"--virtual-time-budget={SCRIPTS_MS}", "--dump-dom", url),
        ]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=BROWSE_S_MAX
        )
    text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", done.stdout, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())
