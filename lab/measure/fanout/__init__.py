"""`fleet experiment fanout`: a post's way to a room's members on other servers.

cli ─▶ plan ─▶ run ─▶ measure ─▶ systems (daemons by route, peers), generator (c/fanout.c) ─▶ Point
└───▶ report ──▶ answers ─▶ summary; pictures
"""
