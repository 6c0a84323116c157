"""The load of a drill: a process of its own with all clients, and the history of what they saw.

    __main__ ──▶ clients, ghosts, guests ─▶ sitters (soak) ──▶ crowd

`python -m lab.drill.load` is started by `run.py`. Every client imports `crowd`, which knows none of
them.
"""
