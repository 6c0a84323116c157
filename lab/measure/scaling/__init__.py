"""`fleet experiment scaling`: the same load on more and more daemons, and what each part costs.

cli ─▶ measure ─▶ stack (daemons, Redis, HAProxy), the bench's generator ─▶ Point
├───▶ c10k (many connections on one daemon)
└───▶ report ──▶ answers ─▶ summary ─▶ usl, costs; pictures
"""
