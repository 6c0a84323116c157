"""A Prometheus that watches the local fleet, where one is installed.

The containers' Prometheus finds the daemons by DNS; here they are named, under the same
job names, so that the rules and the dashboards fit both.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import lab
from lab.fleet import ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab.fleet.processes import Process

# A local fleet is looked at while it runs: days of it fit in this.
STORAGE_SIZE_MAX = "256MB"

# How the containers start it too, and what it alerts of.
FOLDER = Path(lab.__file__).resolve().parents[1] / "monitoring" / "prometheus"


def installed() -> bool:
    """Whether there is a Prometheus on PATH; no wheel brings one."""
    return shutil.which("prometheus") is not None


def config(targets: Mapping[str, Sequence[str]], rules: Sequence[Path]) -> str:
    """The configuration, as JSON, which YAML includes: job name → addresses to scrape."""
    return json.dumps(
        {
            "global": {
                "scrape_interval": "5s",
                "scrape_timeout": "4s",
                "evaluation_interval": "5s",
            },
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in targets.items()
            ],
        },
        indent=2,
    )


def start(directory: Path, targets: Mapping[str, Sequence[str]], port: int = 0) -> Process:
    """Start it; configuration, data and log (`prometheus*`) are in `directory`.

    Args:
        directory: Where its files go.
        targets: As in `config`; itself is added. Fewer of `echod` will be an alert.
        port: 0 for any free one.

    Returns:
        The process; `.ready` has the address `web`.

    Raises:
        lab.fleet.processes.StartError: It did not start; the text has its last words.
    """
    path = directory / "prometheus.yml"
    rules = [FOLDER / "rules" / "*.yml", directory / "expected" / "*.yml"]

    def command(addresses: dict[str, str]) -> ports.Command:
        path.write_text(config({**targets, "prometheus": [addresses["web"]]}, rules))
        argv = [
            *("sh", str(FOLDER / "start.sh")),
            f"--config.file={path}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--storage.tsdb.retention.size={STORAGE_SIZE_MAX}",
            f"--web.listen-address={addresses['web']}",
        ]
        # The script puts the rule of the number expected into TMPDIR.
        return argv, {"ECHOD_REPLICAS": str(len(targets["echod"])), "TMPDIR": str(directory)}

    log = directory / "prometheus.log"
    return ports.start_listening("Prometheus", {"web": port}, command, log)
