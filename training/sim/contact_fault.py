"""The fault for a contact of two cars, and where it touches them."""

from __future__ import annotations

import math

import numpy as np

from .array_types import Floats
from .compiled import inner
from .params import SLIP, SPEED, YAW, YAW_RATE, X, Y

# The part of a car's own body that faces its contact with another car.
NO_CONTACT, FRONT, SIDE, REAR = range(4)
# A car slower than this towards the other counts as standing: it does not drive into the other.
STANDING_MPS = 0.1
# Of two cars that both drive into each other, the slower is at fault too from this share of the other's speed on.
SHARED_FAULT = 0.5
# Two corners meet where the axes of both boxes free them within this ratio of time.
CORNERS_MEET = 1.1


@inner
def _contact_normal(first: Floats, second: Floats, vx: float, vy: float) -> tuple[float, float]:
    """Return the unit vector, from the first box (4, 2) to the second, along which two overlapping boxes met.

    (vx, vy): velocity of the first relative to the second, m/s. Going back in time at that velocity, the boxes part
    along the axis that frees them first (the separating axis theorem, swept). If an axis of either box frees them at
    about the same time, a corner met a corner: then the normal is the middle between the two axes. Boxes at rest part
    along the axis of least depth.
    """
    soon_1, x_1, y_1, depth_1, shallow_x_1, shallow_y_1 = _freeing_axis(first, first, second, vx, vy)
    soon_2, x_2, y_2, depth_2, shallow_x_2, shallow_y_2 = _freeing_axis(second, first, second, vx, vy)
    if np.isinf(soon_1):  # then no axis of the other closes either
        return (shallow_x_2, shallow_y_2) if depth_2 < depth_1 else (shallow_x_1, shallow_y_1)
    if max(soon_1, soon_2) > CORNERS_MEET * min(soon_1, soon_2):
        return (x_1, y_1) if soon_1 < soon_2 else (x_2, y_2)
    length = math.hypot(x_1 + x_2, y_1 + y_2)
    return (x_1 + x_2) / length, (y_1 + y_2) / length


@inner
def _freeing_axis(
    box: Floats, first: Floats, second: Floats, vx: float, vy: float
) -> tuple[float, float, float, float, float, float]:
    """Of one box's axes: (time s, x, y) of the one that parts the two first, (depth m, x, y) of the least deep."""
    soonest, nx, ny = np.inf, 0.0, 0.0
    least, shallow_x, shallow_y = np.inf, 1.0, 0.0
    for i in range(4):
        j = (i + 1) % 4
        ax, ay = box[j, 0] - box[i, 0], box[j, 1] - box[i, 1]
        length = math.hypot(ax, ay)
        ax, ay = ax / length, ay / length
        depth = _highest(ax, ay, first) + _highest(-ax, -ay, second)
        closing = vx * ax + vy * ay
        if depth < least:
            least, shallow_x, shallow_y = depth, ax, ay
        if closing > 0.0 and depth < soonest * closing:
            soonest, nx, ny = depth / closing, ax, ay
    return soonest, nx, ny, least, shallow_x, shallow_y


@inner
def _highest(ax: float, ay: float, box: Floats) -> float:
    top: float = box[0, 0] * ax + box[0, 1] * ay
    for i in range(1, 4):
        top = max(top, box[i, 0] * ax + box[i, 1] * ay)
    return top


@inner
def _velocity(s: Floats, x: float, y: float) -> tuple[float, float]:
    """Return the velocity, m/s, of the point (x, y) of a car with state s (7,)."""
    way = s[YAW] + s[SLIP]
    turn_x, turn_y = -s[YAW_RATE] * (y - s[Y]), s[YAW_RATE] * (x - s[X])
    return s[SPEED] * math.cos(way) + turn_x, s[SPEED] * math.sin(way) + turn_y


@inner
def _meeting_point(first: Floats, second: Floats) -> tuple[float, float]:
    """Return the middle of the corners inside the other box; of all corners where boxes cross without any."""
    x = y = 0.0
    inside = 0
    for k in range(2):
        box, other = (first, second) if k == 0 else (second, first)
        for i in range(4):
            if _contains(other, box[i, 0], box[i, 1]):
                x, y, inside = x + box[i, 0], y + box[i, 1], inside + 1
    if inside == 0:
        for i in range(4):
            x, y = x + (first[i, 0] + second[i, 0]) / 8.0, y + (first[i, 1] + second[i, 1]) / 8.0
        return x, y
    return x / inside, y / inside


@inner
def _contains(box: Floats, x: float, y: float) -> bool:
    for i in range(4):
        j = (i + 1) % 4
        # The corners go round to the left: the inside is left of every edge.
        if (box[j, 0] - box[i, 0]) * (y - box[i, 1]) - (box[j, 1] - box[i, 1]) * (x - box[i, 0]) < 0.0:
            return False
    return True


@inner
def _touched_part(s: Floats, nx: float, ny: float) -> int:
    ahead = nx * math.cos(s[YAW]) + ny * math.sin(s[YAW])
    if ahead > math.sqrt(0.5):
        return FRONT
    return REAR if ahead < -math.sqrt(0.5) else SIDE


@inner
def judge_contact(s1: Floats, s2: Floats, first: Floats, second: Floats) -> tuple[bool, bool, int, int]:
    """Say of two cars in contact who is at fault, and which part of each is touched.

    s1, s2: states (7,); first, second: their corners (4, 2) m. Returns (fault of 1, of 2, part of 1, of 2).

    A car is at fault if it drives into the other: its speed along the contact's normal, at the point of contact, is
    above STANDING_MPS and at least SHARED_FAULT of the other's towards it. So a car that runs into the rear or the side
    of another is at fault, and the car that is hit there is not. Of two cars side by side the one that moves over is at
    fault; so is a car that backs into another. Head on (front against front) every moving car is at fault. If neither
    moves towards the other, both are.
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
