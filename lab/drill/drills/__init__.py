"""The drills: what is done when, and what must come of it.

A drill is a value of `scenario.Drill` in one of the lists `ALL`.
"""

from lab.drill.drills import daemons, mixture, network, rooms, soak, store

ALL = (
    *daemons.ALL,
    *store.ALL,
    *network.ALL,
    *rooms.ALL,
    mixture.drill(seed=1, seconds=mixture.SECONDS),
    *soak.ALL,
)
"""In the order in which `fleet drill all` plays them."""

MIXTURES = {"mix": mixture.drill, rooms.MIX: rooms.mix}
"""Those that a seed and a time make."""
