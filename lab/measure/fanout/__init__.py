"""`fleet experiment fanout`: a post's way to a room's members on other servers.

experiments.py ─▶ systems (daemons by route, peers, loads) ─▶ measure (c/fanout.c plays the load) ─▶ rows
└───▶ report (tables, pictures) ──▶ answers
"""
