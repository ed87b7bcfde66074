"""Tracks in a hall: a lap between air ducts laid on the floor, gaps between the ducts, boxes on the way.

Flexible ducts of about 0.33 m bound the tracks of F1TENTH races. Where two of them meet a lidar sees through to the
rest of the hall; a car does not fit through. Boxes stand on the track. The centreline passes each on its wider side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import centerline as geometry
from . import occupancy
from .distance_transform import distance_transform_cells
from .generate import generator_of, in_spec, widths_along
from .lap_shape import NUMBERS, LapShape, Style, lap, trace
from .spec import CORNER_MARGIN, LENGTH_TOLERANCE, PASSAGE_M, HallSpec, TrackError
from .track_width import measured_widths

Array = NDArray[np.float64]
Cells = NDArray[np.bool_]

# Tries of lively laps, of simple ones, and of the way round the hall.
_TRIES = (3000, 1000, 40)
# Turns by which a lap is laid into the hall.
_TURNS = 36
# A duct is this long, give or take half as much.
_DUCT_LENGTH_M = 4.0
# Two gaps of neighbouring ducts are this far apart, or a car would fit through both.
_GAPS_APART_M = 0.8
# The centreline leaves the middle so far before a box, and comes back so far behind it.
_RAMP_M, _BESIDE_M = 2.0, 0.35
_BOXES_APART_M = 2.0 * (_RAMP_M + _BESIDE_M) + 1.0
# No box stands where the track turns more than this, nor this near to the start.
_STRAIGHT_1PM, _START_M = 0.5, 2.0
_BOX_TRIES = 80
# A circle of this radius fits at each point of the centreline: 45 mm on each side of a car.
_CLEAR_M = 0.2
_WALL_CELLS = 4


class Grid(NamedTuple):
    """What `Track.from_occupancy` makes a track of."""

    free: Cells
    resolution_m: float
    origin: tuple[float, float, float]
    line: Array
    widths: Array


class _Box(NamedTuple):
    s_m: float
    lateral_m: float  # of its middle, positive to the left
    edge_m: float
    yaw_rad: float  # to the track's direction
    half_m: float  # across the track
    shift_m: float  # of the centreline, positive to the left


def hall_track(seed: int, spec: HallSpec) -> Grid:
    """Return a lap in a hall; raise TrackError for a seed whose laps have no places for so many boxes."""
    rng = generator_of(seed)
    for number in range(sum(_TRIES)):
        line = _drawn(rng, spec, number)
        if line is None or not in_spec(line, spec.lap):
            continue
        corner = line.min(axis=0) - spec.inset_m
        spare = np.array([spec.hall_length_m, spec.hall_width_m]) - (
            np.ptp(line, axis=0) + 2.0 * spec.inset_m
        )
        corner -= np.maximum(spare, 0.0) * rng.random(2)
        corner, line = np.round(corner - line[0], 6), np.round(line - line[0], 6) + 0.0
        grid = _furnished(rng, spec, line, corner)
        if grid is not None:
            return grid
    raise TrackError(
        f"seed {seed} has no lap with places for {spec.boxes} boxes of {spec.box_m:g} m: ask for fewer (b) or "
        "smaller ones (s)"
    )


def _drawn(rng: np.random.Generator, spec: HallSpec, number: int) -> Array | None:
    """Return a lap (n, 2) m that fits into the hall, or None; number: of the try, livelier first."""
    if number >= _TRIES[0] + _TRIES[1]:
        return _round_the_hall(spec)
    usual = round(0.9 * math.sqrt(spec.length_m / spec.lap.min_radius_m))
    lively = Style(min(usual, 14), min(usual + 5, 19), 0.06, 1.5, 0.05)
    style = lively if number < _TRIES[0] else Style(3, 6, 1.0, 1.0, 0.0)
    line = lap(rng.random(NUMBERS), spec.lap, style)
    drawn = rng.random(3)
    if len(line) == 0:
        return None
    return _laid(line, spec, drawn)


def _laid(line: Array, spec: HallSpec, numbers: Array) -> Array | None:
    """Return the lap turned so that it fits into the hall, in either direction; None if it does not."""
    room = np.array([spec.hall_length_m, spec.hall_width_m]) - 2.0 * spec.inset_m
    flip = np.array([1.0, 1.0 if numbers[0] < 0.5 else -1.0])
    fitting = []
    for turn in range(_TURNS):
        angle = math.pi * (turn + numbers[1]) / _TURNS
        cos, sin = math.cos(angle), math.sin(angle)
        laid = (
            np.stack([cos * line[:, 0] - sin * line[:, 1], sin * line[:, 0] + cos * line[:, 1]], axis=1)
            * flip
        )
        if (np.ptp(laid, axis=0) <= room).all():
            fitting.append(laid)
    if not fitting:
        return None
    chosen = 2.0 * numbers[2] * len(fitting)
    laid = fitting[int(chosen / 2.0)]
    return np.ascontiguousarray(laid if chosen % 2.0 < 1.0 else -laid)


def _round_the_hall(spec: HallSpec) -> Array:
    """Return the way along the hall's walls, as short as the lap's length asks for."""
    radius = CORNER_MARGIN * spec.lap.min_radius_m
    sides = np.array([spec.hall_length_m, spec.hall_width_m]) - 2.0 * spec.inset_m
    both = 0.5 * spec.length_m + (4.0 - math.pi) * radius
    longer = int(sides[1] > sides[0])
    least = max(2.0 * radius, spec.lap.clearance_m)
    sides[longer] = max(min(sides[longer], both - sides[1 - longer]), least)
    sides[1 - longer] = both - sides[longer]
    straight = np.array([sides[0], sides[1], sides[0], sides[1]]) - 2.0 * radius
    shape = LapShape(np.full(4, 0.5 * math.pi), np.full(4, radius), np.maximum(straight, 0.0))
    fine = trace(shape, 0.1)
    return geometry.resample_closed(fine, max(8, round(spec.length_m / 0.2)))[0]


def _furnished(rng: np.random.Generator, spec: HallSpec, line: Array, corner: Array) -> Grid | None:
    """Return the hall with ducts, gaps and boxes; None if the boxes find no places on this lap."""
    cell_m = spec.lap.resolution_m
    widths = widths_along(rng, spec.lap, len(line))
    low = np.floor(corner / cell_m).astype(int) - _WALL_CELLS
    high = (
        np.ceil((corner + np.array([spec.hall_length_m, spec.hall_width_m])) / cell_m).astype(int)
        + _WALL_CELLS
    )
    cols, rows = (int(count) for count in high - low)
    origin = (float(round(low[0] * cell_m, 9)), float(round(low[1] * cell_m, 9)), 0.0)
    frame = occupancy.frame_of(cell_m, origin)
    inner = occupancy.carve((rows, cols), frame, line, widths)
    duct = occupancy.carve((rows, cols), frame, line, widths + spec.duct_m) & ~inner
    _open_gaps(rng, spec, line, widths, duct, origin)
    middle = [origin[axis] + (np.arange(count) + 0.5) * cell_m for axis, count in enumerate((cols, rows))]
    inside = [
        (at > corner[axis]) & (at < corner[axis] + side)
        for axis, (at, side) in enumerate(zip(middle, (spec.hall_length_m, spec.hall_width_m), strict=True))
    ]
    free = inside[1][:, None] & inside[0][None, :] & ~duct
    for _ in range(4):  # other places, before another lap
        boxes = _placed_boxes(rng, spec, line, widths)
        found = None if boxes is None else _with_boxes(spec, line, widths, boxes, free, origin)
        if found is not None:
            return found
    return None


def _open_gaps(
    rng: np.random.Generator,
    spec: HallSpec,
    line: Array,
    widths: Array,
    duct: Cells,
    origin: tuple[float, float, float],
) -> None:
    """Take the gaps between two ducts out of the cells of ducts."""
    tangent = geometry.tangents(line, geometry.chord_lengths(line))
    opened: list[Array] = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        s_m = _DUCT_LENGTH_M * rng.random()
        while spec.gap_m > 0.0 and s_m < spec.length_m:
            k = min(int(s_m / spec.length_m * len(line)), len(line) - 1)
            normal = sign * np.array([-tangent[k, 1], tangent[k, 0]])
            at = line[k] + (widths[k, side] + 0.5 * spec.duct_m) * normal
            if all(math.hypot(*(at - other)) > _GAPS_APART_M for other in opened):
                size = (spec.gap_m * (0.5 + 0.5 * rng.random()), spec.duct_m + 0.1)
                _fill(duct, spec.lap.resolution_m, origin, at, tangent[k], size, value=False)
                opened.append(at)
            s_m += _DUCT_LENGTH_M * (0.5 + rng.random())


def _fill(
    cells: Cells,
    cell_m: float,
    origin: tuple[float, float, float],
    at: Array,
    along: Array,
    size: tuple[float, float],
    *,
    value: bool,
) -> None:
    """Set the cells whose centre is in a rectangle: its middle (2,) m, the direction of its first side, its sides."""
    reach = 0.5 * math.hypot(*size) + cell_m
    first = [max(0, math.floor((at[axis] - reach - origin[axis]) / cell_m)) for axis in (0, 1)]
    last = [math.ceil((at[axis] + reach - origin[axis]) / cell_m) for axis in (0, 1)]
    window = cells[first[1] : last[1], first[0] : last[0]]
    y = origin[1] + (first[1] + np.arange(window.shape[0]) + 0.5)[:, None] * cell_m - at[1]
    x = origin[0] + (first[0] + np.arange(window.shape[1]) + 0.5)[None, :] * cell_m - at[0]
    one, other = x * along[0] + y * along[1], y * along[0] - x * along[1]
    window[(np.abs(one) < 0.5 * size[0]) & (np.abs(other) < 0.5 * size[1])] = value


def _placed_boxes(rng: np.random.Generator, spec: HallSpec, line: Array, widths: Array) -> list[_Box] | None:
    """Return boxes past each of which a car gets; None if there are not so many places."""
    chords = geometry.chord_lengths(line)
    bend = np.abs(geometry.curvature(line, chords))
    step_m = float(chords.sum()) / len(line)
    boxes: list[_Box] = []
    for _ in range(_BOX_TRIES):
        if len(boxes) == spec.boxes:
            break
        numbers = rng.random(5)
        k = int(numbers[0] * len(line))
        s_m = k * step_m
        ways = [abs(s_m - other.s_m) for other in boxes]
        near = any(min(way, spec.length_m - way) < _BOXES_APART_M for way in ways)
        around = np.arange(k - round(1.0 / step_m), k + round(1.0 / step_m) + 1) % len(line)
        if near or min(s_m, spec.length_m - s_m) < _START_M or bend[around].max() > _STRAIGHT_1PM:
            continue
        box = _box_at(s_m, widths[around].min(axis=0), spec, numbers[1:])
        if box is not None:
            boxes.append(box)
    return boxes if len(boxes) == spec.boxes else None


def _box_at(s_m: float, widths: Array, spec: HallSpec, numbers: Array) -> _Box | None:
    """Return a box that leaves the way free on one side, which is the wider one; None where the track is too narrow."""
    right, left = (float(width) for width in widths)
    edge = spec.box_m * (0.5 + 0.5 * float(numbers[0]))
    yaw = 0.5 * math.pi * float(numbers[1])
    half = 0.5 * edge * (math.cos(yaw) + math.sin(yaw))
    spare = right + left - PASSAGE_M - 2.0 * half
    if spare < 0.0:
        return None
    behind = min(spare, 0.5 * (right + left) - half) * float(numbers[2]) ** 2  # mostly at a duct
    # On the right of the track: from the right duct to the box, the box, and then the way.
    at_right = numbers[3] < 0.5
    near, far = (right, left) if at_right else (left, right)
    lateral, middle = -near + behind + half, 0.5 * (far - near + behind + 2.0 * half)
    sign = 1.0 if at_right else -1.0
    return _Box(s_m, sign * lateral, edge, yaw, half, sign * middle)


def _with_boxes(
    spec: HallSpec,
    line: Array,
    widths: Array,
    boxes: list[_Box],
    hall: Cells,
    origin: tuple[float, float, float],
) -> Grid | None:
    """Return the hall with the boxes, and the centreline led round them; None if it gets too tight or too near."""
    cell_m = spec.lap.resolution_m
    chords = geometry.chord_lengths(line)
    tangent = geometry.tangents(line, chords)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    length_m = float(chords.sum())
    s_m, free, shift = geometry.cumulative(chords), hall.copy(), np.zeros(len(line))
    for box in boxes:
        k = min(int(np.searchsorted(s_m, box.s_m)), len(line) - 1)
        cos, sin = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
        along = cos * tangent[k] + sin * normal[k]
        _fill(
            free,
            cell_m,
            origin,
            line[k] + box.lateral_m * normal[k],
            along,
            (box.edge_m, box.edge_m),
            value=False,
        )
        way = np.abs(s_m - box.s_m)
        way = np.minimum(way, length_m - way) - box.half_m - _BESIDE_M
        shift += box.shift_m * 0.5 * (1.0 + np.cos(math.pi * np.clip(way / _RAMP_M, 0.0, 1.0)))
    led, place = geometry.resample_closed(np.ascontiguousarray(line + shift[:, None] * normal), len(line))
    led = np.round(led, 6) + 0.0
    led_chords = geometry.chord_lengths(led)
    if np.abs(geometry.curvature(led, led_chords)).max() > 1.0 / spec.lap.min_radius_m:
        return None
    if led_chords.sum() < (1.0 - LENGTH_TOLERANCE) * spec.length_m:
        return None
    asked = widths + np.stack([shift, -shift], axis=1)
    known = np.arange(len(line) + 1)
    asked = np.stack([np.interp(place, known, np.append(side, side[0])) for side in asked.T], axis=1)
    frame = occupancy.frame_of(cell_m, origin)
    measured = measured_widths(free, frame, led, geometry.tangents(led, led_chords), 2.0 * spec.lap.widest_m)
    if not _is_clear(free, cell_m, origin, led):
        return None
    return Grid(free, cell_m, origin, led, np.round(np.minimum(asked, measured), 6))


def _is_clear(free: Cells, cell_m: float, origin: tuple[float, float, float], line: Array) -> bool:
    """Return whether a circle a little wider than a car fits at each point of the line."""
    field_m = cell_m * distance_transform_cells(free)
    cols, rows = (np.floor((line[:, axis] - origin[axis]) / cell_m).astype(int) for axis in (0, 1))
    return bool(field_m[rows, cols].min() >= _CLEAR_M)
