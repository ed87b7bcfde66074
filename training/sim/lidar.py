"""The lidar: sphere tracing through the distance field, a dozen beams abreast, and other cars drawn in.

A beam at (u, v), in map cells, may go as far as the distance field says there is nothing. Beams of one group take
their steps together: the loop over the group has no branch, so it fills the processor's lanes, and the group ends when
all its beams have. A finished beam stands in an occupied cell where the field is 0, so its further steps are no-ops
and need no mask. See docs/simulator.md for the reference's rules that are kept to the letter.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from training.sim.params import Lidar

# Beams that march together. 12 and 16 measured best of 8 to 120 (18 us for 1,080 beams, one by one 65 us).
LANES = 12
# f1tenth_gym ends a ray where the field is at most 0.1 mm; a free cell's value is never below one resolution.
HIT_CELLS = 1e-3
TABLE_SIZE = 2000
_TWO_PI = 2.0 * math.pi


class Beams(NamedTuple):
    """Hold the tables of one lidar: angles in the car's frame, rad, and their sines and cosines."""

    angle: np.ndarray  # (beams,)
    cosine: np.ndarray  # (beams,)
    sine: np.ndarray  # (beams,)
    side_m: np.ndarray  # (beams,) from the scanner to the body's edge, for time to collision
    table_cosine: np.ndarray  # (2000,)
    table_sine: np.ndarray  # (2000,)
    fov_rad: float
    max_range_m: float


class View(NamedTuple):
    """Hold one map's field as the lidar walks it: values and coordinates in cells."""

    first: int  # index of the map's cell (0, 0) in the flat field
    width: int
    height: int
    origin_x: float
    origin_y: float
    cosine: float  # of the origin's yaw
    sine: float
    resolution_m: float


def make_beams(lidar: Lidar, body_width_m: float, wheelbase_m: float) -> Beams:
    """Return the tables for a lidar; the sides are f1tenth_gym's: half width and half wheelbase."""
    increment = lidar.fov_rad / max(lidar.beams - 1, 1)
    angle = -lidar.fov_rad / 2.0 + np.arange(lidar.beams) * increment
    side = np.empty(lidar.beams)
    half_width, half_length = body_width_m / 2.0, wheelbase_m / 2.0
    for i, a in enumerate(np.abs(angle)):
        with np.errstate(divide="ignore"):
            if a < np.pi / 2:
                to_side, to_front = np.divide(half_width, np.sin(a)), np.divide(half_length, np.cos(a))
            else:
                to_side = np.divide(half_width, np.cos(a - np.pi / 2))
                to_front = np.divide(half_length, np.sin(a - np.pi / 2))
        side[i] = min(to_side, to_front)
    table = np.linspace(0.0, 2 * np.pi, num=TABLE_SIZE)  # the end point is in it, as in f1tenth_gym
    return Beams(
        angle,
        np.cos(angle),
        np.sin(angle),
        side,
        np.cos(table),
        np.sin(table),
        lidar.fov_rad,
        lidar.max_range_m,
    )


@njit(cache=True)
def to_cells(x: float, y: float, view: View) -> tuple[float, float]:
    """Return (column, row), in cells, of a point given in metres."""
    dx, dy = x - view.origin_x, y - view.origin_y
    u = (dx * view.cosine + dy * view.sine) / view.resolution_m
    v = (-dx * view.sine + dy * view.cosine) / view.resolution_m
    return u, v


@njit(cache=True)
def table_directions(yaw: float, beams: Beams, view: View, du: np.ndarray, dv: np.ndarray) -> None:
    """Fill the beams' directions in map axes from the table of 2,000, index truncated, as f1tenth_gym does."""
    n = beams.angle.size
    increment = TABLE_SIZE * (beams.fov_rad / max(n - 1, 1)) / _TWO_PI
    index = np.fmod(TABLE_SIZE * (yaw - beams.fov_rad / 2.0) / _TWO_PI, float(TABLE_SIZE))
    while index < 0:
        index += TABLE_SIZE
    for i in range(n):
        c, s = beams.table_cosine[int(index)], beams.table_sine[int(index)]
        du[i] = c * view.cosine + s * view.sine
        dv[i] = -c * view.sine + s * view.cosine
        index += increment
        while index >= TABLE_SIZE:
            index -= TABLE_SIZE


@njit(cache=True)
def exact_directions(yaw: float, beams: Beams, view: View, du: np.ndarray, dv: np.ndarray) -> None:
    """Fill the beams' directions in map axes by turning the car's beams by its yaw."""
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    c = cos_yaw * view.cosine + sin_yaw * view.sine
    s = sin_yaw * view.cosine - cos_yaw * view.sine
    for i in range(beams.angle.size):
        du[i] = c * beams.cosine[i] - s * beams.sine[i]
        dv[i] = s * beams.cosine[i] + c * beams.sine[i]


@njit(cache=True, error_model="numpy")
def cast(  # noqa: PLR0913 - the kernel's arrays; a tuple of them would hide which one it writes
    start: tuple[float, float],
    du: np.ndarray,
    dv: np.ndarray,
    field: np.ndarray,
    view: View,
    max_range_m: float,
    ranges: np.ndarray,
) -> None:
    """Write the range, m, of every beam from a start, cells, along its direction.

    field: distance in cells to the nearest occupied cell, all maps one after the other. A point off the map reads the
    map's last cell, as f1tenth_gym does; with a closed border that cell is a wall.
    """
    n = ranges.size
    width, height = np.int64(view.width), np.int64(view.height)
    last = view.first + width * height - 1
    u, v, total = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    cu, cv = np.empty(LANES), np.empty(LANES)
    limit = max_range_m / view.resolution_m
    for begin in range(0, n, LANES):
        lanes = min(LANES, n - begin)
        for k in range(LANES):
            beam = begin + min(k, lanes - 1)
            u[k], v[k], total[k] = start[0], start[1], 0.0
            cu[k], cv[k] = du[beam], dv[beam]
        marching = True
        while marching:
            longest, nearest = 0.0, limit
            for k in range(LANES):
                a, b = u[k], v[k]
                inside = (a >= 0) & (b >= 0) & (a < width) & (b < height)
                cell = view.first + np.int64(b) * width + np.int64(a)
                d = np.float64(field[cell if inside else last])
                u[k] = a + d * cu[k]
                v[k] = b + d * cv[k]
                total[k] += d
                # A beam past its range counts as finished.
                longest = max(longest, d if total[k] <= limit else 0.0)
            marching = longest > HIT_CELLS
        for k in range(lanes):
            ranges[begin + k] = min(total[k], limit) * view.resolution_m


@njit(cache=True)
def _nearest_beam(angle: float, beams: Beams) -> int:
    """Return the first index whose beam is nearest to an angle in the car's frame."""
    n = beams.angle.size
    if n == 1:
        return 0
    increment = beams.fov_rad / (n - 1)
    guess = int(math.floor((angle - beams.angle[0]) / increment))
    best = min(max(guess - 1, 0), n - 1)
    for i in range(best + 1, min(guess + 3, n)):
        if abs(beams.angle[i] - angle) < abs(beams.angle[best] - angle):
            best = i
    return best


@njit(cache=True)
def _edge_range(ox: float, oy: float, cos_beam: float, sin_beam: float, edge: np.ndarray) -> float:
    """Return the distance, m, along a beam to an edge (ax, ay, bx, by), infinite where it misses."""
    ax, ay, bx, by = edge[0], edge[1], edge[2], edge[3]
    v1x, v1y = ox - ax, oy - ay
    v2x, v2y = bx - ax, by - ay
    # The beam's normal, cos and sin of the beam's angle + pi/2.
    denominator = -v2x * sin_beam + v2y * cos_beam
    if abs(denominator) > 0.0:
        along = (v2x * v1y - v2y * v1x) / denominator
        across = (-v1x * sin_beam + v1y * cos_beam) / denominator
        if along >= 0.0 and 0.0 <= across <= 1.0:
            return along
        return np.inf
    if abs(v2x * (ay - oy) - v2y * (ax - ox)) < 1e-8:  # noqa: PLR2004 - f1tenth_gym's tolerance
        return min(math.hypot(ax - ox, ay - oy), math.hypot(bx - ox, by - oy))
    return np.inf


@njit(cache=True)
def draw_car(pose: tuple[float, float, float], corners: np.ndarray, beams: Beams, ranges: np.ndarray) -> None:
    """Shorten the ranges of a scanner at a pose (x m, y m, yaw rad) that meet a car's box (4, 2).

    Only beams between the smallest and the largest that a corner blocks are looked at, as in f1tenth_gym.
    """
    x, y, yaw = pose
    # Wrapped as f1tenth_gym's arctan2 of the heading does.
    heading = math.atan2(math.sin(yaw), math.cos(yaw))
    low, high = ranges.size, -1
    for i in range(4):
        angle = heading - math.atan2(corners[i, 1] - y, corners[i, 0] - x)
        if angle > math.pi:
            angle -= _TWO_PI
        elif angle < -math.pi:
            angle += _TWO_PI
        beam = _nearest_beam(-angle, beams)
        low, high = min(low, beam), max(high, beam)
    edge = np.empty(4)
    for beam in range(low, high + 1):
        cos_beam, sin_beam = math.cos(yaw + beams.angle[beam]), math.sin(yaw + beams.angle[beam])
        for j in range(4):
            edge[0], edge[1] = corners[j, 0], corners[j, 1]
            edge[2], edge[3] = corners[(j + 1) % 4, 0], corners[(j + 1) % 4, 1]
            ranges[beam] = min(ranges[beam], _edge_range(x, y, cos_beam, sin_beam, edge))
