"""Lines without kinks: of all ways round that keep clear of the walls, one whose bends a car's steering can follow.

The line of racing_line.py is free to move across from its centreline points only, and its bounds are the track's
measured widths; where it follows them it takes over their kinks, up to 2.7 1/m. Here the line is laid again in rounds:
evenly spaced points, moved across the line of the round before, with bounds from the map itself.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...sim.track import centerline
from ...sim.track.occupancy import Frame, to_map
from .kernel_cache import kernel
from .racing_line import folded, solved_folded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...sim import Track, Vehicle

    Array = NDArray[np.float64]

_ROUNDS = 40
_FEWEST_POINTS = 16
# A point moves no further in a round: the cost is that of a line near the round before's.
_STEP_M = 0.3
_SETTLED_M = 0.005
# Places looked at on each side, and the least room left between two bounds, which the interior-point method needs.
_PIECES = 15
_LEAST_ROOM_M = 0.02
# Rounds of the interior-point method, usually about 15; how far its barrier falls in each, and its way to the bounds.
_BARRIER_ROUNDS = 40
_BARRIER_FALLS = 0.15
_TO_BOUND = 0.99
# Where the line bends more than the car should, its stiffness grows from round to round; it bends less than this share
# of what the car's steering can do at a crawl.
_STEERING_SHARE = 0.75
_HALF_BAND = 4  # of the equations once their ring is folded flat


class LineShape(NamedTuple):
    """Choose the line: of all ways round, the one of least cost.

    Cost: stiffness x curvature² x length, plus the length itself, or, with `centring_1pm2` above 0, that times the
    squared distance from the centreline x length.
    """

    margin_m: float  # kept between the car's middle and the walls, where the track is wide enough
    stiffness_m2: float
    most_bend_1pm: float
    centring_1pm2: float = 0.0
    spacing_m: float = 0.15


def sharpest_bend_1pm(vehicle: Vehicle) -> float:
    """Return the curvature 1/m that a line may have for a vehicle, to either side, with steering to spare."""
    return _STEERING_SHARE * math.tan(min(vehicle.s_max, -vehicle.s_min)) / (vehicle.lf + vehicle.lr)


@lru_cache(maxsize=64)
def smooth_line(track: Track, shape: LineShape) -> Array:
    """Return the line's points (n, 2) m, evenly spaced.

    Each round minimises the cost of moving the points across the line, a quadratic program with the bounds that keep
    the margin (after Heilmeier et al. 2019, https://doi.org/10.1080/00423114.2019.1631455, section 3.2, with the
    line's own normals in every round), and spaces them evenly again.

    Raises:
        TrackError: the track has no centreline.

    """
    points, stiffness = track.curve.points, np.ones(1)
    field = track.distance_field_m
    for _ in range(_ROUNDS):
        count = max(_FEWEST_POINTS, round(float(centerline.chord_lengths(points).sum()) / shape.spacing_m))
        points, _ = centerline.resample_closed(points, count)
        chords = centerline.chord_lengths(points)
        tangent, bend = centerline.tangents(points, chords), centerline.curvature(points, chords)
        low, high = _bounds(field, track.frame, points, tangent, shape.margin_m)
        offset = track.project(points)[1] if shape.centring_1pm2 > 0.0 else np.zeros(count)
        stiffness = _spread(stiffness, count) * np.maximum(1.0, np.abs(bend) / shape.most_bend_1pm)
        band, slope = _equations(bend, stiffness * shape.stiffness_m2, float(chords.mean()), shape, offset)
        moved = _least(band, slope, low, high)
        points = points + moved[:, None] * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        if np.abs(moved).max() < _SETTLED_M:
            break
    points.flags.writeable = False
    return points


def _spread(values: Array, count: int) -> Array:
    """Return values around a line for another number of points."""
    return np.interp(np.arange(count) / count, np.arange(len(values)) / len(values), values)


@kernel
def clearance_m(field: Array, frame: Frame, x: float, y: float) -> float:
    """Return the distance m to the nearest wall, linear between the middles of cells; 0 outside the map.

    field: Track.distance_field_m, which counts to the middle of a wall's cell.
    """
    right, up = to_map(frame, x, y)
    row_m, col_m = up / frame.resolution_m - 0.5, right / frame.resolution_m - 0.5
    row, col = math.floor(row_m), math.floor(col_m)
    if row < 0 or col < 0 or row + 1 >= field.shape[0] or col + 1 >= field.shape[1]:
        return 0.0
    a, b = row_m - row, col_m - col
    below = (1.0 - b) * field[row, col] + b * field[row, col + 1]
    above = (1.0 - b) * field[row + 1, col] + b * field[row + 1, col + 1]
    clear: float = max((1.0 - a) * below + a * above - 0.5 * frame.resolution_m, 0.0)
    return clear


@kernel
def _bounds(
    field: Array, frame: Frame, points: Array, tangent: Array, margin_m: float
) -> tuple[Array, Array]:
    """Return how far each point may move to the right (n,) and to the left (n,) m of the line, as offsets.

    A point that is not clear of the walls must go to the nearest place within a step that is, else to the clearest.
    """
    n = points.shape[0]
    low, high = np.empty(n), np.empty(n)
    piece = _STEP_M / _PIECES
    room = np.empty(2 * _PIECES + 1)
    last = room.size - 1
    for i in range(n):
        for k in range(room.size):
            offset = (k - _PIECES) * piece
            x, y = points[i, 0] - offset * tangent[i, 1], points[i, 1] + offset * tangent[i, 0]
            room[k] = clearance_m(field, frame, x, y)
        first = stop = _nearest_clear(room, margin_m)
        if room[first] >= margin_m:
            while first > 0 and room[first - 1] >= margin_m:
                first -= 1
            while stop < last and room[stop + 1] >= margin_m:
                stop += 1
        low[i], high[i] = (first - _PIECES) * piece, (stop - _PIECES) * piece
        # Between two places the clearance is about linear.
        if first > 0 and room[first] > margin_m:
            low[i] -= piece * (room[first] - margin_m) / (room[first] - room[first - 1])
        if stop < last and room[stop] > margin_m:
            high[i] += piece * (room[stop] - margin_m) / (room[stop] - room[stop + 1])
        if high[i] - low[i] < _LEAST_ROOM_M:
            middle = 0.5 * (low[i] + high[i])
            low[i], high[i] = middle - 0.5 * _LEAST_ROOM_M, middle + 0.5 * _LEAST_ROOM_M
    return low, high


@kernel
def _nearest_clear(room: Array, margin_m: float) -> int:
    """Return the place with enough room that is nearest to the middle, else the one with the most."""
    best = _PIECES
    for k in range(1, _PIECES + 1):
        for j in (_PIECES - k, _PIECES + k):
            if room[best] < margin_m and room[j] > room[best] + 1e-9:
                best = j
    return best


@kernel
def _equations(
    bend: Array, stiffness: Array, spacing: float, shape: LineShape, offset: Array
) -> tuple[Array, Array]:
    """Return the cost's second derivatives by the moves, (n, 3): of point i with i, i + 1, i + 2; and its slope (n,).

    Moved by a to the left, a line of curvature k has the curvature k + k²a + a'' and the length (1 - k a) ds + a'² / 2
    ds. offset: (n,) m from the centreline.
    """
    n = bend.size
    band, slope = np.zeros((n, 3)), np.zeros(n)
    neighbour = 1.0 / spacing**2
    for i in range(n):
        before, after = (i - 1) % n, (i + 1) % n
        own = bend[i] * bend[i] - 2.0 * neighbour
        weight = 2.0 * stiffness[i] * spacing
        band[i, 0] += weight * own * own
        band[before, 0] += weight * neighbour * neighbour
        band[after, 0] += weight * neighbour * neighbour
        band[before, 1] += weight * neighbour * own
        band[i, 1] += weight * neighbour * own
        band[before, 2] += weight * neighbour * neighbour
        slope[i] += weight * own * bend[i]
        slope[before] += weight * neighbour * bend[i]
        slope[after] += weight * neighbour * bend[i]
        if shape.centring_1pm2 > 0.0:
            band[i, 0] += 2.0 * shape.centring_1pm2 * spacing
            slope[i] += 2.0 * shape.centring_1pm2 * offset[i] * spacing
        else:
            band[i, 0] += 2.0 / spacing
            band[i, 1] -= 1.0 / spacing
            slope[i] -= bend[i] * spacing
    return band, slope


@kernel
def _least(band: Array, gradient: Array, low: Array, high: Array) -> Array:
    """Return the moves between their bounds that make ½ a'Ha + g'a least.

    A primal-dual interior-point method (Nocedal, Wright 2006, Numerical Optimization, chapter 16.6). The active sets of
    racing_line.py circle for ever in equations as stiff as these, which leaves kinks.
    """
    n = gradient.size
    scale = np.abs(gradient).max() + 1e-12
    move = 0.5 * (low + high)
    at_low, at_high = np.full(n, 0.1 * scale), np.full(n, 0.1 * scale)  # multipliers of the bounds
    diagonal, right = np.empty(n), np.empty(n)
    for _ in range(_BARRIER_ROUNDS):
        gap = (at_low * (move - low) + at_high * (high - move)).sum() / (2 * n)
        barrier, worst = _BARRIER_FALLS * gap, 0.0
        for i in range(n):
            slope = gradient[i]
            for k in range(-2, 3):
                slope += band[min(i, i + k) % n, abs(k)] * move[(i + k) % n]
            worst = max(worst, abs(slope - at_low[i] + at_high[i]))
            below, above = move[i] - low[i], high[i] - move[i]
            diagonal[i] = at_low[i] / below + at_high[i] / above
            right[i] = barrier / below - barrier / above - slope
        if gap < 1e-7 * scale and worst < 1e-5 * scale:
            break
        step = _solve(band, diagonal, right)
        below, above = move - low, high - move
        low_step = barrier / below - at_low - at_low / below * step
        high_step = barrier / above - at_high + at_high / above * step
        length = min(_longest(below, step), _longest(above, -step))
        move += length * step
        length = min(_longest(at_low, low_step), _longest(at_high, high_step))
        at_low += length * low_step
        at_high += length * high_step
    return move


@kernel
def _longest(values: Array, step: Array) -> float:
    """Return the part of a step, at most 1, that leaves all values above 0."""
    length = 1.0
    for i in range(values.size):
        if step[i] < 0.0:
            length = min(length, -_TO_BOUND * values[i] / step[i])
    return length


@kernel
def _solve(band: Array, diagonal: Array, given: Array) -> Array:
    """Return x with (H + diagonal) x = given, for a cyclic band H: folded flat, by Cholesky's method."""
    n = given.size
    lower = np.zeros((n, _HALF_BAND + 1))
    right = np.empty(n)
    for i in range(n):
        row = folded(i, n)
        lower[row, 0], right[row] = band[i, 0] + diagonal[i], given[i]
        for k in range(1, 3):
            column = folded((i + k) % n, n)
            lower[max(row, column), abs(row - column)] = band[i, k]
    return solved_folded(lower, right)
