"""`python -m lab.dashboards`: write monitoring/grafana/dashboards/*.json, the files Grafana reads."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from lab.dashboards import bottleneck, client, daemon, rooms, well
from lab.dashboards.parts import page

DIRECTORY = Path(__file__).resolve().parents[2] / "monitoring" / "grafana" / "dashboards"

# In the order in which the questions come up; Grafana opens with the first.
PAGES = {
    "well": page(
        "fleet-well",
        "1 · Is the fleet well?",
        "All green is well. What an alert means and what to do: docs/alerts.md.",
        well.PANELS,
    ),
    "client": page(
        "fleet-client",
        "2 · What does a client feel?",
        "How long it waits, and what it hears when it gets no reply (docs/protocol.md §4).",
        client.PANELS,
    ),
    "bottleneck": page(
        "fleet-bottleneck",
        "3 · Which part is the bottleneck?",
        "The part that is full while the others are not. If it is the load, the server's limit has"
        " not been seen.",
        bottleneck.PANELS,
    ),
    "daemon": page(
        "fleet-daemon",
        "4 · What does one daemon do?",
        "One gevent process, one CPU (docs/metrics.md lists what it tells).",
        daemon.PANELS,
        daemon.CHOSEN,
    ),
    "rooms": page(
        "fleet-rooms",
        "5 · Rooms: is anything lost?",
        "Each message has its fate on the way to each daemon, and on to each member"
        " (docs/metrics.md, loadtest/README.md). The upper row must stay 0.",
        rooms.PANELS,
    ),
}


def texts() -> dict[str, str]:
    """File name → what must stand in it."""
    return {
        f"{name}.json": json.dumps(made, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
        for name, made in PAGES.items()
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


if __name__ == "__main__":
    print(*write(), sep="\n")
