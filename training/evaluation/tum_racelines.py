"""TUM's racing lines of f1tenth_racetracks, where they are fetched: lines and lap times to compare with.

The optimiser's speeds are those of a point mass with an 8 m/s cap, at most 10.0 m/s² sideways, 4.5 forward and 5.7
braking: a reference, not a bound. Some of its lines come nearer to the walls than half a car. They are never driven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..sim.track import catalog
from ..sim.track.names import CIRCUITS
from ..sim.track.spec import TrackError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..sim import Track

    Array = NDArray[np.float64]

COLUMNS = ("s_m", "x_m", "y_m", "psi_rad", "kappa_radpm", "vx_mps", "ax_mps2")
# A line belongs to a map if no point of it is further outside the walls.
_OUTSIDE_M = 0.3


class Raceline(NamedTuple):
    """A racing line with its speeds."""

    points: Array  # (n, 2) m, closed: the first point is not repeated
    speed_mps: Array  # (n,)
    lap_s: float  # of a flying lap


def read_raceline(path: Path) -> Raceline:
    """Return the line of a `*_raceline.csv`: seven columns (COLUMNS) separated by semicolons, # before comments.

    The last row is the first one again, one lap on; the time is integrated from s_m and vx_mps.

    Raises:
        TrackError: the file cannot be read or is none of this form; says which line.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrackError(f"{path} cannot be read: {error}") from error
    rows = [_row(path, count, line) for count, line in enumerate(lines, 1) if line and line[0] != "#"]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(COLUMNS))
    way, points, speed = table[:, 0], table[:, 1:3], table[:, 5]
    if len(table) < 3 or (np.diff(way) <= 0.0).any() or (speed <= 0.0).any():
        raise TrackError(f"{path}: needs three rows or more, with s_m that grows and vx_mps above 0")
    if np.abs(points[0] - points[-1]).max() > 1e-3:
        raise TrackError(f"{path}: the last row is not where the first one is: no closed line")
    lap_s = float(np.sum(2.0 * np.diff(way) / (speed[1:] + speed[:-1])))
    return Raceline(points[:-1].copy(), speed[:-1].copy(), lap_s)


def raceline_of(track: Track) -> Raceline | None:
    """Return TUM's racing line of a track; None for a track without one, if it is not fetched, or for another map.

    Two of the 23 circuits, Montreal and Shanghai, have none.
    """
    if track.name not in CIRCUITS or track.centerline is None:
        return None
    try:
        path = catalog.fetched(track.name) / f"{track.name}_raceline.csv"
        line = read_raceline(path) if path.exists() else None
    except TrackError:
        return None
    return line if line is not None and _is_on(track, line.points) else None


def _is_on(track: Track, points: Array) -> bool:
    """Tell whether a line is on a track: another map may have the same name."""
    way_m, offset_m = track.project(points)
    right_m, left_m = (
        np.interp(way_m, track.arc_length_m, width, period=track.length_m) for width in track.widths_m
    )
    return bool(((offset_m < left_m + _OUTSIDE_M) & (offset_m > -right_m - _OUTSIDE_M)).all())


def _row(path: Path, count: int, line: str) -> list[float]:
    try:
        values = [float(cell) for cell in line.split(";")]
    except ValueError as error:
        raise TrackError(f"{path}, line {count}: {error}") from error
    if len(values) != len(COLUMNS) or not np.isfinite(values).all():
        raise TrackError(f"{path}, line {count}: needs {len(COLUMNS)} finite numbers: {', '.join(COLUMNS)}")
    return values
