"""The screen as an SVG picture, without a terminal: how the README's is made."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.top.model import TREND_LOOKS
from lab.top.screen import Top

if TYPE_CHECKING:
    from pathlib import Path

    from lab.top.source import Source

# Wide enough for every column, high enough for eight daemons.
COLUMNS, LINES = 152, 25

# Beside the looks' own time.
SLACK_S = 20.0

# The picture would fetch its font from elsewhere; the reader's own will do.
FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*")


def write(source: Source, path: Path, every_s: float, act: tuple[str, str] | None) -> None:
    """Look until the trends are full, and write what the screen shows.

    Args:
        source: What is looked at.
        path: Of the picture.
        every_s: Between two looks.
        act: An action, and the daemon it is done to when half of the looks are made.

    Raises:
        LabError: There is nothing to see, or no place to write to.
    """
    drawn = asyncio.run(_draw(source, every_s, act))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FONT.sub("", drawn))
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from None


async def _draw(source: Source, every_s: float, act: tuple[str, str] | None) -> str:
    app = Top(source, every_s)
    async with app.run_test(size=(COLUMNS, LINES)) as pilot:
        try:
            async with asyncio.timeout(TREND_LOOKS * every_s + SLACK_S):
                while app.looks <= TREND_LOOKS:
                    if act and app.looks > TREND_LOOKS // 2:
                        app.act(*act)
                        act = None
                    await pilot.pause(every_s / 2)
        except TimeoutError:
            raise LabError(app.gone or "the looks took too long for a picture") from None
        return app.export_screenshot()
