"""Tracks that were fetched into the cache, maps that runs carry, and the message for an unknown name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .names import BUNDLED, FAMILIES, letters_of
from .spec import TrackError

DIRECTORY_VARIABLE = "F1TENTH_TRACKS_DIR"


def directory() -> Path:
    """Return the directory of fetched tracks: $F1TENTH_TRACKS_DIR, else the user's cache, else the temporary files."""
    if os.environ.get(DIRECTORY_VARIABLE):
        return Path(os.environ[DIRECTORY_VARIABLE])
    return user_cache() / "tracks"


def user_cache() -> Path:
    """Return the directory of what this program keeps for a user; the temporary files if there is no home."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home: no HOME, and a number without a name
        cache = Path(tempfile.gettempdir())
    return cache / "f1tenth-training"


def packed_directories() -> tuple[Path, Path]:
    """Return where maps that runs carry are kept here: the user's cache, and one to use if that is read-only."""
    return user_cache() / "maps", Path(tempfile.gettempdir()) / f"f1tenth-training-{os.getuid()}" / "maps"


def packed(name: str) -> Path:
    """Return the directory of a packed map; raise TrackError if it is not on this computer."""
    for directory in packed_directories():
        if (directory / name).is_dir():
            return directory / name
    raise TrackError(
        f"the map {name} is not on this computer: it is kept with its run, and `python -m training evaluate RUN` "
        "brings it; or name the map's own yaml file"
    )


def fetched_names() -> list[str]:
    """Return the names of the tracks in the cache; a track whose fetch was interrupted is not among them."""
    return sorted({_name_of(path) for path in directory().glob("*/*_map.yaml")})


def fetched(name: str) -> Path:
    """Return the directory of a fetched track; raise TrackError, with what there is, if it is not there."""
    there = {_name_of(path): path.parent for path in sorted(directory().glob("*/*_map.yaml"))}
    if name in there:
        return there[name]
    letters = letters_of(name)
    if letters:
        raise TrackError(f"there is no track called {name!r}: {letters}")
    raise TrackError(
        f"there is no track called {name!r}; bundled: {', '.join(BUNDLED)}; generated: "
        f"{', '.join(f'{family}-SEED' for family in FAMILIES)}; "
        f"fetched (`python -m training tracks fetch`): {', '.join(there) or 'none yet'}"
    )


def _name_of(map_yaml: Path) -> str:
    """Return a track's name: an image has f1tenth_racetracks unchanged, in which MexicoCity is in "Mexico City"."""
    return map_yaml.name.removesuffix("_map.yaml")
