"""The run's counts as a JSON file, for whoever started Locust and wants to judge it.

    {"requests": {"line": {"count": 100000, "failed": 1, "ms": {"p50": 0.31, …}}, …},
     "failures": [{"name": "line", "error": "EarlyClose('end of stream')", "count": 1}],
     "exceptions": 0}

Locust's own `--json-file` has the times but not which failures there were, its CSV files
lack the last second of a run, and its tables have no fractions of a millisecond.
`exceptions` counts bugs of the load itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from locust.stats import StatsError

if TYPE_CHECKING:
    from pathlib import Path

    from locust.runners import Runner

PERCENTILES = (0.5, 0.9, 0.99, 0.999, 1.0)


def summarise(runner: Runner) -> dict[str, Any]:
    """The counts of a runner, as in the module's docstring."""
    return {
        "requests": {
            entry.name: {
                "count": entry.num_requests,
                "failed": entry.num_failures,
                "ms": {
                    f"p{100 * share:g}": entry.get_response_time_percentile(share)
                    for share in PERCENTILES
                },
            }
            for entry in runner.stats.entries.values()
        },
        "failures": [
            {
                "name": failure.name,
                "error": StatsError.parse_error(failure.error),
                "count": failure.occurrences,
            }
            for failure in runner.errors.values()
        ],
        "exceptions": sum(row["count"] for row in runner.exceptions.values()),
    }


def write(runner: Runner, path: Path) -> None:
    """Write `summarise(runner)` to `path`, making its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summarise(runner), indent=2) + "\n", encoding="utf-8")
