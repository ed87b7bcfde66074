"""Tracks that have a name: bundled and generated ones, recipes for the generator that need no file, and real circuits.

Does not import numpy: the launcher checks here whether a machine will find a track, before the machine costs anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# How tracks are made up: free laps, laps like those of real circuits, and laps between air ducts in a hall.
GENERATED, CIRCUIT, HALL = "generated", "circuit", "hall"


class Recipe(NamedTuple):
    """How to make up a track: a family, its seed, and the arguments that differ from the family's defaults."""

    seed: int
    options: Mapping[str, float]
    family: str = GENERATED


BUNDLED: Mapping[str, Recipe] = {
    "kart": Recipe(1, {"length_m": 60.0}),
    "club": Recipe(6, {"length_m": 100.0}),
    "street": Recipe(4, {"length_m": 140.0, "half_width_m": 0.9, "width_variation": 0.25}),
    "national": Recipe(1, {"length_m": 180.0}),
    "grand-prix": Recipe(7, {"length_m": 320.0}),
}

# The f1tenth_racetracks that `python -m training tracks fetch` fetches and that an image contains; with the length of
# each centreline, m, from the pinned files of racetracks.sha256.
CIRCUIT_LENGTHS_M: Mapping[str, float] = {
    "Austin": 421.04,
    "BrandsHatch": 356.29,
    "Budapest": 402.59,
    "Catalunya": 416.75,
    "Hockenheim": 359.84,
    "IMS": 293.1,
    "Melbourne": 474.27,
    "MexicoCity": 356.67,
    "Montreal": 285.05,
    "Monza": 446.08,
    "MoscowRaceway": 322.76,
    "Nuerburgring": 446.11,
    "Oschersleben": 260.71,
    "Sakhir": 441.92,
    "SaoPaulo": 344.67,
    "Sepang": 486.98,
    "Shanghai": 497.61,
    "Silverstone": 457.92,
    "Sochi": 463.8,
    "Spa": 554.45,
    "Spielberg": 343.32,
    "YasMarina": 398.03,
    "Zandvoort": 387.94,
}
CIRCUITS = tuple(CIRCUIT_LENGTHS_M)

# The name of a track that is made up tells its arguments: generated-7, generated-7-l200-w0.9-r2.5-v0.2-c0.04. The
# letters of each family in their order, with argument and default; None: `training.sim.track.spec` says it.
LETTERS: Mapping[str, Mapping[str, tuple[str, float | None]]] = {
    GENERATED: {
        "l": ("length_m", 120.0),
        "w": ("half_width_m", 1.1),
        "r": ("min_radius_m", 2.0),
        "v": ("width_variation", 0.0),
        "c": ("resolution_m", 0.05),
    },
    CIRCUIT: {
        "l": ("length_m", None),
        "w": ("half_width_m", 1.1),
        "r": ("min_radius_m", 0.5),
        "v": ("width_variation", 0.2),
        "c": ("resolution_m", 0.07),
    },
    HALL: {
        "l": ("length_m", None),
        "w": ("half_width_m", 0.6),
        "r": ("min_radius_m", 1.0),
        "v": ("width_variation", 0.25),
        "x": ("hall_length_m", 30.0),
        "y": ("hall_width_m", 10.0),
        "d": ("duct_m", 0.33),
        "g": ("gap_m", 0.2),
        "b": ("boxes", 3.0),
        "s": ("box_m", 0.4),
        "c": ("resolution_m", 0.05),
    },
}
FAMILIES = tuple(LETTERS)
_PATTERNS = {
    family: re.compile(rf"{family}-(\d+)" + "".join(rf"(?:-{letter}([\d.]+))?" for letter in letters))
    for family, letters in LETTERS.items()
}


def is_name(path: str | Path) -> bool:
    """Return whether this could be a track's name: no directory, no file's suffix."""
    return isinstance(path, str) and re.fullmatch(r"[A-Za-z][\w-]*(\.\d[\w-]*)*", path) is not None


# A map of one's own that a run carries: its name, and the first digits of the SHA-256 of its files.
_PACKED = re.compile(r"(?P<stem>[A-Za-z0-9][\w-]{0,39})@(?P<digest>[0-9a-f]{16})", re.ASCII)


def plain_stem(name: str) -> str:
    """Return a map's name in the characters that files, keys of a store and settings allow."""
    return re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-_")[:40] or "map"


def packed_name(stem: str, digest: str) -> str:
    """Return the name of a packed map; stem: a plain one; digest: hexadecimal, of its files."""
    return f"{stem}@{digest[:16]}"


def packed_parts(name: str | Path) -> tuple[str, str] | None:
    """Return the stem and the digest's first digits of a packed map's name; None for any other name."""
    match = _PACKED.fullmatch(name) if isinstance(name, str) else None
    return None if match is None else (match["stem"], match["digest"])


def generated_name(seed: int, options: Mapping[str, float]) -> str:
    """Return the name from which `recipe` finds the same seed and options of `Track.generate` again."""
    changed = [
        f"-{letter}{repr(options[option]).removesuffix('.0')}"
        for letter, (option, default) in LETTERS[GENERATED].items()
        if options[option] != default
    ]
    return f"{GENERATED}-{seed}" + "".join(changed)


def recipe(name: str) -> Recipe | None:
    """Return how to make up the track of that name, None if it is neither bundled nor of a family."""
    if name in BUNDLED:
        return BUNDLED[name]
    family = name.partition("-")[0]
    match = _PATTERNS[family].fullmatch(name) if family in _PATTERNS else None
    if match is None:
        return None
    seed, *values = match.groups()
    given = zip(LETTERS[family].values(), values, strict=True)
    try:
        options = {option: float(value) for (option, _), value in given if value is not None}
        return Recipe(int(seed), options, family)
    except ValueError:  # 1.2.3 is no number, and more digits than Python reads are none either
        return None


def letters_of(name: str) -> str:
    """Return what may follow the seed in a name that begins as one of a family does; "" for any other name."""
    family, _, rest = name.partition("-")
    if family not in LETTERS or not rest[:1].isdigit():
        return ""
    told = ", ".join(f"{letter} ({option})" for letter, (option, _) in LETTERS[family].items())
    return f"after {family}-SEED may follow, in this order, each with a dash and a number: {told}"
