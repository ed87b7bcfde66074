"""Implementation of `python -m training tracks`: list, make, draw, check and fetch race tracks."""

from .commands import app
from .survey import Finding, Summary, check, known_tracks, summary

__all__ = ["Finding", "Summary", "app", "check", "known_tracks", "summary"]
