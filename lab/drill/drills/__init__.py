"""The drills: what is done when, and what must come of it (`scenario.Drill`)."""

from lab.drill.drills import mixture, network, parts, rooms, shards, shards_command, soak

MIXTURES = {"rooms-mix": mixture.rooms_mix, "mix": mixture.mix}
"""Those that a seed and a time make."""

TIMES = {
    "lose-node": shards.lose_node,
    "shards-move": shards.shards_move,
    "shards-add-remove": shards_command.shards_add_remove,
}
"""Those that are played so often."""

ALL = (
    *parts.ALL,
    *network.ALL,
    *rooms.ALL,
    *shards.ALL,
    *shards_command.ALL,
    *(make() for make in MIXTURES.values()),
    soak.soak(),
)
"""In the order in which `fleet drill all` plays them."""
