"""Procedural race tracks: straights joined by hairpins, corners, sweepers, chicanes and esses.

Layouts (`training.sim.lap`) are drawn until one fits, lively ones first. A draw costs about 30 µs, and
one in a hundred is kept.

The same seed gives the same track on every machine: only PCG64 is drawn from, and the finished
centreline is rounded to a micrometre, far above what one machine's sine differs from another's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.sim import centerline as geometry
from training.sim.lap import MOST_TURNS, NUMBERS, Spec, Style, keeps_apart, lap
from training.sim.track_checks import TrackError

Array = NDArray[np.float64]

# Free room between the walls of two legs that pass each other.
WALL_GAP_M = 0.3
DEFAULT_MIN_RADIUS_M = 2.0
# What a turn's radius keeps beyond the half width, where no radius is asked for: the inner wall is round then. Tighter
# turns have a corner there, as the hairpins and chicanes of real circuits do.
RADIUS_MARGIN_M = 0.4
# The tightest turn of f1tenth_racetracks.
TIGHTEST_RADIUS_M = 0.5
# From a turn's centre to the outer wall: the car's turning circle of 0.74 m, half its width and some room.
_TURNING_ROOM_M = 1.0
# Widths vary over about this way.
_WIDTH_KNOT_M = 8.0


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


def generate_centerline(seed: int, spec: Spec) -> tuple[Array, Array]:
    """Return a centreline (n, 2) m that starts at (0, 0) on the longest straight, and its widths.

    The widths are (n, 2) m to the right and to the left.
    """
    if seed < 0:
        raise TrackError(f"seed is {seed}: it is a whole number from 0 on")
    rng = np.random.Generator(np.random.PCG64(seed))
    for style in _styles(spec):
        line = lap(rng.random(NUMBERS), spec, style)
        if len(line) == 0:
            continue
        line = _placed(line, rng.random(2))
        chords = geometry.chord_lengths(line)
        if abs(chords.sum() - spec.length_m) > 0.005 * spec.length_m:
            continue
        tight = np.abs(geometry.curvature(line, chords)).max() > 1.0 / spec.min_radius_m
        if not tight and keeps_apart(line, spec.clearance_m):
            return line, _widths(rng, spec, len(line))
    raise TrackError(f"seed {seed} gave no track for {spec}: please report it, an oval should have fitted")


def _styles(spec: Spec) -> Iterator[Style]:
    """Yield the style of each try: lively ones first, in the end what always fits."""
    usual = round(0.9 * math.sqrt(spec.length_m / spec.min_radius_m))
    fewest, most = min(usual, MOST_TURNS - 4), min(usual + 5, MOST_TURNS)
    for style, tries in (
        (Style(fewest, most, 0.035, 2.2, 0.08), 4000),
        (Style(fewest, most, 0.05, 1.6, 0.05), 2000),
        (Style(3, 6, 1.0, 1.0, 0.0), 2000),
        (Style(2, 2, 1.0, 1.0, 0.0), 10),
    ):
        for _ in range(tries):
            yield style


def _placed(line: Array, numbers: Array) -> Array:
    """Return the lap turned by any angle, clockwise or anticlockwise, from (0, 0), rounded to 1 µm."""
    angle = 2.0 * math.pi * numbers[0]
    sign = 1.0 if numbers[1] < 0.5 else -1.0  # a fair coin
    x, y = line[:, 0] - line[0, 0], sign * (line[:, 1] - line[0, 1])
    cos, sin = math.cos(angle), math.sin(angle)
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    return np.ascontiguousarray(np.round(turned, 6) + 0.0)  # no -0.0


def _widths(rng: np.random.Generator, spec: Spec, count: int) -> Array:
    """Return (count, 2) m: half widths to the right and left that wander smoothly around the asked one."""
    knots = max(4, round(spec.length_m / _WIDTH_KNOT_M))
    drawn = 2.0 * rng.random((knots, 2)) - 1.0
    at = np.arange(count) * knots / count
    before = at.astype(int)
    part = (at - before)[:, None]
    ease = part * part * (3.0 - 2.0 * part)
    wander = drawn[before] * (1.0 - ease) + drawn[(before + 1) % knots] * ease
    return np.round(spec.half_width_m * (1.0 + spec.width_variation * wander), 6)
