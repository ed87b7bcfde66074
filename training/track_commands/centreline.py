"""A centreline for a map that has none: found on the map, or taken from a file of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sim import Track, TrackError
from ..sim.clearance import check_body_fits, tight_places
from ..sim.track import centerline as geometry
from ..sim.track import map_files
from ..sim.track.centerline_files import write_centerline
from ..sim.track.map_text import naming
from ..sim.track.track import SPACING_M
from ..sim.track.track_width import measured_widths
from .line_files import CENTRELINE, ClosedLine, read_line
from .loop import grounds_of, islands, way_round

Array = NDArray[np.float64]

# The way found on the grid is moved to the middle in so many rounds; fewer where the last ones leave no room.
_ROUNDS = (60, 20, 5, 0)
# A door to a side room is wider than the way, and no part of it: so much of the usual half width counts.
_WIDEST = 1.3
_FARTHEST_M = 3.0
_SHIFT_M = 0.1
# Corners become rounder than a car's turning circle of 0.74 m, in at most so many rounds.
_TIGHTEST_M, _ROUNDINGS = 0.9, 60
# The stretch over which the straightest place to start is looked for.
_STRAIGHT_M = 3.0


class Wish(NamedTuple):
    """The requested properties of a centreline."""

    start: tuple[float, float] | None = None  # x m, y m: where the lap begins
    clockwise: bool | None = None  # None: as the line at hand, or anticlockwise


def find_centreline(track: Track, wish: Wish) -> Track:
    """Return the track of a map with a centreline along the middle of its loop.

    Raises TrackError where the map has no loop, or several and no start says which; and where a car's body does not
    fit.
    """
    grounds = grounds_of(track, wish.start)
    beside = [place for ground in grounds for place in islands(ground, track)]
    if wish.start is None and len(beside) > 1:
        told = " or ".join(f"--start {x:.2f},{y:.2f}" for x, y in beside)
        raise TrackError(
            f"the map has {len(beside)} pieces of wall to drive round, so more than one loop; name a place that the "
            f"lap leads through, such as {told}"
        )
    rough = _smoothed(way_round(track, grounds[0], wish.start))
    found: Track | None = None
    for rounds in _ROUNDS:
        try:
            line = _rounded(_centred(track, rough, rounds))
            line = np.roll(line, -_straightest(line), axis=0)
            found = with_line(track, line, wish._replace(clockwise=bool(wish.clockwise)))
        except TrackError:  # moved into a corner of a wall
            continue
        if not tight_places(found):
            return found
    if found is None:
        raise TrackError(
            "the way round the map is too winding for a line through its middle; draw the line by hand"
        )
    check_body_fits(found)
    return found


class Made(NamedTuple):
    """A centreline that has been written next to its map."""

    track: Track
    map_yaml: Path
    table: Path
    notes: list[str]


def make_centreline(path: Path, wish: Wish, *, source: Path | None = None, replace: bool = False) -> Made:
    """Write the centreline csv of a map: found on it, or of the line of another tool's file; widths measured.

    path: the map's yaml or directory. replace: whether one that is there may go. Raises TrackError for what stands in
    the way, by name.
    """
    where = map_files.find(path)
    files = map_files.read(where)
    table = where.parent / f"{files.name}_centerline.csv"
    if (files.centerline is not None or table.exists()) and not replace:
        raise TrackError(f"{where} has a centreline, {table.name}: --force replaces it")
    with naming(where, files.hints):
        bare = Track.from_occupancy(files.free, files.resolution_m, files.origin, name=files.name)
        if source is None:
            track, notes = find_centreline(bare, wish), []
        else:
            line = read_line(source)
            track = with_line(bare, line.points, wish)
            notes = [_about(line, source)]
    write_centerline(table, track.centerline, np.stack([track.width_right_m, track.width_left_m], axis=1))
    return Made(track, where, table, notes)


def _about(line: ClosedLine, source: Path) -> str:
    if line.kind == CENTRELINE:
        return f"{source.name} is a centreline; its widths were measured on the map"
    return (
        f"{source.name} is a racing line, no centreline: it cuts the bends, and there is little room beside it. Its "
        "widths were measured on the map; without --from the line is found in the middle"
    )


def with_line(track: Track, points: Array, wish: Wish) -> Track:
    """Return the track with a closed line (n, 2) m; what is not wished for, start or direction, stays as it is."""
    points = np.ascontiguousarray(points)
    points = points[geometry.chord_lengths(points) > 1e-6]
    x, y = points.T
    area = float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
    if wish.clockwise is not None and (area < 0.0) != wish.clockwise:
        points = points[::-1]
    points = _resampled(points)
    first = 0 if wish.start is None else int(np.hypot(*(points - wish.start).T).argmin())
    return Track.from_occupancy(
        track.free, track.resolution_m, track.origin, np.roll(points, -first, axis=0), name=track.name
    )


def _resampled(points: Array) -> Array:
    points = np.ascontiguousarray(points)
    count = max(8, round(geometry.chord_lengths(points).sum() / SPACING_M))
    return geometry.resample_closed(points, count)[0]


def _smoothed(points: Array) -> Array:
    """Return the cells of a way as an even line: their steps of whole cells go, its bends stay."""
    chords = geometry.chord_lengths(np.ascontiguousarray(points))
    line = _resampled(points[chords > 1e-6])
    for _ in range(6):
        line = 0.5 * line + 0.25 * (np.roll(line, 1, axis=0) + np.roll(line, -1, axis=0))
    return line


def _centred(track: Track, line: Array, rounds: int) -> Array:
    """Return the line moved to the middle between its walls, round by round a little, and smoothed."""
    for _ in range(rounds):
        line = np.ascontiguousarray(line)
        tangent = geometry.tangents(line, geometry.chord_lengths(line))
        right, left = measured_widths(track.free, track.frame, line, tangent, _FARTHEST_M).T
        usual = _WIDEST * float(np.median(0.5 * (right + left)))
        shift = np.clip(0.5 * (np.minimum(left, usual) - np.minimum(right, usual)), -_SHIFT_M, _SHIFT_M)
        for _ in range(3):
            shift = 0.5 * shift + 0.25 * (np.roll(shift, 1) + np.roll(shift, -1))
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        line = line + 0.5 * shift[:, None] * normal
        line = 0.8 * line + 0.1 * (np.roll(line, 1, axis=0) + np.roll(line, -1, axis=0))
        line = _resampled(line)
    return line


def _rounded(line: Array) -> Array:
    """Return the line with its corners rounded to what a car can turn, as far as that is near the middle."""
    for _ in range(_ROUNDINGS):
        bend = np.abs(geometry.curvature(line, geometry.chord_lengths(line)))
        sharp = bend > 1.0 / _TIGHTEST_M
        if not sharp.any():
            break
        around = np.logical_or.reduce([np.roll(sharp, k) for k in range(-4, 5)])
        smooth = 0.5 * line + 0.25 * (np.roll(line, 1, axis=0) + np.roll(line, -1, axis=0))
        line = _resampled(np.where(around[:, None], smooth, line))
    return line


def _straightest(points: Array) -> int:
    """Return the index of the point in the middle of the straightest stretch."""
    bend = np.abs(geometry.curvature(points, geometry.chord_lengths(points)))
    reach = max(1, round(0.5 * _STRAIGHT_M / SPACING_M))
    around = sum(np.roll(bend, k) for k in range(-reach, reach + 1))
    return int(np.argmin(around))
