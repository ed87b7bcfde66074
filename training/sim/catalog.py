"""Tracks that were fetched into the cache, and what is said of a name that nothing goes by."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from training.sim.track_names import BUNDLED
from training.sim.track_spec import TrackError

DIRECTORY_VARIABLE = "F1TENTH_TRACKS_DIR"


def directory() -> Path:
    """Return where fetched tracks lie: $F1TENTH_TRACKS_DIR, else the user's cache, else the temporary files."""
    if os.environ.get(DIRECTORY_VARIABLE):
        return Path(os.environ[DIRECTORY_VARIABLE])
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home: no HOME, and a number without a name
        cache = Path(tempfile.gettempdir())
    return cache / "f1tenth-training" / "tracks"


def fetched_names() -> list[str]:
    """Return the names of the tracks in the cache; one whose fetch broke off is not among them."""
    return sorted({_name_of(path) for path in directory().glob("*/*_map.yaml")})


def fetched(name: str) -> Path:
    """Return the directory of a fetched track; raise TrackError, with what there is, if it is not there."""
    there = {_name_of(path): path.parent for path in sorted(directory().glob("*/*_map.yaml"))}
    if name in there:
        return there[name]
    raise TrackError(
        f"there is no track called {name!r}; bundled: {', '.join(BUNDLED)}; generated: generated-SEED; "
        f"fetched (`python -m training tracks fetch`): {', '.join(there) or 'none yet'}"
    )


def _name_of(map_yaml: Path) -> str:
    """Return a track's name: an image has f1tenth_racetracks as it is, where MexicoCity lies in "Mexico City"."""
    return map_yaml.name.removesuffix("_map.yaml")
