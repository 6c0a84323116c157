"""The drills: what is done when, and what must come of it (`scenario.Drill`)."""

from lab.drill.drills import mixture, network, parts, rooms, soak

ALL = (*parts.ALL, *network.ALL, *rooms.ALL, mixture.mix(), soak.soak())
"""In the order in which `fleet drill all` plays them."""

MIXTURES = {"mix": mixture.mix, "rooms-mix": rooms.mix}
"""Those that a seed and a time make."""
