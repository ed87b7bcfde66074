"""Specifications of generated tracks; uses the standard library alone, because the launcher imports this too."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

from .names import CIRCUIT, HALL, LETTERS, Recipe

# Free room between the walls of two legs that pass each other.
WALL_GAP_M = 0.3
DEFAULT_MIN_RADIUS_M = 2.0
# The margin of a turn's radius beyond the half width, if no radius is asked for: then the inner wall is round. Tighter
# turns have a corner there, as the hairpins and chicanes of real circuits do.
RADIUS_MARGIN_M = 0.4
# The tightest turn of f1tenth_racetracks.
TIGHTEST_RADIUS_M = 0.5
# From a turn's centre to the outer wall: the car's turning circle of 0.74 m, half its width and some room.
_TURNING_ROOM_M = 1.0
# A car of 0.31 m by 0.58 m, turned by 0.3 rad as random starts do, is 0.47 m wide.
NARROWEST_M = 0.25
# Defaults for values that a recipe leaves out.
DEFAULT_LENGTH_M, DEFAULT_HALF_WIDTH_M, DEFAULT_RESOLUTION_M = 120.0, 1.1, 0.05
# A lap comes out this near to the length asked for.
LENGTH_TOLERANCE = 0.005
# Deciles, least to most, of the laps of the 23 circuits of f1tenth_racetracks (names.CIRCUIT_LENGTHS_M).
_CIRCUIT_LENGTHS_M = (261.0, 299.0, 344.0, 357.0, 382.0, 403.0, 425.0, 446.0, 461.0, 484.0, 554.0)
SHORTEST_CIRCUIT_M, LONGEST_CIRCUIT_M = 100.0, 1000.0
# Next to a box a car of 0.31 m gets through, with this much room in all.
PASSAGE_M = 0.6
# A car fits through no gap between two ducts: cells make it up to two of theirs wider.
_WIDEST_GAP_M = 0.25
# Free floor between the outermost ducts and the hall's walls, at least.
HALL_MARGIN_M = 0.1
# So much of the longest way round a hall is a lap, if no length is asked for; and so much of it may have one box.
_HALL_SHARE, _WAY_OF_A_BOX_M = 0.85, 10.0
# The corners of the simplest lap in a hall, in minimum radii: smoothing and resampling tighten them a little.
CORNER_MARGIN = 1.1


class TrackError(ValueError):
    """A map, centreline or request for a track is broken; the message says what and where."""


class Spec(NamedTuple):
    """The requested properties of a track."""

    length_m: float
    half_width_m: float
    min_radius_m: float
    width_variation: float
    resolution_m: float
    widest_m: float  # the largest half width that occurs
    clearance_m: float  # the least distance between the centrelines of two legs


def checked_spec(
    length_m: float,
    half_width_m: float,
    min_radius_m: float | None,
    width_variation: float,
    resolution_m: float,
) -> Spec:
    """Return the spec, its minimum radius filled in; raise TrackError for what cannot be built."""
    for name, value in (
        ("length_m", length_m),
        ("half_width_m", half_width_m),
        ("resolution_m", resolution_m),
    ):
        if not (math.isfinite(value) and value > 0.0):
            raise TrackError(f"{name} is {value:g}: it must be more than 0")
    if not 0.0 <= width_variation <= 0.5:  # half the width stays
        raise TrackError(f"width_variation is {width_variation:g}: it is a share of the width from 0 to 0.5")
    if not half_width_m * (1.0 - width_variation) > NARROWEST_M:
        raise TrackError(
            f"half_width_m is {half_width_m:g}, and {width_variation:.0%} less: a car that starts a little turned "
            f"touches the walls; {NARROWEST_M:g} m must be left and more"
        )
    round_m = half_width_m * (1.0 + width_variation) + RADIUS_MARGIN_M
    radius = max(DEFAULT_MIN_RADIUS_M, round_m) if min_radius_m is None else float(min_radius_m)
    least = max(TIGHTEST_RADIUS_M, _TURNING_ROOM_M - half_width_m * (1.0 - width_variation))
    if not radius >= least:
        raise TrackError(
            f"min_radius_m is {radius:g}: for a car to turn between walls {half_width_m:g} m from the centreline, "
            f"and {width_variation:.0%} less, it must be at least {least:.2f}"
        )
    if length_m < 8.0 * radius:
        shortest = f"with turns of at least {radius:g} m radius the shortest lap is {8.0 * radius:g} m"
        raise TrackError(f"length_m is {length_m:g}: {shortest}")
    if resolution_m > 0.25 * half_width_m:
        coarsest = f"a half width of {half_width_m:g} m needs cells of at most {0.25 * half_width_m:g} m"
        raise TrackError(f"resolution_m is {resolution_m:g}: {coarsest}")
    widest = half_width_m * (1.0 + width_variation)
    clearance = 2.0 * widest + WALL_GAP_M
    asked = (length_m, half_width_m, radius, width_variation, resolution_m, widest, clearance)
    return Spec(*map(float, asked))


class HallSpec(NamedTuple):
    """The requested properties of a track in a hall."""

    lap: Spec  # clearance: a duct is between two legs
    hall_length_m: float
    hall_width_m: float
    duct_m: float  # thickness
    gap_m: float  # the widest between two ducts; 0: none
    boxes: int
    box_m: float  # the largest edge

    @property
    def length_m(self) -> float:
        """Give the length of the lap."""
        return self.lap.length_m

    @property
    def inset_m(self) -> float:
        """Give the least distance of the centreline from the hall's walls."""
        return self.lap.widest_m + self.duct_m + HALL_MARGIN_M


def spec_of(recipe: Recipe) -> Spec | HallSpec:
    """Return what a recipe asks for; raise TrackError for what cannot be built."""
    options = {key: default for key, default in LETTERS[recipe.family].values() if default is not None}
    if recipe.family == CIRCUIT:
        return _circuit_spec(recipe.seed, options | dict(recipe.options))
    if recipe.family == HALL:
        return _hall_spec(options | dict(recipe.options))
    given = recipe.options
    return checked_spec(
        given.get("length_m", DEFAULT_LENGTH_M),
        given.get("half_width_m", DEFAULT_HALF_WIDTH_M),
        given.get("min_radius_m"),
        given.get("width_variation", 0.0),
        given.get("resolution_m", DEFAULT_RESOLUTION_M),
    )


def _circuit_spec(seed: int, options: Mapping[str, float]) -> Spec:
    """Return the spec of a circuit; its length is drawn from those of real ones, if none is asked for."""
    length_m = options.get("length_m", _drawn_length_m(seed))
    if not SHORTEST_CIRCUIT_M <= length_m <= LONGEST_CIRCUIT_M:
        raise TrackError(
            f"length_m is {length_m:g}: a circuit has {SHORTEST_CIRCUIT_M:g} to {LONGEST_CIRCUIT_M:g} m"
        )
    return checked_spec(
        length_m,
        options["half_width_m"],
        options["min_radius_m"],
        options["width_variation"],
        options["resolution_m"],
    )


def _drawn_length_m(seed: int) -> float:
    """Return the length of a seed's circuit, to a decimetre; by a hash, since numpy's generators are not here."""
    digest = hashlib.sha256(f"{CIRCUIT}-{seed}".encode()).digest()
    at = int.from_bytes(digest[:6], "big") / 2**48 * (len(_CIRCUIT_LENGTHS_M) - 1)
    row = int(at)
    low, high = _CIRCUIT_LENGTHS_M[row], _CIRCUIT_LENGTHS_M[row + 1]
    return round(low + (at - row) * (high - low), 1)


def _hall_spec(options: Mapping[str, float]) -> HallSpec:
    """Return the spec of a track in a hall; raise TrackError for what does not fit into it."""
    _check_range(options, "hall_length_m", 4.0, 100.0)
    _check_range(options, "hall_width_m", 4.0, 100.0)
    _check_range(options, "duct_m", 0.1, 1.0)
    _check_range(options, "gap_m", 0.0, _WIDEST_GAP_M)
    if not float(options["boxes"]).is_integer():
        raise TrackError(f"boxes is {options['boxes']:g}: it is a whole number")
    half_m, variation = options["half_width_m"], options["width_variation"]
    sides = [options["hall_length_m"], options["hall_width_m"]]
    inset_m = half_m * (1.0 + variation) + options["duct_m"] + HALL_MARGIN_M
    radius_m = options["min_radius_m"]
    across, along = sorted(side - 2.0 * inset_m for side in sides)
    clearance_m = 2.0 * half_m * (1.0 + variation) + options["duct_m"]
    needed_m = max(2.0 * CORNER_MARGIN * radius_m, clearance_m)
    if not across >= needed_m:
        raise TrackError(
            f"the hall of {sides[0]:g} x {sides[1]:g} m is too small: a lap with turns of {radius_m:g} m radius and "
            f"ducts {2.0 * half_m * (1.0 + variation):g} m apart needs {needed_m + 2.0 * inset_m:.2f} m"
        )
    longest_m = longest_round_m(along, across, CORNER_MARGIN * radius_m)
    length_m = options.get("length_m", round(max(_HALL_SHARE * longest_m, 8.0 * radius_m), 1))
    if length_m > longest_m:
        raise TrackError(
            f"length_m is {length_m:g}: a lap in a hall of {sides[0]:g} x {sides[1]:g} m has at most {longest_m:.1f} m"
        )
    lap = checked_spec(length_m, half_m, radius_m, variation, options["resolution_m"])
    if options["duct_m"] < 2.0 * lap.resolution_m:
        raise TrackError(
            f"duct_m is {options['duct_m']:g}: it must be at least two cells of {lap.resolution_m:g} m"
        )
    spec = HallSpec(
        lap._replace(clearance_m=clearance_m),
        sides[0],
        sides[1],
        options["duct_m"],
        options["gap_m"],
        int(options["boxes"]),
        options["box_m"],
    )
    _check_boxes(spec)
    return spec


def _check_boxes(spec: HallSpec) -> None:
    if spec.boxes == 0:
        return
    room_m = 2.0 * spec.lap.widest_m - PASSAGE_M
    if not 0.1 <= spec.box_m <= room_m:
        raise TrackError(
            f"box_m is {spec.box_m:g}: between ducts {2.0 * spec.lap.widest_m:g} m apart a box has an edge of 0.1 to "
            f"{room_m:g} m, so that {PASSAGE_M:g} m are left for a car of 0.31 m width"
        )
    most = int(spec.length_m / _WAY_OF_A_BOX_M)
    if spec.boxes > most:
        raise TrackError(
            f"boxes is {spec.boxes}: a lap of {spec.length_m:g} m has room for {most}, one each {_WAY_OF_A_BOX_M:g} m"
        )


def longest_round_m(along_m: float, across_m: float, radius_m: float) -> float:
    """Return the way round a rectangle whose corners have this radius."""
    return 2.0 * (along_m + across_m) - (8.0 - 2.0 * math.pi) * radius_m


def _check_range(options: Mapping[str, float], name: str, least: float, most: float) -> None:
    if not least <= options[name] <= most:
        raise TrackError(f"{name} is {options[name]:g}: it is {least:g} to {most:g} m")
