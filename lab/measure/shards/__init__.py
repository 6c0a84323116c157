"""`fleet experiment shards`: what a store of shards costs one daemon, and what homes and replicas do.

experiments.py ─▶ measure (daemons on one Redis and on a cluster; sessions at home, or spread) ─▶ rows
└───▶ report (tables, pictures) ──▶ answers
"""
