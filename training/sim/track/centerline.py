"""Geometry of a closed curve: even resampling, headings, curvature, and the way back from a point.

A curve is an (n, 2) array of points in metres; the last point joins the first, which is not repeated.
Between two points the curve is a straight chord and its tangent turns linearly from one point's
tangent to the next. `project` inverts exactly this, so progress along the track has no jumps.

Everything is + - x ÷ √ in scalar loops (the angles for output apart): the same numbers on every machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compiled import inner, kernel

Array = NDArray[np.float64]

# Points searched on each side of the hint in `project`: 3 m at the usual 0.2 m, far beyond a step's way.
PROJECTION_WINDOW = 15
# Pieces into which a spline segment is cut to measure its length.
_PIECES = 16
# Shorter than this a direction means nothing.
_TINY = 1e-9
# Two chords of a straight span no more than this: rounding, not a crossing.
_COLLINEAR_M2 = 1e-12


class Curve(NamedTuple):
    """The data of a curve that `project` and `pose_at` need; `Track.curve` is one."""

    points: NDArray[np.float64]  # (n, 2) m
    tangent: NDArray[np.float64]  # (n, 2), unit
    arc_m: NDArray[np.float64]  # (n,) m, from 0
    length_m: float  # once round


@kernel
def chord_lengths(points: Array) -> Array:
    """Return (n,) m: the distance from each point to the next, the last to the first."""
    n = points.shape[0]
    chords = np.empty(n)
    for i in range(n):
        j = (i + 1) % n
        dx = points[j, 0] - points[i, 0]
        dy = points[j, 1] - points[i, 1]
        chords[i] = math.sqrt(dx * dx + dy * dy)
    return chords


@kernel
def cumulative(chords: Array) -> Array:
    """Return (n,) m: the arc length at each point, from 0."""
    arc = np.empty(chords.shape[0])
    total = 0.0
    for i in range(chords.shape[0]):
        arc[i] = total
        total += chords[i]
    return arc


@kernel
def tangents(points: Array, chords: Array) -> Array:
    """Return (n, 2): the unit tangent at each point, midway between its two chords' directions."""
    n = points.shape[0]
    result = np.empty((n, 2))
    for i in range(n):
        before = (i - 1) % n
        after = (i + 1) % n
        tx = (points[i, 0] - points[before, 0]) / chords[before] + (points[after, 0] - points[i, 0]) / chords[
            i
        ]
        ty = (points[i, 1] - points[before, 1]) / chords[before] + (points[after, 1] - points[i, 1]) / chords[
            i
        ]
        norm = math.sqrt(tx * tx + ty * ty)
        if norm < _TINY:  # the curve turns back on itself: any tangent is as good as another
            tx, ty, norm = points[after, 0] - points[i, 0], points[after, 1] - points[i, 1], chords[i]
        result[i, 0] = tx / norm
        result[i, 1] = ty / norm
    return result


@kernel
def curvature(points: Array, chords: Array) -> Array:
    """Return (n,) 1/m: the turn from chord to chord by length, positive to the left.

    Its sum over the chords is the total turn: 2π for a simple anticlockwise curve.
    """
    n = points.shape[0]
    result = np.empty(n)
    for i in range(n):
        before = (i - 1) % n
        after = (i + 1) % n
        ax = points[i, 0] - points[before, 0]
        ay = points[i, 1] - points[before, 1]
        bx = points[after, 0] - points[i, 0]
        by = points[after, 1] - points[i, 1]
        turn = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
        result[i] = turn / (0.5 * (chords[before] + chords[i]))
    return result


@kernel
def _spline_bends(values: Array, chords: Array) -> Array:
    """Return (n, 2): the second derivatives of the periodic cubic spline through `values`.

    Solves the cyclic tridiagonal system by Thomas' algorithm and the Sherman-Morrison formula
    (Press et al., Numerical Recipes, 2.7).
    """
    n = values.shape[0]
    corner = chords[n - 1]
    gamma = -2.0 * (chords[n - 1] + chords[0])
    diagonal = np.empty(n)
    right = np.zeros((n, 3))  # x, y, and the correction for the two corners of the matrix
    for i in range(n):
        h0 = chords[(i - 1) % n]
        h1 = chords[i]
        diagonal[i] = 2.0 * (h0 + h1)
        for k in range(2):
            rise = (values[(i + 1) % n, k] - values[i, k]) / h1
            fall = (values[i, k] - values[(i - 1) % n, k]) / h0
            right[i, k] = 6.0 * (rise - fall)
    diagonal[0] -= gamma
    diagonal[n - 1] -= corner * corner / gamma
    right[0, 2] = gamma
    right[n - 1, 2] = corner
    for i in range(1, n):
        factor = chords[i - 1] / diagonal[i - 1]
        diagonal[i] -= factor * chords[i - 1]
        for k in range(3):
            right[i, k] -= factor * right[i - 1, k]
    for k in range(3):
        right[n - 1, k] /= diagonal[n - 1]
        for i in range(n - 2, -1, -1):
            right[i, k] = (right[i, k] - chords[i] * right[i + 1, k]) / diagonal[i]
    bends = np.empty((n, 2))
    for k in range(2):
        top = right[0, k] + corner / gamma * right[n - 1, k]
        factor = top / (1.0 + right[0, 2] + corner / gamma * right[n - 1, 2])
        for i in range(n):
            bends[i, k] = right[i, k] - factor * right[i, 2]
    return bends


@kernel
def _spline_point(points: Array, bends: Array, chords: Array, i: int, t: float) -> tuple[float, float]:
    """Return the spline's point at the fraction t of segment i."""
    j = (i + 1) % points.shape[0]
    u = 1.0 - t
    scale = chords[i] * chords[i] / 6.0
    cu = (u * u * u - u) * scale
    ct = (t * t * t - t) * scale
    x = u * points[i, 0] + t * points[j, 0] + cu * bends[i, 0] + ct * bends[j, 0]
    y = u * points[i, 1] + t * points[j, 1] + cu * bends[i, 1] + ct * bends[j, 1]
    return x, y


@kernel
def resample_closed(points: Array, count: int) -> tuple[Array, Array]:
    """Return `count` points evenly spaced along the periodic cubic spline through `points`.

    The first point stays. Also returns (count,): the place of each, as an index into `points` with a fraction, to
    resample other columns in the same way.
    """
    n = points.shape[0]
    chords = chord_lengths(points)
    bends = _spline_bends(points, chords)
    reached = np.empty(n * _PIECES + 1)
    reached[0] = 0.0
    x0, y0 = points[0, 0], points[0, 1]
    for piece in range(n * _PIECES):
        i = piece // _PIECES
        x1, y1 = _spline_point(points, bends, chords, i, (piece % _PIECES + 1) / _PIECES)
        reached[piece + 1] = reached[piece] + math.sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))
        x0, y0 = x1, y1
    result = np.empty((count, 2))
    position = np.empty(count)
    piece = 0
    for k in range(count):
        target = reached[n * _PIECES] * k / count
        while reached[piece + 1] <= target and piece < n * _PIECES - 1:
            piece += 1
        within = (target - reached[piece]) / (reached[piece + 1] - reached[piece])
        i = piece // _PIECES
        t = (piece % _PIECES + within) / _PIECES
        result[k, 0], result[k, 1] = _spline_point(points, bends, chords, i, t)
        position[k] = i + t
    return result, position


@inner
def _nearest_point(points: Array, x: float, y: float, first: int, count: int) -> int:
    """Return the index of the point nearest to (x, y) among `count` points from `first` on."""
    n = points.shape[0]
    best = math.inf
    nearest = 0
    i = first % n
    for _ in range(count):
        dx = points[i, 0] - x
        dy = points[i, 1] - y
        squared = dx * dx + dy * dy
        if squared < best:
            best = squared
            nearest = i
        i += 1
        if i == n:
            i = 0
    return nearest


@inner
def _ahead(curve: Curve, x: float, y: float, i: int) -> float:
    """Return how far (x, y) is ahead of point i, along its tangent, in metres."""
    points, tangent = curve.points, curve.tangent
    ahead: float = (x - points[i, 0]) * tangent[i, 0] + (y - points[i, 1]) * tangent[i, 1]
    return ahead


@inner
def project(curve: Curve, x: float, y: float, hint: int) -> tuple[float, float, int]:
    """Return (arc length m, lateral offset m, point index) of the curve's place nearest to (x, y).

    The offset is positive to the left of the curve. Searches PROJECTION_WINDOW points around `hint`
    (an index of the curve), or the whole curve if hint < 0. Beyond the centre of a bend there is no
    unique answer; the result then stays within a few points of the nearest one.
    """
    n = curve.points.shape[0]
    if hint < 0 or n <= 2 * PROJECTION_WINDOW + 1:
        i = _nearest_point(curve.points, x, y, 0, n)
    else:
        i = _nearest_point(curve.points, x, y, hint - PROJECTION_WINDOW, 2 * PROJECTION_WINDOW + 1)
    for _ in range(4):  # the nearest point may be one or two from the chord whose normal meets (x, y)
        if _ahead(curve, x, y, i) >= 0.0:
            break
        i = i - 1 if i > 0 else n - 1
    for _ in range(4):
        j = i + 1 if i + 1 < n else 0
        if _ahead(curve, x, y, j) < 0.0:
            break
        i = j
    s, lateral = _project_on_chord(curve, x, y, i)
    return s, lateral, i


@inner
def _project_on_chord(curve: Curve, x: float, y: float, i: int) -> tuple[float, float]:
    """Solve (p - c(t))·T(t) = 0 on the chord from point i, where c and T are linear in t."""
    points, tangent = curve.points, curve.tangent
    j = i + 1 if i + 1 < points.shape[0] else 0
    dx = points[j, 0] - points[i, 0]
    dy = points[j, 1] - points[i, 1]
    ex = tangent[j, 0] - tangent[i, 0]
    ey = tangent[j, 1] - tangent[i, 1]
    px = x - points[i, 0]
    py = y - points[i, 1]
    at_start = px * tangent[i, 0] + py * tangent[i, 1]
    slope = px * ex + py * ey - dx * tangent[i, 0] - dy * tangent[i, 1]
    bend = -(dx * ex + dy * ey)
    root = slope * slope - 4.0 * at_start * bend
    below = -slope + math.sqrt(root) if root > 0.0 else -slope
    t = 2.0 * at_start / below if below > 0.0 else 0.0
    t = min(max(t, 0.0), 1.0)
    tx = tangent[i, 0] + t * ex
    ty = tangent[i, 1] + t * ey
    lateral = (tx * (py - t * dy) - ty * (px - t * dx)) / math.sqrt(tx * tx + ty * ty)
    s = curve.arc_m[i] + t * math.sqrt(dx * dx + dy * dy)
    if s >= curve.length_m:
        s -= curve.length_m
    return s, lateral


@kernel
def project_many(curve: Curve, xy: Array) -> tuple[Array, Array]:
    """Project each row of xy (k, 2) by full search; return (k,) arc lengths and (k,) offsets, both m."""
    s = np.empty(xy.shape[0])
    lateral = np.empty(xy.shape[0])
    for k in range(xy.shape[0]):
        s[k], lateral[k], _ = project(curve, xy[k, 0], xy[k, 1], -1)
    return s, lateral


@kernel
def pose_at(curve: Curve, s_m: float, lateral_m: float) -> tuple[float, float, float]:
    """Return (x m, y m, heading rad) at an arc length (any, taken modulo the length) and left offset."""
    points, tangent, arc_m = curve.points, curve.tangent, curve.arc_m
    n = points.shape[0]
    s = s_m - math.floor(s_m / curve.length_m) * curve.length_m
    i = min(max(int(np.searchsorted(arc_m, s, side="right")) - 1, 0), n - 1)
    j = i + 1 if i + 1 < n else 0
    end = arc_m[j] if j > 0 else curve.length_m
    t = min((s - arc_m[i]) / (end - arc_m[i]), 1.0)
    tx = tangent[i, 0] + t * (tangent[j, 0] - tangent[i, 0])
    ty = tangent[i, 1] + t * (tangent[j, 1] - tangent[i, 1])
    norm = math.sqrt(tx * tx + ty * ty)
    x = points[i, 0] + t * (points[j, 0] - points[i, 0]) - lateral_m * ty / norm
    y = points[i, 1] + t * (points[j, 1] - points[i, 1]) + lateral_m * tx / norm
    return x, y, math.atan2(ty, tx)


@kernel
def pose_many(curve: Curve, s_m: Array, lateral_m: Array) -> Array:
    """Return (k, 3): `pose_at` of each pair of s_m (k,) and lateral_m (k,)."""
    poses = np.empty((s_m.shape[0], 3))
    for k in range(s_m.shape[0]):
        poses[k, 0], poses[k, 1], poses[k, 2] = pose_at(curve, s_m[k], lateral_m[k])
    return poses


@kernel
def first_crossing(points: Array) -> tuple[int, int]:
    """Return the indices of the first two chords that cross each other, (-1, -1) if none do."""
    n = points.shape[0]
    for i in range(n - 2):
        for k in range(i + 2, n if i > 0 else n - 1):
            if _straddles(points, i, k) and _straddles(points, k, i):
                return i, k
    return -1, -1


@kernel
def _straddles(points: Array, chord: int, other: int) -> bool:
    """Return whether the ends of the other chord lie on both sides of this one's line."""
    one = _side(points, chord, other)
    two = _side(points, chord, (other + 1) % points.shape[0])
    return min(one, two) < -_COLLINEAR_M2 and max(one, two) > _COLLINEAR_M2


@kernel
def _side(points: Array, chord: int, point: int) -> float:
    """Return on which side of a chord's line a point lies: positive to the left."""
    end = (chord + 1) % points.shape[0]
    dx = points[end, 0] - points[chord, 0]
    dy = points[end, 1] - points[chord, 1]
    side: float = dx * (points[point, 1] - points[chord, 1]) - dy * (points[point, 0] - points[chord, 0])
    return side
