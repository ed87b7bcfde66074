"""The batched F1TENTH simulator: numpy and numba alone."""

from training.sim import compiled  # isort: skip - before any kernel is declared
from training.sim.params import Lidar, Randomisation, Switches, Vehicle
from training.sim.track import Track, TrackError
from training.sim.world import World, set_threads

__all__ = [
    "Lidar",
    "Randomisation",
    "Switches",
    "Track",
    "TrackError",
    "Vehicle",
    "World",
    "compiled",
    "set_threads",
]
