"""`fleet bench`: servers compared in closed loop, and many connections on the fleet.

cli ──▶ measure: rows (which server, which Redis) ─▶ generator (c/load.c), clocks ─▶ Run ─▶ table
 └────▶ many (the same, paced, also through HAProxy)
"""
