"""Tracks that go by a name: bundled ones, generated ones, and those fetched into the cache.

Bundled tracks are recipes for the generator, so they need neither files nor a download.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from training.sim.lap import Spec
from training.sim.track_checks import TrackError

DIRECTORY_VARIABLE = "F1TENTH_TRACKS_DIR"


class Recipe(NamedTuple):
    """Arguments of `Track.generate`."""

    seed: int
    options: Mapping[str, float]


BUNDLED: Mapping[str, Recipe] = {
    "kart": Recipe(1, {"length_m": 60.0}),
    "club": Recipe(6, {"length_m": 100.0}),
    "street": Recipe(4, {"length_m": 140.0, "half_width_m": 0.9, "width_variation": 0.25}),
    "national": Recipe(1, {"length_m": 180.0}),
    "grand-prix": Recipe(7, {"length_m": 320.0}),
}

# A generated track's name tells its arguments: generated-7, generated-7-l200-w0.9-r2.5-v0.2-c0.04.
_LETTERS = {
    "l": ("length_m", 120.0),
    "w": ("half_width_m", 1.1),
    "r": ("min_radius_m", 2.0),
    "v": ("width_variation", 0.0),
    "c": ("resolution_m", 0.05),
}
_GENERATED = re.compile(r"generated-(\d+)" + "".join(rf"(?:-{letter}([\d.]+))?" for letter in _LETTERS))


def is_name(path: str | Path) -> bool:
    """Return whether this could be a track's name: no directory, no file's suffix."""
    return isinstance(path, str) and re.fullmatch(r"[A-Za-z][\w-]*(\.\d[\w-]*)*", path) is not None


def generated_name(seed: int, spec: Spec) -> str:
    """Return the name from which `recipe` finds the same seed and spec again."""
    changed = [
        f"-{letter}{repr(getattr(spec, option)).removesuffix('.0')}"
        for letter, (option, default) in _LETTERS.items()
        if getattr(spec, option) != default
    ]
    return f"generated-{seed}" + "".join(changed)


def recipe(name: str) -> Recipe | None:
    """Return how to generate the bundled or generated track of that name, None if it is neither."""
    if name in BUNDLED:
        return BUNDLED[name]
    match = _GENERATED.fullmatch(name)
    if match is None:
        return None
    seed, *values = match.groups()
    given = zip(_LETTERS.values(), values, strict=True)
    return Recipe(int(seed), {option: float(value) for (option, _), value in given if value is not None})


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
