"""`fleet bench`: servers compared in closed loop, and many connections on the fleet.

    cli ──▶ compare ──▶ measure ──▶ generator (c/load.c), clocks ──▶ Run
     │                     └─ rows: which server, which Redis     histogram: percentiles
     ├──▶ many (the same, paced, also through HAProxy)
     └──▶ summary ──▶ table

`rows`, `histogram`, `summary` and `table` are pure. docs/bench.md says what each figure is.
"""
