"""Contacts: car against car (boxes; fault: contact_fault.py), car against the map (footprint, time to collision)."""

from __future__ import annotations

import math

import numpy as np

from .array_types import Cells, EitherFloats, Floats
from .compiled import inner, inner_ieee
from .lidar import Beams, View, to_cells

TIME_TO_COLLISION_S = 0.005
SAMPLES_PER_CELL = math.sqrt(2.0)


@inner
def fill_corners(x: float, y: float, yaw: float, length: float, width: float, corners: Floats) -> None:
    """Write the box's corners (4, 2), m: rear left, rear right, front right, front left."""
    c, s = math.cos(yaw), math.sin(yaw)
    for i in range(4):
        along = -length / 2 if i < 2 else length / 2
        across = width / 2 if i in (0, 3) else -width / 2
        corners[i, 0] = c * along - s * across + x
        corners[i, 1] = s * along + c * across + y


@inner
def _separated_along(ax: float, ay: float, first: Floats, second: Floats) -> bool:
    low_1 = high_1 = first[0, 0] * ax + first[0, 1] * ay
    low_2 = high_2 = second[0, 0] * ax + second[0, 1] * ay
    for i in range(1, 4):
        p = first[i, 0] * ax + first[i, 1] * ay
        q = second[i, 0] * ax + second[i, 1] * ay
        low_1, high_1 = min(low_1, p), max(high_1, p)
        low_2, high_2 = min(low_2, q), max(high_2, q)
    apart: bool = high_1 <= low_2 or high_2 <= low_1
    return apart


@inner
def boxes_overlap(first: Floats, second: Floats) -> bool:
    """Tell whether two boxes (4, 2) overlap; touching is not overlapping (separating axis theorem)."""
    for box in (first, second):
        for i in range(2):
            ax = box[i + 1, 0] - box[i, 0]
            ay = box[i + 1, 1] - box[i, 1]
            if _separated_along(ax, ay, first, second):
                return False
    return True


@inner_ieee
def scan_contact(ranges: EitherFloats, speed: float, beams: Beams) -> bool:
    """Tell whether any beam's time to collision is in [0, 5 ms): f1tenth_gym's wall contact."""
    if speed == 0.0:
        return False
    hit = False
    for i in range(ranges.size):
        ttc = (ranges[i] - beams.side_m[i]) / (speed * beams.cosine[i])
        hit |= (ttc < TIME_TO_COLLISION_S) & (ttc >= 0.0)
    return hit


@inner
def _occupied(u: float, v: float, field: Cells, view: View) -> bool:
    """Tell whether a point, in cells, is in an occupied cell or off the map."""
    if not (u >= 0 and v >= 0 and u < view.width and v < view.height):
        return True
    occupied: bool = field[view.first + np.int64(v) * view.width + np.int64(u)] <= 0.0
    return occupied


@inner
def footprint_contact(x: float, y: float, corners: Floats, field: Cells, view: View) -> bool:
    """Tell whether the body (corners (4, 2), m, centred on x, y) covers an occupied cell or leaves the map.

    The body is sampled on a lattice whose squares' diagonal is at most one cell, so that no whole cell fits between the
    points; inside too, since a fast car steps over a lone cell with its bumper. Far from walls a single value of the
    field is enough.
    """
    u, v = to_cells(x, y, view)
    if _occupied(u, v, field, view):
        return True
    clear = field[view.first + np.int64(v) * view.width + np.int64(u)]
    u0, v0 = to_cells(corners[0, 0], corners[0, 1], view)
    if clear > math.hypot(u - u0, v - v0) + 1.5:
        return False
    u1, v1 = to_cells(corners[1, 0], corners[1, 1], view)
    u3, v3 = to_cells(corners[3, 0], corners[3, 1], view)
    rows = int(math.hypot(u1 - u0, v1 - v0) * SAMPLES_PER_CELL) + 1
    columns = int(math.hypot(u3 - u0, v3 - v0) * SAMPLES_PER_CELL) + 1
    for i in range(rows + 1):
        across = i / rows
        row_u, row_v = u0 + across * (u1 - u0), v0 + across * (v1 - v0)
        for k in range(columns + 1):
            along = k / columns
            if _occupied(row_u + along * (u3 - u0), row_v + along * (v3 - v0), field, view):
                return True
    return False
