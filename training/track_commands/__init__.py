"""Implementation of `python -m training tracks`: list, make, draw, check and fetch race tracks."""

from .commands import app
from .survey import Summary, TrackFinding, check, known_tracks, summary

__all__ = ["Summary", "TrackFinding", "app", "check", "known_tracks", "summary"]
