"""Specifications of generated tracks; uses the standard library alone, because the launcher imports this too."""

from __future__ import annotations

import math
from typing import NamedTuple

from .names import Recipe

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


def spec_of(recipe: Recipe) -> Spec:
    """Return what a recipe asks for; raise TrackError for what cannot be built."""
    options = recipe.options
    return checked_spec(
        options.get("length_m", DEFAULT_LENGTH_M),
        options.get("half_width_m", DEFAULT_HALF_WIDTH_M),
        options.get("min_radius_m"),
        options.get("width_variation", 0.0),
        options.get("resolution_m", DEFAULT_RESOLUTION_M),
    )
