"""The lidar: sphere tracing through the distance field (training.sim.march), and other cars drawn in.

A beam at (u, v), in map cells, may advance as far as the distance field says that space is free. See docs/simulator.md
for the reference's rules, which are followed exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .array_types import EitherFloats, Floats
from .compiled import inner, inner_ieee, kernel
from .march import HIT_CELLS, LANES, march_checked, march_inside
from .params import Lidar

TABLE_SIZE = 2000
# f1tenth_gym's measure of a point in line with an edge: twice the area of the triangle that they make.
IN_LINE_M2 = 1e-8
_TWO_PI = 2.0 * math.pi


class Beams(NamedTuple):
    """Hold the tables of one lidar: angles in the car's frame, rad, and their sines and cosines."""

    angle: Floats  # (beams,)
    cosine: Floats  # (beams,)
    sine: Floats  # (beams,)
    side_m: Floats  # (beams,) from the scanner to the body's edge, for time to collision
    farthest_side_m: float
    table_cosine: Floats  # (2000,)
    table_sine: Floats  # (2000,)
    fov_rad: float
    max_range_m: float


class Rays(NamedTuple):
    """Hold one scan's rays while they are cast, in cells; beams and what fills them up to whole groups of LANES."""

    du: Floats  # direction along the columns
    dv: Floats  # along the rows
    way: Floats  # how far each came


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
    closed: bool  # its outermost cells are all occupied: no beam can leave it
    thin: bool  # its field is shortened around thin walls, and is NEAR next to them


def make_beams(lidar: Lidar, body_width_m: float, wheelbase_m: float) -> Beams:
    """Return the tables for a lidar; the sides are f1tenth_gym's: half width and half wheelbase."""
    increment = lidar.fov_rad / max(lidar.beams - 1, 1)
    angle = -lidar.fov_rad / 2.0 + np.arange(lidar.beams, dtype=np.float64) * increment
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
        float(side.max()),
        np.cos(table),
        np.sin(table),
        lidar.fov_rad,
        lidar.max_range_m,
    )


@inner
def to_cells(x: float, y: float, view: View) -> tuple[float, float]:
    """Return (column, row), in cells, of a point given in metres."""
    dx, dy = x - view.origin_x, y - view.origin_y
    u = (dx * view.cosine + dy * view.sine) / view.resolution_m
    v = (-dx * view.sine + dy * view.cosine) / view.resolution_m
    return u, v


@inner
def table_directions(yaw: float, beams: Beams, view: View, rays: Rays) -> None:
    """Fill the beams' directions in map axes from the table of 2,000, index truncated, as f1tenth_gym does."""
    n, du, dv = beams.angle.size, rays.du, rays.dv
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


@inner
def exact_directions(yaw: float, beams: Beams, view: View, rays: Rays) -> None:
    """Fill the beams' directions in map axes by turning the car's beams by its yaw."""
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    c = cos_yaw * view.cosine + sin_yaw * view.sine
    s = sin_yaw * view.cosine - cos_yaw * view.sine
    du, dv = rays.du, rays.dv
    for i in range(beams.angle.size):
        du[i] = c * beams.cosine[i] - s * beams.sine[i]
        dv[i] = s * beams.cosine[i] + c * beams.sine[i]


@kernel
def make_rays(beams: int, field: EitherFloats) -> Rays:
    """Return room for a scan's rays, whole groups of LANES, of the field's type: beams march in it."""
    total = (beams + LANES - 1) // LANES * LANES
    return Rays(np.empty(total, field.dtype), np.empty(total, field.dtype), np.empty(total, field.dtype))


@inner
def _walk_on(
    start: tuple[float, float],
    group: tuple[int, int],
    rays: Rays,
    limit: float,
    field: EitherFloats,
    view: View,
) -> None:
    """Trace to their end those of a group's beams that have come next to a thin wall.

    group: the first beam, and a bit for each that has, as the march returns it.
    """
    first, beside = group
    for i in range(LANES):
        if beside >> i & 1:
            k = first + i
            rays.way[k] = _walked(start, (rays.du[k], rays.dv[k]), rays.way[k], limit, field, view)


@inner
def _walked(
    start: tuple[float, float],
    direction: tuple[float, float],
    way: float,
    limit: float,
    field: EitherFloats,
    view: View,
) -> float:
    """Return the distance, cells, to the wall of a beam that has marched as far as `way`.

    Next to thin walls it goes from cell to cell (Amanatides and Woo, "A fast voxel traversal algorithm for ray
    tracing", 1987), through the edges, so that no wall is stepped over, and ends where it enters an occupied one.
    """
    su, sv = np.float64(start[0]), np.float64(start[1])
    du, dv = np.float64(direction[0]), np.float64(direction[1])
    # A beam along an axis never crosses the edges parallel to it.
    per_col, per_row = 1.0 / du if du != 0.0 else 0.0, 1.0 / dv if dv != 0.0 else 0.0
    gone: float = np.float64(way)
    col, row = math.floor(su + gone * du), math.floor(sv + gone * dv)
    while gone <= limit:
        if not (0 <= col < view.width and 0 <= row < view.height):
            return limit
        clear = field[view.first + row * view.width + col]
        if clear <= 0.0:
            return gone
        if clear > HIT_CELLS:
            gone += clear
            col, row = math.floor(su + gone * du), math.floor(sv + gone * dv)
            continue
        to_side = (col + (du > 0.0) - su) * per_col if du != 0.0 else np.inf
        to_end = (row + (dv > 0.0) - sv) * per_row if dv != 0.0 else np.inf
        if to_side < to_end:
            gone = max(gone, to_side)
            col += 1 if du > 0.0 else -1
        else:
            gone = max(gone, to_end)
            row += 1 if dv > 0.0 else -1
    return gone


@inner_ieee
def cast(
    start: tuple[float, float],
    rays: Rays,
    field: EitherFloats,
    view: View,
    max_range_m: float,
    ranges: EitherFloats,
) -> float:
    """Write the range, m, of every beam from a start, cells, along its direction; return the shortest.

    rays: filled with the beams' directions.
    field: distance in cells to the nearest occupied cell, or less (training.sim.thin_walls), all maps one after the
    other. A point off the map reads the map's last cell, as f1tenth_gym does; with a closed border that cell is a wall.
    """
    du, dv, way = rays.du, rays.dv, rays.way
    n, total = ranges.size, du.size
    width, height = np.int64(view.width), np.int64(view.height)
    kind = du.dtype.type
    for k in range(n, total):
        du[k], dv[k] = du[n - 1], dv[n - 1]
    here = (start[0] >= 0) & (start[1] >= 0) & (start[0] < width) & (start[1] < height)
    cell = np.int64(start[1]) * width + np.int64(start[0]) if here else width * height - 1
    # All beams begin in the same cell, so their first step is as long.
    origin = (kind(start[0]), kind(start[1]), kind(field[view.first + cell]))
    grid, limit = (np.int64(view.first), width, height), kind(max_range_m / view.resolution_m)
    if view.closed and here:
        for k in range(0, total, LANES):
            beside = march_inside(k, origin, du, dv, field, grid, limit, way)
            if view.thin and beside:
                _walk_on(start, (k, beside), rays, limit, field, view)
    else:
        for k in range(0, total, LANES):
            beside = march_checked(k, origin, du, dv, field, grid, limit, way)
            if view.thin and beside:
                _walk_on(start, (k, beside), rays, limit, field, view)
    shortest: float = np.inf
    for k in range(n):
        ranges[k] = min(way[k], limit) * view.resolution_m
        shortest = min(shortest, ranges[k])
    return shortest


@inner
def _nearest_beam(angle: float, beams: Beams) -> int:
    """Return the first index whose beam is nearest to an angle in the car's frame."""
    n = beams.angle.size
    if n == 1:
        return 0
    increment = beams.fov_rad / (n - 1)
    guess = math.floor((angle - beams.angle[0]) / increment)
    best: int = min(max(guess - 1, 0), n - 1)
    for i in range(best + 1, min(guess + 3, n)):
        if abs(beams.angle[i] - angle) < abs(beams.angle[best] - angle):
            best = i
    return best


@inner
def _blocked_beams(pose: tuple[float, float, float], corners: Floats, beams: Beams) -> tuple[int, int]:
    """Return the span (first, stop) of beams in which f1tenth_gym looks for a car with these corners (4, 2).

    They are the smallest and the largest of the beams nearest to a corner. For a car across the blind spot behind the
    scanner that is the whole scan.
    """
    x, y, yaw = pose
    heading = math.atan2(math.sin(yaw), math.cos(yaw))  # in -pi..pi
    low, high = beams.angle.size, -1
    for i in range(4):
        angle = heading - math.atan2(corners[i, 1] - y, corners[i, 0] - x)
        if angle > math.pi:
            angle -= _TWO_PI
        elif angle < -math.pi:
            angle += _TWO_PI
        beam = _nearest_beam(-angle, beams)
        low, high = min(low, beam), max(high, beam)
    return low, high + 1


@inner_ieee
def _draw_edge(
    pose: tuple[float, float, float],
    edge: tuple[float, float, float, float],
    span: tuple[int, int],
    beams: Beams,
    ranges: EitherFloats,
) -> None:
    """Shorten the ranges of the beams in a span (first, stop) that meet an edge (ax, ay, bx, by).

    The loop has no branch, so beams are looked at eight abreast. A beam parallel to the edge divides by zero: numpy's
    rules give infinities and NaN there, and no comparison with those holds.
    """
    x, y, yaw = pose
    ax, ay, bx, by = edge
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    v1x, v1y = x - ax, y - ay
    v2x, v2y = bx - ax, by - ay
    cross = v2x * v1y - v2y * v1x
    # Seen along its own line an edge is as far as its nearer end.
    end = min(math.hypot(ax - x, ay - y), math.hypot(bx - x, by - y)) if abs(cross) < IN_LINE_M2 else np.inf
    # Slices, so that the loop counts from 0: an index that might be negative cannot be vectorised.
    first, stop = span
    cosine, sine, seen = beams.cosine[first:stop], beams.sine[first:stop], ranges[first:stop]
    for i in range(seen.size):
        c = cos_yaw * cosine[i] - sin_yaw * sine[i]
        s = sin_yaw * cosine[i] + cos_yaw * sine[i]
        denominator = v2y * c - v2x * s
        along = cross / denominator
        across = (v1y * c - v1x * s) / denominator
        met = (along >= 0.0) & (across >= 0.0) & (across <= 1.0)
        seen[i] = min(seen[i], along if met else (end if denominator == 0.0 else np.inf))


@inner
def draw_car(pose: tuple[float, float, float], corners: Floats, beams: Beams, ranges: EitherFloats) -> None:
    """Shorten the ranges of a scanner at a pose (x m, y m, yaw rad) that meet a car's box (4, 2)."""
    span = _blocked_beams(pose, corners, beams)
    for i in range(4):
        j = (i + 1) % 4
        edge = (corners[i, 0], corners[i, 1], corners[j, 0], corners[j, 1])
        _draw_edge(pose, edge, span, beams, ranges)
