"""Check that a map and a centreline make a track; each fault is an error that says what is wrong and where."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import centerline as geometry
from . import occupancy
from .spec import TrackError

Array = NDArray[np.float64]

FEWEST_POINTS = 8
# A cell larger than this cannot show a track for a car of 0.31 m x 0.58 m.
COARSEST_RESOLUTION_M = 0.5
# Legs of a lap that are this near to each other are one leg, driven twice: a car's width is between them at most.
SAME_LAP_M = 0.31


def checked_cells(free: ArrayLike) -> NDArray[np.bool_]:
    """Return the free cells as a bool (H, W) copy."""
    cells = np.asarray(free)
    if cells.ndim != 2 or 0 in cells.shape:  # rows and columns
        raise TrackError(f"a map is a grid of rows and columns, not an array of shape {cells.shape}")
    if cells.dtype != np.bool_ and not np.isin(cells, (0, 1)).all():
        raise TrackError(
            f"the free cells are given as true and false (1 and 0), not as {cells.min()} to {cells.max()}"
        )
    if not cells.any():
        size = f"{cells.shape[1]} x {cells.shape[0]}"
        raise TrackError(f"none of the map's {size} cells is free: check the thresholds and negate")
    return np.array(cells, dtype=np.bool_, order="C")


def checked_resolution(resolution_m: float) -> float:
    """Return the metres of a cell's edge."""
    resolution = float(resolution_m)
    if not 0.0 < resolution <= COARSEST_RESOLUTION_M:
        limit = f"more than 0 and at most {COARSEST_RESOLUTION_M:g} m"
        raise TrackError(f"a resolution of {resolution:g} m a cell is wrong: it must be {limit}")
    return resolution


def checked_origin(origin: Sequence[float]) -> tuple[float, float, float]:
    """Return (x m, y m, yaw rad) of the lower left corner."""
    corner = tuple(float(value) for value in origin)
    if len(corner) != 3 or not all(map(math.isfinite, corner)):  # x, y, yaw
        raise TrackError(f"the origin is three finite numbers, x m, y m and yaw rad, not {list(corner)}")
    return corner


def checked_centerline(centerline: ArrayLike) -> Array:
    """Return the centreline's points as a float64 (n, 2) copy."""
    points = np.array(centerline, dtype=np.float64, order="C")
    if points.ndim != 2 or points.shape[1] != 2:  # x and y
        raise TrackError(f"a centreline is (n, 2) metres, not an array of shape {points.shape}")
    broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if broken.size:
        raise TrackError(
            f"centreline point {broken[0]} is ({points[broken[0], 0]}, {points[broken[0], 1]}): not a number"
        )
    return points


def checked_widths(widths_m: ArrayLike, count: int) -> Array:
    """Return the widths of `count` points as a float64 (n, 2) copy, right and left."""
    given = np.array(widths_m, dtype=np.float64, order="C")
    if given.shape != (count, 2):
        raise TrackError(
            f"the widths are (n, 2) metres, right and left of {count} points, not of shape {given.shape}"
        )
    broken = np.flatnonzero(~(np.isfinite(given) & (given > 0.0)).all(axis=1))
    if broken.size:
        raise TrackError(
            f"the widths at centreline point {broken[0]} are {given[broken[0], 0]} m to the right and "
            f"{given[broken[0], 1]} m to the left: both must be more than 0"
        )
    return given


def check_way_is_free(cells: NDArray[np.bool_], frame: occupancy.Frame, points: Array) -> None:
    """Refuse a centreline that leaves the free cells, between its points too."""
    kind, index, x, y, row, col = occupancy.first_obstacle(cells, frame, points)
    if kind == occupancy.FREE:
        return
    height, width = cells.shape
    where = "goes through a wall" if kind == occupancy.WALL else f"leaves the map of {width} x {height} cells"
    raise TrackError(
        f"the centreline {where} at ({x:.3f}, {y:.3f}) m (row {row} from the bottom, column {col}), "
        f"between its points {index} and {(index + 1) % len(points)}; "
        f"check the map there, its resolution ({frame.resolution_m:g} m) and its origin"
    )


def check_once_round(points: Array) -> None:
    """Refuse a centreline that goes round the same lap more than once, as one recorded over several laps does."""
    chords = geometry.chord_lengths(points)
    kept = np.ascontiguousarray(points[chords > 1e-9])  # a nanometre
    if len(kept) < 2 * FEWEST_POINTS:
        return
    chords = geometry.chord_lengths(kept)
    turns = abs(float((geometry.curvature(kept, chords) * 0.5 * (chords + np.roll(chords, 1))).sum()))
    rounds = round(turns / (2.0 * math.pi))
    if rounds < 2:  # an eight has none, a lap of bends one
        return
    arc, length = geometry.cumulative(chords), float(chords.sum())
    places = np.linspace(0.0, length, 200, endpoint=False, dtype=np.float64)
    curve = geometry.Curve(kept, geometry.tangents(kept, chords), arc, length)
    lap_m = length / rounds
    here = geometry.pose_many(curve, places, np.zeros(200))[:, :2]
    # Laps driven by hand are not equally long: the nearest place of the next lap, give or take a tenth of one.
    shifts = np.linspace(0.9, 1.1, 41) * lap_m
    apart = np.full(200, np.inf)
    for shift in shifts:
        there = geometry.pose_many(curve, places + float(shift), np.zeros(200))[:, :2]
        apart = np.minimum(apart, np.hypot(*(here - there).T))
    if np.median(apart) < SAME_LAP_M:
        raise TrackError(
            f"the centreline goes round {rounds} times: its laps are {np.median(apart):.2f} m apart; "
            f"keep the points of one, about {len(points) // rounds} of {len(points)}"
        )


def check_scale(resolution: float, given: Array, measured: Array) -> None:
    """Refuse a map whose corridor is not at all as wide as its centreline file says."""
    said, seen = float(np.median(given.sum(axis=1))), float(np.median(measured.sum(axis=1)))
    if not 0.4 * said <= seen <= 2.5 * said:  # generous to thick walls
        raise TrackError(
            f"at {resolution:g} m a cell the free way is {seen:.2f} m wide, but the centreline's widths "
            f"say {said:.2f} m: the resolution or the widths are wrong"
        )
