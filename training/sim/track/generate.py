"""Procedural race tracks: straights joined by hairpins, corners, sweepers, chicanes and esses.

Layouts (`training.sim.track.lap_shape`) are drawn until one fits, lively ones first. A draw costs about 30 µs, and
one in a hundred is kept. Those of circuits (`training.sim.track.circuit_shape`) cost 10 µs, and one in a thousand is.

The same seed gives the same track on every machine: only PCG64 is drawn from, and the finished
centreline is rounded to a micrometre, far above what one machine's sine differs from another's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from . import centerline as geometry
from .circuit_shape import NUMBERS as CIRCUIT_NUMBERS
from .circuit_shape import circuit
from .lap_shape import MOST_TURNS, NUMBERS, Style, keeps_apart, lap
from .spec import LENGTH_TOLERANCE, Spec, TrackError

Array = NDArray[np.float64]

# Widths vary over about this way.
_WIDTH_KNOT_M = 8.0


# Two half circles and two straights, which fit wherever anything does.
OVAL = Style(2, 2, 1.0, 1.0, 0.0)
_OVALS = 200
# Shares of a real circuit's corners, and how often each is tried.
_CIRCUIT_TRIES = ((1.0, 30_000), (0.7, 10_000), (0.4, 5_000))


def generator_of(seed: int) -> np.random.Generator:
    """Return the random numbers of a track; raise TrackError for a negative seed."""
    if seed < 0:
        raise TrackError(f"seed is {seed}: it is a whole number from 0 on")
    return np.random.Generator(np.random.PCG64(seed))


def generate_centerline(seed: int, spec: Spec) -> tuple[Array, Array]:
    """Return a centreline (n, 2) m that starts at (0, 0) on the longest straight, and its widths.

    The widths are (n, 2) m to the right and to the left.
    """
    rng = generator_of(seed)
    for style in _styles(spec):
        line = lap(rng.random(NUMBERS), spec, style)
        if len(line) > 0:
            line = _placed(line, rng.random(2))
            if in_spec(line, spec):
                return line, widths_along(rng, spec, len(line))
    raise TrackError(f"seed {seed} gave no track for {spec}: please report it, an oval should have fitted")


def circuit_centerline(seed: int, spec: Spec) -> tuple[Array, Array]:
    """Return a centreline with the statistics of real circuits, and its widths, as `generate_centerline` does."""
    rng = generator_of(seed)
    for number in range(sum(tries for _, tries in _CIRCUIT_TRIES) + _OVALS):
        line = _drawn_circuit(rng, spec, number)
        if len(line) > 0:
            line = _placed(line, rng.random(2))
            if in_spec(line, spec):
                return line, widths_along(rng, spec, len(line))
    raise TrackError(f"seed {seed} gave no circuit for {spec}: please report it, an oval should have fitted")


def _drawn_circuit(rng: np.random.Generator, spec: Spec, number: int) -> Array:
    """Return a circuit with the corners of a real one, with fewer in late tries, and at last an oval; or (0, 2)."""
    for share, tries in _CIRCUIT_TRIES:
        if number < tries:
            return circuit(rng.random(CIRCUIT_NUMBERS), spec, share)
        number -= tries
    return lap(rng.random(NUMBERS), spec, OVAL)


def in_spec(line: Array, spec: Spec) -> bool:
    """Return whether a finished lap has the length, the radius and the room between its legs that were asked for."""
    chords = geometry.chord_lengths(line)
    if abs(chords.sum() - spec.length_m) > LENGTH_TOLERANCE * spec.length_m:
        return False
    tight = np.abs(geometry.curvature(line, chords)).max() > 1.0 / spec.min_radius_m
    return not tight and bool(keeps_apart(line, spec.clearance_m))


def _styles(spec: Spec) -> Iterator[Style]:
    """Yield the style of each try: lively ones first, at the end the one that always fits."""
    usual = round(0.9 * math.sqrt(spec.length_m / spec.min_radius_m))
    fewest, most = min(usual, MOST_TURNS - 4), min(usual + 5, MOST_TURNS)
    for style, tries in (
        (Style(fewest, most, 0.035, 2.2, 0.08), 4000),
        (Style(fewest, most, 0.05, 1.6, 0.05), 2000),
        (Style(3, 6, 1.0, 1.0, 0.0), 2000),
        (OVAL, 10),
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


def widths_along(rng: np.random.Generator, spec: Spec, count: int) -> Array:
    """Return (count, 2) m: half widths to the right and left that wander smoothly around the asked one."""
    knots = max(4, round(spec.length_m / _WIDTH_KNOT_M))
    drawn = 2.0 * rng.random((knots, 2)) - 1.0
    at = np.arange(count) * knots / count
    before = at.astype(int)
    part = (at - before)[:, None]
    ease = part * part * (3.0 - 2.0 * part)
    wander = drawn[before] * (1.0 - ease) + drawn[(before + 1) % knots] * ease
    widths: Array = np.round(spec.half_width_m * (1.0 + spec.width_variation * wander), 6)
    return widths
