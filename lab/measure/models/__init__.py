"""`fleet experiment models`: the article's workload on each of its servers, and on the fleet.

cli ─▶ measure ─▶ systems (who is measured), clients (the article's load) ─▶ Measured, Visit
└───▶ report ──▶ answers (what it means), pictures
"""
