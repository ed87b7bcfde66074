"""Tracks that were fetched into the cache, and what is said of a name that nothing goes by."""

from __future__ import annotations

import os
from pathlib import Path

from training.sim.track_checks import TrackError
from training.sim.track_names import BUNDLED

DIRECTORY_VARIABLE = "F1TENTH_TRACKS_DIR"


def directory() -> Path:
    """Return where fetched tracks lie: $F1TENTH_TRACKS_DIR, else the user's cache."""
    if os.environ.get(DIRECTORY_VARIABLE):
        return Path(os.environ[DIRECTORY_VARIABLE])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "f1tenth-training" / "tracks"


def fetched_names() -> list[str]:
    """Return the names of the tracks in the cache; one whose fetch broke off is not among them."""
    where = directory()
    return sorted({path.parent.name for path in where.glob("*/*_map.yaml")}) if where.is_dir() else []


def fetched(name: str) -> Path:
    """Return the directory of a fetched track; raise TrackError, with what there is, if it is not there."""
    names = fetched_names()
    if name in names:
        return directory() / name
    raise TrackError(
        f"there is no track called {name!r}; bundled: {', '.join(BUNDLED)}; generated: generated-SEED; "
        f"fetched (`python -m training tracks fetch`): {', '.join(names) or 'none yet'}"
    )
