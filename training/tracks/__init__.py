"""What `python -m training tracks` does: list, make, draw, check and fetch race tracks."""

from training.tracks.commands import app
from training.tracks.survey import Finding, Summary, check, known_tracks, summary

__all__ = ["Finding", "Summary", "app", "check", "known_tracks", "summary"]
