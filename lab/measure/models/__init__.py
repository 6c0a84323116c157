"""`fleet experiment models`: the article's workload on each of its servers, and on the fleet.

experiments.py ─▶ measure ─▶ systems (who is measured), clients (the article's load) ─▶ rows, visits
└───▶ report (tables, pictures) ──▶ answers (what it means)
"""
