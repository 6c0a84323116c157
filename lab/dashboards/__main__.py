"""`python -m lab.dashboards`: write monitoring/grafana/dashboards/*.json."""

from __future__ import annotations

from lab.dashboards import files

for path in files.write():
    print(path)
