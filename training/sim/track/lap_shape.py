"""Lay out a lap: draw its turns, close it by its straights, trace and smooth it.

A layout is drawn as a racing engineer would list it: turns with their angles and radii. The lengths of
its straights are then the smallest change to drawn ones that closes the lap and gives it its length,
three linear equations. Layouts that cross or crowd themselves, or are dull, come out empty.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compiled import kernel
from . import centerline as geometry
from .spec import Spec

Array = NDArray[np.float64]

MOST_TURNS = 20  # elements of a lap; each takes at most three arcs and six random numbers
NUMBERS = 1 + 5 * MOST_TURNS
_COARSE_M = 0.4
_FINE_M = 0.1

# Single turns, by their share of all elements: up to which random number, degrees from and by how much
# more, radius in minimum radii from and by how much more.
_SINGLES = np.array(
    [
        [0.20, 140.0, 60.0, 1.10, 0.35],  # hairpin
        [0.55, 55.0, 65.0, 1.10, 1.60],  # corner
        [0.72, 25.0, 45.0, 2.50, 5.00],  # sweeper
    ]
)
_CHICANE_SHARE = 0.87  # up to here a chicane (there and back), above it esses (there, twice back, there)
_OUTWARD_SHARE = 0.32  # turns against the lap's direction


class Style(NamedTuple):
    """How lively a layout must be to be kept."""

    fewest: int  # elements
    most: int
    area_share: float  # at most this much enclosed area / length²; a circle has 0.08
    turning: float  # at least this much turning, left and right added, in full turns; a circle has 1
    straight_share: float  # at least this much of the length is the longest straight


class LapShape(NamedTuple):
    """A lap as arcs, each followed by a straight."""

    turn_rad: NDArray[np.float64]
    radius_m: NDArray[np.float64]
    straight_m: NDArray[np.float64]  # before `close_lap` a share of what is left; negative: metres


@kernel
def lap(numbers: Array, spec: Spec, style: Style) -> Array:
    """Return the smoothed lap (n, 2) m that the random numbers draw, or (0, 2) if it is not to be kept."""
    nothing = np.empty((0, 2))
    if style.most == 2:
        layout = _oval(numbers, spec)
    else:
        layout, single = _draw(numbers, spec, style)
        if not (_turn_once(layout.turn_rad, single) and close_lap(layout, spec.length_m)):
            return nothing
    if layout.straight_m.max() < style.straight_share * spec.length_m:
        return nothing
    if np.abs(layout.turn_rad).sum() < style.turning * 2.0 * math.pi:
        return nothing
    coarse = trace(layout, _COARSE_M)
    if enclosed_m2(coarse) > style.area_share * spec.length_m**2 or not keeps_apart(coarse, spec.clearance_m):
        return nothing
    fine = trace(layout, _FINE_M)
    for _ in range(2):
        fine = box_filter(fine, max(1, round(0.3 * spec.min_radius_m / _FINE_M)))
    fine *= spec.length_m / geometry.chord_lengths(fine).sum()
    count = max(8, round(spec.length_m / 0.2))
    return geometry.resample_closed(fine, count)[0]


@kernel
def enclosed_m2(points: Array) -> float:
    """Return the area that an anticlockwise lap encloses, m²."""
    area = 0.0
    for i in range(points.shape[0]):
        area += 0.5 * (points[i - 1, 0] * points[i, 1] - points[i - 1, 1] * points[i, 0])
    return area


@kernel
def _oval(numbers: Array, spec: Spec) -> LapShape:
    """Return two half circles and two straights; it fits wherever anything does."""
    largest = spec.length_m / (2.0 * math.pi)
    least = 1.1 * spec.min_radius_m
    radius = least + 0.5 * numbers[0] * max(0.0, largest - least)
    straight = max(0.0, 0.5 * spec.length_m - math.pi * radius)
    return LapShape(np.full(2, math.pi), np.full(2, radius), np.full(2, straight))


@kernel
def _draw(numbers: Array, spec: Spec, style: Style) -> tuple[LapShape, NDArray[np.bool_]]:
    """Return a drawn list of turns, not closed yet, and which of its arcs are turns of their own."""
    most = 3 * MOST_TURNS
    layout = LapShape(np.empty(most), np.empty(most), np.empty(most))
    single = np.zeros(most, np.bool_)
    count = 0
    elements = style.fewest + int(numbers[0] * (style.most - style.fewest + 1))
    for element in range(elements):
        at = 1 + 5 * element
        kind = numbers[at]
        sign = -1.0 if numbers[at + 1] < _OUTWARD_SHARE else 1.0
        much, wide = numbers[at + 2], numbers[at + 3]
        straight = 0.12 + 3.0 * numbers[at + 4] ** 3  # mostly short, now and then a long one
        if kind < _SINGLES[-1, 0]:
            row = 0
            while kind >= _SINGLES[row, 0]:
                row += 1
            degrees = _SINGLES[row, 1] + _SINGLES[row, 2] * much
            radius = _SINGLES[row, 3] + _SINGLES[row, 4] * wide
            single[count] = True
            pattern = (1.0, 0.0, 0.0)
        elif kind < _CHICANE_SHARE:
            degrees, radius = 35.0 + 40.0 * much, 1.1 + 0.7 * wide
            pattern = (1.0, -1.0, 0.0)
        else:
            degrees, radius = 30.0 + 30.0 * much, 1.1 + 0.9 * wide
            pattern = (1.0, -2.0, 1.0)
        for part in range(3):
            if pattern[part] != 0.0:
                layout.turn_rad[count] = sign * pattern[part] * degrees * math.pi / 180.0
                layout.radius_m[count] = radius * spec.min_radius_m
                layout.straight_m[count] = -0.2 * spec.min_radius_m
                count += 1
        layout.straight_m[count - 1] = straight
    drawn = LapShape(layout.turn_rad[:count], layout.radius_m[:count], layout.straight_m[:count])
    return drawn, single[:count]


@kernel
def _turn_once(turn: Array, single: NDArray[np.bool_]) -> bool:
    """Change the single turns alike until the lap turns once round; return whether that is possible."""
    adjustable = single.sum()
    if adjustable < 2:
        return False
    change = (2.0 * math.pi - turn.sum()) / adjustable
    if abs(change) > 0.6:
        return False
    for i in range(turn.shape[0]):
        if single[i]:
            changed = turn[i] + change
            if changed * turn[i] < 0.0 or not 0.35 <= abs(changed) <= 3.75:
                return False
            turn[i] = changed
    return True


@kernel
def close_lap(layout: LapShape, length_m: float) -> bool:
    """Give the straights the lengths that close the lap at `length_m`; return whether there are such.

    Weighted least change: the squares of the changes, divided by the squares of the drawn lengths, are
    least under the three equations (end meets start in x and y, total length).
    """
    turn, radius, straight = layout.turn_rad, layout.radius_m, layout.straight_m
    arcs = (np.abs(turn) * radius).sum()
    spare = length_m - arcs + np.minimum(straight, 0.0).sum()
    if spare < 0.2 * length_m:
        return False
    straight[:] = np.where(straight < 0.0, -straight, straight * spare / np.maximum(straight, 0.0).sum())
    n = turn.shape[0]
    row = np.ones((n, 3))
    normal = np.zeros((3, 3))
    missing = np.zeros(3)
    missing[2] = length_m - arcs
    heading = 0.0
    for i in range(n):
        r = radius[i] if turn[i] > 0.0 else -radius[i]
        before = heading
        heading += turn[i]
        row[i, 0], row[i, 1] = math.cos(heading), math.sin(heading)
        missing[0] -= r * (math.sin(heading) - math.sin(before))
        missing[1] += r * (math.cos(heading) - math.cos(before))
        for a in range(3):
            missing[a] -= row[i, a] * straight[i]
            for b in range(3):
                normal[a, b] += straight[i] ** 2 * row[i, a] * row[i, b]
    pull = _solve_3(normal, missing)
    for i in range(n):
        straight[i] += straight[i] ** 2 * (pull[0] * row[i, 0] + pull[1] * row[i, 1] + pull[2] * row[i, 2])
    fits: bool = straight.min() >= 0.1
    return fits


@kernel
def _solve_3(matrix: Array, right: Array) -> Array:
    """Return the solution of a symmetric 3 x 3 system by Cramer's rule; zeros if it has none."""
    cross = np.empty((3, 3))
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            cross[i, a] = matrix[j, b] * matrix[k, c] - matrix[j, c] * matrix[k, b]
    determinant = (matrix[0] * cross[0]).sum()
    solution = np.zeros(3)
    if abs(determinant) > 1e-9:
        for a in range(3):
            for i in range(3):
                solution[a] += cross[i, a] * right[i] / determinant
    return solution


@kernel
def trace(layout: LapShape, spacing_m: float) -> Array:
    """Return points about `spacing_m` apart along the closed lap, from the middle of its longest straight."""
    turn, radius, straight = layout.turn_rad, layout.radius_m, layout.straight_m
    n = turn.shape[0]
    first = (straight.argmax() + 1) % n
    total = (np.abs(turn) * radius).sum() + straight.sum()
    count = math.ceil(total / spacing_m)
    points = np.empty((count, 2))
    half = 0.5 * straight[first - 1]
    k = 0
    x, y, heading, begin = 0.0, 0.0, 0.0, 0.0
    for leg in range(2 * n + 1):
        i = (first + leg // 2 - 1 + leg % 2) % n if leg > 0 else (first - 1) % n
        is_straight = leg % 2 == 0
        way = straight[i] if is_straight else abs(turn[i]) * radius[i]
        if leg in (0, 2 * n):
            way = half
        r = radius[i] if turn[i] > 0.0 else -radius[i]
        while k < count and (k * total / count < begin + way or leg == 2 * n):
            along = k * total / count - begin
            points[k, 0], points[k, 1] = _along(x, y, heading, along, 0.0 if is_straight else r)
            k += 1
        x, y = _along(x, y, heading, way, 0.0 if is_straight else r)
        heading += 0.0 if is_straight else turn[i]
        begin += way
    return points


@kernel
def _along(x: float, y: float, heading: float, way: float, radius: float) -> tuple[float, float]:
    """Return the point `way` further on a straight (radius 0) or an arc (radius > 0 turns left)."""
    if radius == 0.0:
        return x + way * math.cos(heading), y + way * math.sin(heading)
    turned = heading + way / radius
    dx = radius * (math.sin(turned) - math.sin(heading))
    return x + dx, y - radius * (math.cos(turned) - math.cos(heading))


@kernel
def box_filter(points: Array, reach: int) -> Array:
    """Return the closed curve with each point replaced by the mean of itself and `reach` on each side."""
    n = points.shape[0]
    result = np.empty((n, 2))
    for axis in range(2):
        for i in range(n):
            total = 0.0
            for k in range(i - reach, i + reach + 1):
                total += points[k % n, axis]
            result[i, axis] = total / (2 * reach + 1)
    return result


@kernel
def keeps_apart(points: Array, clearance_m: float) -> bool:
    """Return whether no two legs of the closed curve come closer than `clearance_m`.

    Two points closer along the curve than a half circle of that diameter are of one leg: there the
    minimum radius keeps the walls apart.
    """
    n = points.shape[0]
    spacing = geometry.chord_lengths(points).sum() / n
    leg = int(0.5 * math.pi * clearance_m / spacing) + 1
    for i in range(n):
        k = leg
        while k <= n - leg and i + k < n:
            dx = points[i, 0] - points[i + k, 0]
            dy = points[i, 1] - points[i + k, 1]
            distance = math.sqrt(dx * dx + dy * dy)
            if distance < clearance_m:
                return False
            k += max(1, int((distance - clearance_m) / spacing))  # nothing nearer before that
    return True
