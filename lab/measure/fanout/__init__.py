"""`fleet experiment fanout`: a post's way to a room's members on other servers.

cli ─▶ plan ─▶ measure ─▶ systems (daemons by route, peers), generator (c/fanout.c) ─▶ rows
└───▶ report (tables, pictures) ──▶ answers
"""
