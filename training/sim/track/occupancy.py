"""The grid of free cells in the world: which cell holds a point, how far a walk stays free."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compiled import kernel

Array = NDArray[np.float64]

FREE, WALL, OUTSIDE = 0, 1, 2


class Frame(NamedTuple):
    """The position of the grid in the world; row 0 is at the bottom, column 0 at the left."""

    resolution_m: float
    x_m: float
    y_m: float
    cos_yaw: float
    sin_yaw: float


def frame_of(resolution_m: float, origin: tuple[float, float, float]) -> Frame:
    """Return the frame of a map whose lower left corner is at `origin` (x m, y m, yaw rad)."""
    return Frame(resolution_m, origin[0], origin[1], math.cos(origin[2]), math.sin(origin[2]))


@kernel
def to_map(frame: Frame, x: float, y: float) -> tuple[float, float]:
    """Return (right m, up m) of a world point in the map's own axes."""
    dx = x - frame.x_m
    dy = y - frame.y_m
    return dx * frame.cos_yaw + dy * frame.sin_yaw, -dx * frame.sin_yaw + dy * frame.cos_yaw


@kernel
def to_world(frame: Frame, right: float, up: float) -> tuple[float, float]:
    """Return (x m, y m) of a point given in the map's own axes."""
    x = frame.x_m + right * frame.cos_yaw - up * frame.sin_yaw
    y = frame.y_m + right * frame.sin_yaw + up * frame.cos_yaw
    return x, y


@kernel
def what_is_at(free: NDArray[np.bool_], frame: Frame, x: float, y: float) -> tuple[int, int, int]:
    """Return (FREE, WALL or OUTSIDE; row; column) of a world point."""
    right, up = to_map(frame, x, y)
    row = math.floor(up / frame.resolution_m)
    col = math.floor(right / frame.resolution_m)
    if row < 0 or row >= free.shape[0] or col < 0 or col >= free.shape[1]:
        return OUTSIDE, row, col
    return (FREE if free[row, col] else WALL), row, col


@kernel
def first_obstacle(
    free: NDArray[np.bool_], frame: Frame, points: Array
) -> tuple[int, int, float, float, int, int]:
    """Walk the closed polyline in half cells; return where it first leaves the free cells.

    points: (n, 2) m. Result: (WALL or OUTSIDE, or FREE if it never does; index of the point last
    passed; x m; y m; row; column).
    """
    n = points.shape[0]
    for i in range(n):
        j = (i + 1) % n
        dx = points[j, 0] - points[i, 0]
        dy = points[j, 1] - points[i, 1]
        steps = max(1, math.ceil(math.sqrt(dx * dx + dy * dy) / (0.5 * frame.resolution_m)))
        for k in range(steps):
            x = points[i, 0] + dx * k / steps
            y = points[i, 1] + dy * k / steps
            kind, row, col = what_is_at(free, frame, x, y)
            if kind != FREE:
                return kind, i, x, y, row, col
    return FREE, -1, 0.0, 0.0, 0, 0


@kernel
def carve(shape: tuple[int, int], frame: Frame, points: Array, half_widths: Array) -> NDArray[np.bool_]:
    """Return the cells whose centre is nearer to the closed polyline than its half width there.

    shape: rows, columns. points: (n, 2) m. half_widths: (n, 2) m to the right and left, linear between
    points. The frame must not be turned. Exact, cell by cell, where a transform of the drawn line would
    be half a cell off.
    """
    free = np.zeros(shape, np.bool_)
    nearest = np.full(shape, math.inf)
    n = points.shape[0]
    reach = half_widths.max() + frame.resolution_m
    for i in range(n):
        j = (i + 1) % n
        ax = points[i, 0] - frame.x_m
        ay = points[i, 1] - frame.y_m
        dx = points[j, 0] - points[i, 0]
        dy = points[j, 1] - points[i, 1]
        squared_length = dx * dx + dy * dy
        for row in _span(ay, ay + dy, reach, frame.resolution_m, shape[0]):
            py = (row + 0.5) * frame.resolution_m - ay
            for col in _span(ax, ax + dx, reach, frame.resolution_m, shape[1]):
                px = (col + 0.5) * frame.resolution_m - ax
                t = min(max((px * dx + py * dy) / squared_length, 0.0), 1.0)
                qx = px - t * dx
                qy = py - t * dy
                squared = qx * qx + qy * qy
                if squared < nearest[row, col]:
                    nearest[row, col] = squared
                    side = 1 if dx * qy - dy * qx > 0.0 else 0
                    width = (1.0 - t) * half_widths[i, side] + t * half_widths[j, side]
                    free[row, col] = squared < width * width
    return free


@kernel
def _span(one: float, other: float, reach: float, cell: float, count: int) -> range:
    """Return the cells of one axis within `reach` of the way from one to other, inside the grid."""
    first = math.floor((min(one, other) - reach) / cell)
    last = math.floor((max(one, other) + reach) / cell)
    return range(max(0, first), min(count, last + 1))


@kernel
def reachable(free: NDArray[np.bool_], row: int, col: int) -> NDArray[np.bool_]:
    """Return (H, W): the free cells that are joined, side by side, to the given one."""
    height, width = free.shape
    seen = np.zeros((height, width), np.bool_)
    waiting = np.empty((height * width, 2), np.int32)
    count = 0
    if free[row, col]:
        seen[row, col] = True
        waiting[0] = row, col
        count = 1
    while count > 0:
        count -= 1
        row, col = waiting[count]
        for up, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            r, c = row + up, col + right
            inside = 0 <= r < height and 0 <= c < width
            if inside and free[r, c] and not seen[r, c]:
                seen[r, c] = True
                waiting[count] = r, c
                count += 1
    return seen
