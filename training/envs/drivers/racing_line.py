"""Lines to drive on: the shortest smooth way round, and how fast each place of it may be passed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...sim.track import centerline
from .kernel_cache import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...sim import Track

    Array = NDArray[np.float64]

# Rounds in which chords are measured again, and rounds that settle the bounds of one of these; usually fewer are
# enough.
_ROUNDS = 12
_BOUND_ROUNDS = 60
_SETTLED_M = 1e-4
# Half the bandwidth of the equations once their ring is folded flat.
_BAND = 4


class LineSettings(NamedTuple):
    """Choose the line: of all ways round, the one with the least length + stiffness x curvature² x length.

    With little stiffness that is the shortest way, with much of it the one of least curvature. Which of them
    is quicker is a matter of grip: with linear tyres and a capped speed, the short one.
    """

    margin_m: float = 0.5  # kept between the car's middle and the walls
    stiffness_m2: float = 20.0


class SpeedLimits(NamedTuple):
    """Bound the speed along a line."""

    max_speed_mps: float = 8.0
    lateral_mps2: float = 28.0  # in bends
    braking_mps2: float = 8.0  # before them; the motor controller's limit is 9.51


@lru_cache(maxsize=64)
def racing_line(track: Track, settings: LineSettings | None = None) -> Array:
    """Return the racing line's points (n, 2) m, each across from the centreline point with the same index.

    If the track is narrower than two margins, the line keeps to the centreline. The curve of least cost is
    found by quadratic programs over the offsets to the left (after Braghin et al. 2008, Race driver model,
    Computers & Structures 86), with the chord lengths measured again between them, and their bounds by the primal-dual
    active set method (Hintermüller, Ito, Kunisch 2002, https://doi.org/10.1137/S1052623401383558).

    Raises:
        TrackError: the track has no centreline.

    """
    chosen = settings or LineSettings()
    centre, tangent = track.curve.points, track.tangent
    left = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    right_m, left_m = track.widths_m
    low = -np.maximum(right_m - chosen.margin_m, 0.0)
    high = np.maximum(left_m - chosen.margin_m, 0.0)
    offset: Array = np.zeros(len(centre))
    for _ in range(_ROUNDS):
        chords = centerline.chord_lengths(centre + offset[:, None] * left)
        band, gradient = _equations(centre, left, chords, chosen.stiffness_m2)
        moved = _minimum(band, gradient, low, high, offset)
        change = np.abs(moved - offset).max()
        offset = moved
        if change < _SETTLED_M:
            break
    points = centre + offset[:, None] * left
    points.flags.writeable = False
    return points


def speed_profile(points: Array, limits: SpeedLimits) -> Array:
    """Return the speed (n,) m/s at each point (n, 2) m of a closed line: bends, and braking before them."""
    chords = centerline.chord_lengths(points)
    bend = np.abs(centerline.curvature(points, chords))
    # Over three points: a single point's curvature is as uneven as the line's spacing.
    bend = (np.roll(bend, 1) + bend + np.roll(bend, -1)) / 3.0
    speed = np.sqrt(limits.lateral_mps2 / np.maximum(bend, 1e-9))
    return _brake_in_time(np.minimum(speed, limits.max_speed_mps), chords, limits.braking_mps2)


@kernel
def _brake_in_time(speed: Array, chords: Array, braking_mps2: float) -> Array:
    """Lower the speeds until each can be reached by braking from the one before."""
    n = speed.size
    for k in range(2 * n - 1, -1, -1):  # twice round: the slowest place has no fixed index
        i, after = k % n, (k + 1) % n
        speed[i] = min(speed[i], np.sqrt(speed[after] ** 2 + 2.0 * braking_mps2 * chords[i]))
    return speed


def _equations(centre: Array, left: Array, chords: Array, stiffness_m2: float) -> tuple[Array, Array]:
    """Return half the cost's second derivatives, (n, 3): of offset i with i, i + 1, i + 2; half its slope.

    With p = centre + offset x left: length is the sum of |p[i+1] - p[i]|² / chord[i], curvature² x length
    that of |p[i-1] - 2 p[i] + p[i+1]|² / mean chord³.
    """

    def ahead(values: Array, steps: int) -> Array:
        return np.roll(values, -steps, axis=0)

    def dot(one: Array, other: Array) -> Array:
        products: Array = (one * other).sum(axis=1)
        return products

    pull = 1.0 / chords
    bend = stiffness_m2 / chords.mean() ** 3
    step = ahead(centre, 1) - centre
    turn = ahead(centre, -1) - 2.0 * centre + ahead(centre, 1)
    band = np.stack(
        [
            pull + ahead(pull, -1) + 6.0 * bend,
            -(pull + 4.0 * bend) * dot(left, ahead(left, 1)),
            bend * dot(left, ahead(left, 2)),
        ],
        axis=1,
    )
    gradient = dot(left, ahead(pull[:, None] * step, -1) - pull[:, None] * step)
    gradient += bend * dot(left, ahead(turn, -1) - 2.0 * turn + ahead(turn, 1))
    return band, gradient


@kernel
def _minimum(band: Array, gradient: Array, low: Array, high: Array, start: Array) -> Array:
    """Return the offsets within their bounds that make ½ a'Ha + g'a least."""
    n = gradient.size
    at = np.zeros(n, dtype=np.int64)  # -1 and 1: held at the bound, 0: free
    offset = np.minimum(np.maximum(start, low), high)
    for i in range(n):
        at[i] = (offset[i] >= high[i]) - (offset[i] <= low[i])
    for _ in range(_BOUND_ROUNDS):
        offset = _solve_free(band, gradient, low, high, at)
        changed = False
        for i in range(n):
            slope = gradient[i]
            for k in range(-2, 3):
                j = (i + k) % n
                slope += band[min(i, i + k) % n, abs(k)] * offset[j]
            wanted = offset[i] - slope / band[i, 0]
            now = 0
            if wanted > high[i] or low[i] == high[i]:
                now = 1
            elif wanted < low[i]:
                now = -1
            changed |= now != at[i]
            at[i] = now
        if not changed:
            break
    held: Array = np.minimum(np.maximum(offset, low), high)
    return held


@kernel
def folded(i: int, n: int) -> int:
    """Return the place of point i when the ring is pressed flat: 0, n-1, 1, n-2, ..."""
    return 2 * i if 2 * i < n else 2 * (n - i) - 1


@kernel
def _solve_free(band: Array, gradient: Array, low: Array, high: Array, at: NDArray[np.int64]) -> Array:
    """Return the offsets with zero slope where free, and at their bounds elsewhere.

    Folding the ring makes its cyclic band a plain one of twice the width, for Cholesky's method.
    """
    n = gradient.size
    lower = np.zeros((n, _BAND + 1))  # lower[r, d]: row r, column r - d
    right = np.empty(n)
    for i in range(n):
        row = folded(i, n)
        if at[i] != 0:
            lower[row, 0], right[row] = 1.0, high[i] if at[i] > 0 else low[i]
            continue
        lower[row, 0], right[row] = band[i, 0], -gradient[i]
        for k in (-2, -1, 1, 2):
            j = (i + k) % n
            value = band[min(i, i + k) % n, abs(k)]
            column = folded(j, n)
            if at[j] != 0:
                right[row] -= value * (high[j] if at[j] > 0 else low[j])
            elif column < row:
                lower[row, row - column] = value
    return solved_folded(lower, right)


@kernel
def solved_folded(lower: Array, right: Array) -> Array:
    """Return x (n,) of equations whose ring is folded flat (`folded`); lower and right are overwritten.

    lower: (n, band + 1), row r, column r - d at [r, d]; right: (n,) in the same order.
    """
    n, band = lower.shape[0], lower.shape[1] - 1
    cholesky(lower)
    for r in range(n):
        for d in range(1, min(band, r) + 1):
            right[r] -= lower[r, d] * right[r - d]
        right[r] /= lower[r, 0]
    for r in range(n - 1, -1, -1):
        right[r] /= lower[r, 0]
        for d in range(1, min(band, r) + 1):
            right[r - d] -= lower[r, d] * right[r]
    return np.array([right[folded(i, n)] for i in range(n)])


@kernel
def cholesky(lower: Array) -> None:
    """Replace the lower band of a positive definite matrix by that of its Cholesky factor."""
    for r in range(lower.shape[0]):
        for d in range(min(_BAND, r), -1, -1):
            c = r - d
            total = lower[r, d]
            for m in range(max(0, r - _BAND), c):
                total -= lower[r, r - m] * lower[c, c - m]
            lower[r, d] = np.sqrt(total) if d == 0 else total / lower[c, 0]
