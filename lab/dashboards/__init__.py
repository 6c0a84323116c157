"""Grafana's dashboards, as code: what `monitoring/grafana/dashboards/*.json` is made of.

    python -m lab.dashboards      writes the files again (a test compares them)

Five questions, in the order in which they come up; `parts` has what they are made of:

    well        is the fleet well?
    client      what does a client feel?
    bottleneck  which part is the bottleneck?
    daemon      what does one daemon do?
    rooms       is anything lost in rooms?

Grafana's typed SDK knows the fields, so a wrong one is a type error here and not an empty
panel there. Needs the `dev` extra; nothing of the fleet imports this.
"""
