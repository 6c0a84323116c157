"""`fleet drill`: break the fleet under load, and hold what clients saw to PROTOCOL."""
