"""The batched F1TENTH simulator: numpy and numba alone."""

from training.sim.track import Track, TrackError

__all__ = ["Track", "TrackError"]
