"""Contacts: car against car (boxes, and whose fault it is), car against the map (footprint, or time to collision)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from training.sim.lidar import Beams, View, to_cells
from training.sim.params import SLIP, SPEED, YAW, YAW_RATE, X, Y

TIME_TO_COLLISION_S = 0.005
SAMPLES_PER_CELL = math.sqrt(2.0)

# Where another car touches a car: the part of its own body that faces the contact.
NO_CONTACT, FRONT, SIDE, REAR = range(4)
# Slower than this towards the other a car counts as standing: it drives into nobody.
STANDING_MPS = 0.1
# Of two cars that both drive into each other, the slower is at fault too from this share of the other's speed on.
SHARED_FAULT = 0.5
# Two corners meet where the axes of both boxes free them within this ratio of time.
CORNERS_MEET = 1.1


@njit(cache=True)
def fill_corners(x: float, y: float, yaw: float, length: float, width: float, corners: np.ndarray) -> None:
    """Write the box's corners (4, 2), m: rear left, rear right, front right, front left."""
    c, s = math.cos(yaw), math.sin(yaw)
    for i in range(4):
        along = -length / 2 if i < 2 else length / 2
        across = width / 2 if i in (0, 3) else -width / 2
        corners[i, 0] = c * along - s * across + x
        corners[i, 1] = s * along + c * across + y


@njit(cache=True)
def _separated_along(ax: float, ay: float, first: np.ndarray, second: np.ndarray) -> bool:
    low_1 = high_1 = first[0, 0] * ax + first[0, 1] * ay
    low_2 = high_2 = second[0, 0] * ax + second[0, 1] * ay
    for i in range(1, 4):
        p = first[i, 0] * ax + first[i, 1] * ay
        q = second[i, 0] * ax + second[i, 1] * ay
        low_1, high_1 = min(low_1, p), max(high_1, p)
        low_2, high_2 = min(low_2, q), max(high_2, q)
    return high_1 <= low_2 or high_2 <= low_1


@njit(cache=True)
def boxes_overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether two boxes (4, 2) overlap; touching is not overlapping (separating axis theorem)."""
    for box in (first, second):
        for i in range(2):
            ax = box[i + 1, 0] - box[i, 0]
            ay = box[i + 1, 1] - box[i, 1]
            if _separated_along(ax, ay, first, second):
                return False
    return True


@njit(cache=True)
def _contact_normal(first: np.ndarray, second: np.ndarray, vx: float, vy: float) -> tuple[float, float]:
    """Return the unit vector, from the first box (4, 2) to the second, along which two overlapping boxes met.

    (vx, vy): velocity of the first relative to the second, m/s. Going back in time at that velocity, the boxes part
    along the axis that frees them first (the separating axis theorem, swept). Where an axis of either box frees them
    at about the same time a corner met a corner: then it is the middle between the two. Boxes at rest part along the
    axis of least depth.
    """
    least, shallow_x, shallow_y = np.inf, 1.0, 0.0
    soonest, nx, ny = np.full(2, np.inf), np.zeros(2), np.zeros(2)
    for b in range(2):
        box = first if b == 0 else second
        for i in range(4):
            j = (i + 1) % 4
            ax, ay = box[j, 0] - box[i, 0], box[j, 1] - box[i, 1]
            length = math.hypot(ax, ay)
            ax, ay = ax / length, ay / length
            depth = _highest(ax, ay, first) + _highest(-ax, -ay, second)
            closing = vx * ax + vy * ay
            if depth < least:
                least, shallow_x, shallow_y = depth, ax, ay
            if closing > 0.0 and depth < soonest[b] * closing:
                soonest[b], nx[b], ny[b] = depth / closing, ax, ay
    if np.isinf(soonest[0]):  # then no axis of the other closes either
        return shallow_x, shallow_y
    if soonest.max() > CORNERS_MEET * soonest.min():
        b = 0 if soonest[0] < soonest[1] else 1
        return nx[b], ny[b]
    length = math.hypot(nx.sum(), ny.sum())
    return nx.sum() / length, ny.sum() / length


@njit(cache=True)
def _highest(ax: float, ay: float, box: np.ndarray) -> float:
    top = box[0, 0] * ax + box[0, 1] * ay
    for i in range(1, 4):
        top = max(top, box[i, 0] * ax + box[i, 1] * ay)
    return top


@njit(cache=True)
def _velocity(s: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Return the velocity, m/s, of the point (x, y) of a car with state s (7,)."""
    way = s[YAW] + s[SLIP]
    turn_x, turn_y = -s[YAW_RATE] * (y - s[Y]), s[YAW_RATE] * (x - s[X])
    return s[SPEED] * math.cos(way) + turn_x, s[SPEED] * math.sin(way) + turn_y


@njit(cache=True)
def _meeting_point(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the middle of the corners that lie in the other box; of all corners where boxes cross without any."""
    x = y = 0.0
    inside = 0
    for k in range(2):
        box, other = (first, second) if k == 0 else (second, first)
        for i in range(4):
            if _contains(other, box[i, 0], box[i, 1]):
                x, y, inside = x + box[i, 0], y + box[i, 1], inside + 1
    if inside == 0:
        return (first[:, 0].sum() + second[:, 0].sum()) / 8.0, (first[:, 1].sum() + second[:, 1].sum()) / 8.0
    return x / inside, y / inside


@njit(cache=True)
def _contains(box: np.ndarray, x: float, y: float) -> bool:
    for i in range(4):
        j = (i + 1) % 4
        # The corners go round to the left: inside lies left of every edge.
        if (box[j, 0] - box[i, 0]) * (y - box[i, 1]) - (box[j, 1] - box[i, 1]) * (x - box[i, 0]) < 0.0:
            return False
    return True


@njit(cache=True)
def _touched_part(s: np.ndarray, nx: float, ny: float) -> int:
    ahead = nx * math.cos(s[YAW]) + ny * math.sin(s[YAW])
    if ahead > math.sqrt(0.5):
        return FRONT
    return REAR if ahead < -math.sqrt(0.5) else SIDE


@njit(cache=True)
def judge_contact(
    s1: np.ndarray, s2: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[bool, bool, int, int]:
    """Say of two cars in contact who is at fault, and which part of each is touched.

    s1, s2: states (7,); first, second: their corners (4, 2) m. Returns (fault of 1, of 2, part of 1, of 2).

    A car is at fault if it drives into the other: its speed along the contact's normal, at the point of contact, is
    above STANDING_MPS and at least SHARED_FAULT of the other's towards it. So who runs into the rear or the side of
    another is at fault, who is hit there is not; of two side by side the one that moves over; who backs into somebody.
    Head on (front against front) every car that moves is. Where neither moves towards the other, both are.
    """
    x, y = _meeting_point(first, second)
    v1x, v1y = _velocity(s1, x, y)
    v2x, v2y = _velocity(s2, x, y)
    nx, ny = _contact_normal(first, second, v1x - v2x, v1y - v2y)
    part_1, part_2 = _touched_part(s1, nx, ny), _touched_part(s2, -nx, -ny)
    into_2, into_1 = v1x * nx + v1y * ny, -v2x * nx - v2y * ny
    share = 0.0 if part_1 == FRONT and part_2 == FRONT else SHARED_FAULT
    fault_1 = into_2 > STANDING_MPS and into_2 >= share * into_1
    fault_2 = into_1 > STANDING_MPS and into_1 >= share * into_2
    if not (fault_1 or fault_2):
        return True, True, part_1, part_2
    return fault_1, fault_2, part_1, part_2


@njit(cache=True, error_model="numpy")
def scan_contact(ranges: np.ndarray, speed: float, beams: Beams) -> bool:
    """Tell whether any beam's time to collision is in [0, 5 ms): f1tenth_gym's wall contact."""
    if speed == 0.0:
        return False
    hit = False
    for i in range(ranges.size):
        ttc = (ranges[i] - beams.side_m[i]) / (speed * beams.cosine[i])
        hit |= (ttc < TIME_TO_COLLISION_S) & (ttc >= 0.0)
    return hit


@njit(cache=True)
def _occupied(u: float, v: float, field: np.ndarray, view: View) -> bool:
    """Tell whether a point, in cells, lies in an occupied cell or off the map."""
    if not (u >= 0 and v >= 0 and u < view.width and v < view.height):
        return True
    return field[view.first + np.int64(v) * view.width + np.int64(u)] <= 0.0


@njit(cache=True)
def footprint_contact(x: float, y: float, corners: np.ndarray, field: np.ndarray, view: View) -> bool:
    """Tell whether the body (corners (4, 2), m, centred on x, y) covers an occupied cell or leaves the map.

    The body is sampled on a lattice whose squares' diagonal is at most one cell, so that no whole cell fits between
    the points; inside too, since a fast car steps over a lone cell with its bumper. Far from walls one look at the
    field answers.
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
