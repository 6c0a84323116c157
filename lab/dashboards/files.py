"""The dashboards as the files that Grafana reads. Called by `python -m lab.dashboards` and tests."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from lab.dashboards.bottleneck import bottleneck
from lab.dashboards.client import client
from lab.dashboards.daemon import daemon
from lab.dashboards.rooms import rooms
from lab.dashboards.well import well

DIRECTORY = Path(__file__).resolve().parents[2] / "monitoring" / "grafana" / "dashboards"


def texts() -> dict[str, str]:
    """File name → what must stand in it."""
    return {
        f"{page.__name__}.json": json.dumps(page(), cls=JSONEncoder, indent=2, ensure_ascii=False)
        + "\n"
        for page in (well, client, bottleneck, daemon, rooms)
    }


def write(directory: Path = DIRECTORY) -> list[Path]:
    """Write them all, and remove what no code makes; returns what was written."""
    made = texts()
    for path in directory.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (directory / name).write_text(text)
    return [directory / name for name in made]
