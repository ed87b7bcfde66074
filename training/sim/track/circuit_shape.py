"""Draw laps with the statistics of real circuits: long straights into hairpins, chicanes, spirals.

The tables are of the 23 circuits of f1tenth_racetracks at 1:10; docs/notes/circuits.md has the figures and the command.
A corner's angle, its radius by that angle, and the straight to the next corner are drawn from them. The lap is then
closed as the other laps are (`training.sim.track.lap_shape`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compiled import kernel
from . import centerline as geometry
from .lap_shape import LapShape, box_filter, close_lap, enclosed_m2, keeps_apart, trace
from .spec import Spec

Array = NDArray[np.float64]

MOST_CORNERS = 24
_NUMBERS_OF_A_CORNER = 10
NUMBERS = 3 + _NUMBERS_OF_A_CORNER * MOST_CORNERS
# Deciles, least to most, over the circuits: corners of a lap; over their 353 corners: turn, degrees; straight after.
_CORNERS = np.array([5.0, 12.2, 14.0, 14.6, 15.0, 16.0, 17.0, 17.0, 18.6, 19.8, 20.0])
_ANGLE_DEG = np.array([12.0, 25.0, 43.0, 59.0, 71.0, 81.0, 91.0, 105.0, 128.0, 156.0, 200.0])
_STRAIGHT_M = np.array([0.3, 0.6, 2.3, 4.0, 6.0, 8.8, 12.5, 20.5, 32.1, 53.8, 110.0])
_LONGEST_STRAIGHT_M = np.array([40.0, 43.9, 48.7, 51.8, 61.0, 70.0, 80.0, 84.8, 90.2, 96.1, 110.0])
# Enclosed area by the square of the lap; a circle has 0.08.
_AREA = np.array([0.0121, 0.0133, 0.0150, 0.0160, 0.0172, 0.0188, 0.0215, 0.0245, 0.0270, 0.0293, 0.0637])
# Radius at the apex, m: turns up to 40, 75, 110 degrees, and more.
_ANGLE_CLASSES_DEG = np.array([40.0, 75.0, 110.0, 1000.0])
_RADIUS_M = np.array(
    [
        [2.2, 4.6, 5.2, 5.9, 6.5, 7.4, 8.1, 9.8, 10.8, 12.9, 17.3],
        [0.9, 1.4, 1.7, 1.9, 2.2, 2.7, 3.1, 3.4, 4.2, 6.4, 13.8],
        [0.7, 0.9, 1.1, 1.4, 1.6, 1.9, 2.7, 3.3, 4.3, 4.8, 14.3],
        [0.6, 0.9, 1.1, 1.2, 1.5, 1.9, 2.1, 2.4, 2.9, 3.8, 7.5],
    ]
)
# A lap shorter than all circuits has fewer corners, one that is longer has longer straights.
_SHORTEST_LAP_M, _LONGEST_LAP_M = 260.0, 554.0
# Below this straight, m, the next corner turns the other way: a chicane. Else so many turn against the lap's direction.
_CHICANE_M = 1.0
_OUTWARD_SHARE = 0.38
# Spirals: their share of the corners that are drawn. Few such laps close, and a policy should meet some: a lap in five
# has one then, of the circuits Shanghai alone. The opposite corner behind one leads out of it.
_SPIRAL_SHARE = 0.035
# Straights longer than this have a slight bend, every other time.
_BENT_M = 12.0
# Closing the lap may change the angle of a corner and the scale of all straights by so much.
_MOST_CHANGE_RAD = 0.25
_LEAST_SCALE, _MOST_SCALE = 0.5, 1.3
_LEAST_STRAIGHT_M = 0.2
_COARSE_M, _FINE_M = 0.4, 0.1


@kernel
def circuit(numbers: Array, spec: Spec, share: float) -> Array:
    """Return the lap (n, 2) m that the random numbers draw, or (0, 2) if it crosses itself or does not close.

    numbers: (NUMBERS,) from 0 to 1. share: of the corners that a real circuit has.
    """
    nothing = np.empty((0, 2))
    layout, corner = _draw(numbers, spec, share)
    longer = max(1.0, spec.length_m / _LONGEST_LAP_M)
    if not _turn_once(layout.turn_rad, corner) or not _scales(layout, spec.length_m, longer):
        return nothing
    if not close_lap(layout, spec.length_m):
        return nothing
    if layout.straight_m.max() > longer * 1.1 * _quantile(_LONGEST_STRAIGHT_M, numbers[1]):
        return nothing
    coarse = trace(layout, _COARSE_M)
    if enclosed_m2(coarse) > 0.8 * _quantile(_AREA, numbers[2]) * spec.length_m**2:
        return nothing
    if not keeps_apart(coarse, spec.clearance_m):
        return nothing
    fine = trace(layout, _FINE_M)
    for _ in range(2):
        fine = box_filter(fine, max(1, round(0.3 * spec.min_radius_m / _FINE_M)))
    fine *= spec.length_m / geometry.chord_lengths(fine).sum()
    return geometry.resample_closed(fine, max(8, round(spec.length_m / 0.2)))[0]


class _Corner(NamedTuple):
    """A corner: its entry, its apex and its exit are arcs that turn the same way."""

    sign: float  # 1 turns left
    degrees: float
    apex_m: float  # radius
    apex_share: float  # of the angle
    wider: float  # radius of entry and exit, in radii of the apex
    entry_share: float  # of the angle that is not the apex's
    is_spiral: bool


@kernel
def _draw(numbers: Array, spec: Spec, share: float) -> tuple[LapShape, NDArray[np.int64]]:
    """Return drawn arcs and straights, not closed yet, and of which corner each arc is; -1: of a bent straight."""
    most = 4 * MOST_CORNERS
    turn, radius, straight = np.empty(most), np.empty(most), np.empty(most)
    of_corner = np.empty(most, np.int64)
    usual = (1.6 + _quantile(_CORNERS, numbers[0])) * min(1.0, spec.length_m / _SHORTEST_LAP_M)
    count, sign, way_m, is_spiral = 0, 1.0, 10.0, False
    for c in range(max(3, round(share * usual))):
        n = numbers[3 + _NUMBERS_OF_A_CORNER * c : 3 + _NUMBERS_OF_A_CORNER * (c + 1)]
        corner = _corner(n, spec, sign, way_m, is_spiral)
        sign, is_spiral = corner.sign, corner.is_spiral
        for part in range(3):
            angle_share = corner.apex_share
            if part != 1:
                angle_share = (1.0 - angle_share) * (
                    corner.entry_share if part == 0 else 1.0 - corner.entry_share
                )
            if angle_share >= 0.01:
                turn[count] = sign * angle_share * corner.degrees * math.pi / 180.0
                radius[count] = corner.apex_m if part == 1 else corner.wider * corner.apex_m
                straight[count] = -_LEAST_STRAIGHT_M
                of_corner[count] = c
                count += 1
        way_m = 1.0 + 4.0 * n[6] if is_spiral else _quantile(_STRAIGHT_M, n[6])
        straight[count - 1] = way_m
        if way_m > _BENT_M and n[7] < 0.5:
            straight[count - 1] = way_m * (0.2 + 0.6 * n[8])
            turn[count] = (1.0 if n[7] < 0.25 else -1.0) * (3.0 + 9.0 * n[9]) * math.pi / 180.0
            radius[count] = 25.0 + 30.0 * n[9]
            straight[count] = way_m - straight[count - 1]
            of_corner[count] = -1
            count += 1
    return LapShape(turn[:count], radius[:count], straight[:count]), of_corner[:count]


@kernel
def _corner(n: Array, spec: Spec, sign: float, way_m: float, is_spiral: bool) -> _Corner:
    """Return a corner; sign, is_spiral: of the corner before, which is `way_m` back."""
    degrees = _quantile(_ANGLE_DEG, n[0])
    if is_spiral or way_m < _CHICANE_M:
        sign = -sign
    elif n[1] < _OUTWARD_SHARE:
        sign = -1.0
    else:
        sign = 1.0
    if is_spiral:  # the way out of it
        degrees = 110.0 + 80.0 * n[0]
    row = 0
    while degrees > _ANGLE_CLASSES_DEG[row]:
        row += 1
    apex_m = max(_quantile(_RADIUS_M[row], n[3]), 1.1 * spec.min_radius_m)
    if not is_spiral and n[2] < _SPIRAL_SHARE:
        entry_share = 1.0 if n[5] < 0.5 else 0.0  # tightens, or opens
        return _Corner(1.0, 270.0 + 40.0 * n[0], apex_m, 0.3, 2.5 + n[4], entry_share, True)
    # Of a tight corner more of the angle is at the apex, for at least a metre of it.
    apex_share = min(max(0.4, 57.3 / (degrees * apex_m)), 0.8)
    entry_share = 0.05 + 0.6 * n[5] if degrees > 130.0 else 0.15 + 0.7 * n[5]
    return _Corner(sign, degrees, apex_m, apex_share, 1.3 + 2.2 * n[4], entry_share, False)


@kernel
def _quantile(deciles: Array, share: float) -> float:
    """Return the value that a share of a distribution lies below, linear between its deciles."""
    at = share * (deciles.shape[0] - 1)
    row = min(int(at), deciles.shape[0] - 2)
    value: float = deciles[row] + (at - row) * (deciles[row + 1] - deciles[row])
    return value


@kernel
def _turn_once(turn: Array, corner: NDArray[np.int64]) -> bool:
    """Change the corners alike until the lap turns once round; return whether a little is enough."""
    angle = np.zeros(MOST_CORNERS)
    for i in range(turn.shape[0]):
        if corner[i] >= 0:
            angle[corner[i]] += turn[i]
    corners = corner.max() + 1
    change = (2.0 * math.pi - turn.sum()) / corners
    if abs(change) > _MOST_CHANGE_RAD:
        return False
    for i in range(turn.shape[0]):
        if corner[i] >= 0:
            whole = angle[corner[i]]
            changed = whole + change
            if changed * whole < 0.0 or abs(changed) < 0.15:
                return False
            turn[i] *= changed / whole
    return True


@kernel
def _scales(layout: LapShape, length_m: float, longer: float) -> bool:
    """Return whether the drawn straights are about as long as the lap leaves room for."""
    room = length_m - (np.abs(layout.turn_rad) * layout.radius_m).sum()
    scale = room / np.abs(layout.straight_m).sum()
    fits: bool = _LEAST_SCALE <= scale <= longer * _MOST_SCALE
    return fits
