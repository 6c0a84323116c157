"""How a run of an experiment or a drill is told: one page, its plots, its place.

    answers ─▶ page ─▶ results (the directory, the index)
    plots ───▶ page      machine: what it ran on

What was measured and what it means is the caller's: `lab.measure`, `lab.drill`.
"""
