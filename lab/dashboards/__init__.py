"""Grafana's dashboards, as code: what `monitoring/grafana/dashboards/*.json` is made of.

Grafana's typed SDK knows the fields, so a wrong one is a type error here and not an empty
panel there. Needs the `dev` extra; nothing of the fleet imports this.
"""
