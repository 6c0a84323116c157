"""`python -m lab.kubernetes`: write deploy/kubernetes/operator/rules, as the operator reads rules.

Prometheus's operator takes rules only inside an object of its own, a PrometheusRule, and
kustomize puts no file into an object. So each file of monitoring/prometheus/rules becomes one
object, its lines as they are, one level deeper; tests/kubernetes holds that they are current.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "monitoring" / "prometheus" / "rules"
DIRECTORY = ROOT / "deploy" / "kubernetes" / "operator" / "rules"

HEAD = """\
# Made of monitoring/prometheus/rules/{name}.yml by `python -m lab.kubernetes`: change that file.
# yamllint disable rule:line-length
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {{name: {name}}}
spec:
"""


def texts() -> dict[str, str]:
    """File name → what must stand in it."""
    return {
        path.name: HEAD.format(name=path.stem) + textwrap.indent(path.read_text(), "  ")
        for path in sorted(RULES.glob("*.yml"))
    }


def write(directory: Path = DIRECTORY) -> list[Path]:
    """Write them all, and remove what no rule file makes; returns what was written."""
    made = texts()
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.yml"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (directory / name).write_text(text)
    return [directory / name for name in made]


if __name__ == "__main__":
    print(*write(), sep="\n")
