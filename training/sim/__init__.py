"""The batched F1TENTH simulator: numpy and numba alone."""

from training.sim.track import Track
from training.sim.track_checks import TrackError

__all__ = ["Track", "TrackError"]
