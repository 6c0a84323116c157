"""`fleet experiment scaling`: the same load on more and more daemons, and what each part costs.

experiments.py ─▶ measure (daemons, Redis, HAProxy; the bench's generator) ─▶ rows
├───▶ c10k (many connections on one daemon) ─▶ a row
└───▶ report (tables, pictures) ──▶ answers ─▶ usl, costs
"""
