"""Find the way round a map: the loop of free ground that a car can drive, from one side of a cut to the other.

A cut from wall to wall across the way, which no path may cross, makes of the loop a path from its one side to its
other. Of all paths the one is taken that keeps to the middle and is short: each metre costs the more, the nearer the
walls are. So side rooms and dead ends are passed by, and a pole in the way is gone round on the wider side.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sim import Track, TrackError, Vehicle
from ..sim.compiled import kernel
from ..sim.track import occupancy
from ..sim.track.distance_transform import distance_transform_cells

Array = NDArray[np.float64]
Cells = NDArray[np.bool_]

# Half a car and some room: nearer to a wall the way does not go.
CLEARANCE_M = 0.5 * Vehicle().width + 0.1
# Farther from the walls than this nothing is gained: across a hall the way is straight.
WIDE_M = 1.5
# The side of an island that is worth going round; what is smaller is a pole or a box on the way.
ISLAND_M = 1.5
# A piece of ground smaller than this is no track; of larger ones so many are looked at.
_LEAST_GROUND_M2, _MOST_PIECES = 3.0, 8
# The grid on which the way is looked for is no finer than this.
_STEP_M = 0.1
# From the places that are proposed for a start, to the nearest wall; less where the whole way is narrower.
_ROOM_M = 0.5
_NOWHERE = -1


class Ground(NamedTuple):
    """A map's free ground, on a grid of its own."""

    clear_m: Array  # (h, w) to the nearest wall
    open: Cells  # (h, w) where a car's middle can be, all of it joined
    walls: NDArray[
        np.int64
    ]  # (h, w) number of each piece of wall that is worth going round, 0 for none, 1 the outer one
    step: int  # the map's cells to one of these


def grounds_of(track: Track, start: tuple[float, float] | None = None) -> list[Ground]:
    """Return each piece of ground that leads round something; that of the start alone, if one is given.

    Ground that reaches the map's edge counts as the surroundings of the track, unless there is no other. Raises
    TrackError where nothing can be driven round, and for a start in a wall.
    """
    field = distance_transform_cells(np.pad(track.free, 1, constant_values=False))[1:-1, 1:-1]
    step = max(1, round(_STEP_M / track.resolution_m))
    clear_m = np.ascontiguousarray(field[step // 2 :: step, step // 2 :: step] * track.resolution_m)
    pieces = _joined(clear_m >= CLEARANCE_M)
    if start is not None:
        row, col = _cell_of(track, step, start)
        if not (0 <= row < len(pieces) and 0 <= col < pieces.shape[1] and pieces[row, col]):
            raise TrackError(
                f"the start ({start[0]:g}, {start[1]:g}) m is in a wall, off the map, or nearer to a wall than "
                f"{CLEARANCE_M:.2f} m"
            )
        pieces = np.where(pieces == pieces[row, col], 1, 0)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    least = _LEAST_GROUND_M2 / (step * track.resolution_m) ** 2
    grounds = []
    for one in np.argsort(-sizes)[:_MOST_PIECES]:
        if sizes[one] >= least:
            joined = pieces == one
            walls = _walls(joined, step * track.resolution_m)
            if walls.max() > 1:
                grounds.append(Ground(clear_m, joined, walls, step))
    within = [ground for ground in grounds if not _reaches_edge(track, ground)]
    if not grounds:
        what = (
            "the free ground"
            if start is None
            else f"the ground around the start ({start[0]:g}, {start[1]:g}) m"
        )
        raise TrackError(f"{what} has no loop: there is no wall inside it to drive round")
    return within or grounds


def _walls(joined: Cells, size_m: float) -> NDArray[np.int64]:
    """Return (h, w): 1 for the wall around the ground, a number from 2 for each wall inside it worth going round."""
    framed = _joined_by_corners(np.pad(~joined, 1, constant_values=True))
    number, outer = framed[1:-1, 1:-1], int(framed[0, 0])
    walls = np.where(number == outer, 1, 0)
    kept = 1
    for one in range(1, int(number.max()) + 1):
        rows, cols = np.nonzero(number == one)
        # The cells around a wall where no car's middle fits are part of the island here.
        if one != outer and (max(np.ptp(rows), np.ptp(cols)) + 1) * size_m >= ISLAND_M + 2 * CLEARANCE_M:
            kept += 1
            walls[rows, cols] = kept
    return walls


def _reaches_edge(track: Track, ground: Ground) -> bool:
    row, col = np.argwhere(ground.open)[0] * ground.step + ground.step // 2
    cells = occupancy.reachable(track.free, int(row), int(col))
    return bool(cells[[0, -1]].any() or cells[:, [0, -1]].any())


def islands(ground: Ground, track: Track) -> list[tuple[float, float]]:
    """Return a place, x m and y m, next to each piece of wall that can be driven round, with room on both sides."""
    places = []
    roomy = ground.open & (ground.clear_m >= min(_ROOM_M, float(np.median(ground.clear_m[ground.open]))))
    for one in range(2, int(ground.walls.max()) + 1):
        beside = np.where(roomy, distance_transform_cells(ground.walls != one), np.inf)
        row, col = np.unravel_index(int(beside.argmin()), beside.shape)
        places.append(_to_world(track, ground, np.array([[row, col]]))[0])
    return [(float(x), float(y)) for x, y in places]


def way_round(track: Track, ground: Ground, start: tuple[float, float] | None) -> Array:
    """Return the way round (n, 2) m, closed, anticlockwise or not as it comes; from the start, if one is given.

    Raises TrackError for a start in a wall, and where no way leads round from there.
    """
    first = None if start is None else _cell_of(track, ground.step, start)
    cut, middle = _cut(ground, first)
    path = _around(ground, cut, middle)
    if path is None:
        x, y = _to_world(track, ground, np.array([middle]))[0]
        raise TrackError(f"from ({x:.2f}, {y:.2f}) m no way leads round and back: choose another start")
    return _to_world(track, ground, path)


def _cell_of(track: Track, step: int, place: tuple[float, float]) -> tuple[int, int]:
    right, up = occupancy.to_map(track.frame, *place)
    size_m = step * track.resolution_m
    return math.floor(up / size_m), math.floor(right / size_m)


def _to_world(track: Track, ground: Ground, cells: NDArray[np.int64]) -> Array:
    size_m = ground.step * track.resolution_m
    inner = (ground.step // 2 + 0.5) * track.resolution_m
    places = [
        occupancy.to_world(track.frame, col * size_m + inner, row * size_m + inner) for row, col in cells
    ]
    return np.array(places)


def _cut(ground: Ground, start: tuple[int, int] | None) -> tuple[Cells, tuple[int, int]]:
    """Return the cells of a cut from wall to wall, and the one in its middle.

    From a start, from the nearest piece of wall to the nearest other one; else where the way is narrowest.
    """
    far = {
        one: distance_transform_cells(ground.walls != one) for one in range(1, int(ground.walls.max()) + 1)
    }
    if start is None:
        both = np.where(ground.open, far[1] + far[2] + 0.01 * np.abs(far[1] - far[2]), np.inf)
        row, col = np.unravel_index(int(both.argmin()), both.shape)
        start, ends = (int(row), int(col)), [1, 2]
    else:
        ends = sorted(far, key=lambda one: far[one][start])[:2]
    cut = np.zeros(ground.open.shape, dtype=np.bool_)
    for one in ends:
        rows, cols = np.nonzero(ground.walls == one)
        nearest = int(((rows - start[0]) ** 2 + (cols - start[1]) ** 2).argmin())
        _draw(cut, start, (int(rows[nearest]), int(cols[nearest])))
    return cut, start


@kernel
def _draw(cells: Cells, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Mark the cells of a line so that they join side by side: a step along a diagonal marks both corners."""
    rows, cols = end[0] - start[0], end[1] - start[1]
    count = max(abs(rows), abs(cols), 1)
    row, col = start
    cells[row, col] = True
    for k in range(1, count + 1):
        next_row = start[0] + round(rows * k / count)
        next_col = start[1] + round(cols * k / count)
        cells[next_row, col] = True
        cells[row, next_col] = True
        cells[next_row, next_col] = True
        row, col = next_row, next_col


def _around(ground: Ground, cut: Cells, middle: tuple[int, int]) -> NDArray[np.int64] | None:
    """Return the cells (n, 2), row and column, of the cheapest way from one side of the cut's middle to the other."""
    passable = ground.open & ~cut
    sides = _sides(passable, middle)
    if sides is None:
        return None
    came = _cheapest(passable, ground.clear_m, *sides)
    row, col = sides[1]
    if came[row, col] == _NOWHERE:
        return None
    path = [(row, col)]
    width = passable.shape[1]
    while (row, col) != sides[0]:
        row, col = divmod(int(came[row, col]), width)
        path.append((row, col))
    return np.array([*path, middle])


def _sides(passable: Cells, middle: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return a cell on either side of the cut near its middle, row and column."""
    row, col = middle
    reach = 6
    rows = slice(max(row - reach, 0), row + reach + 1)
    cols = slice(max(col - reach, 0), col + reach + 1)
    pieces = _joined(passable[rows, cols])
    found = []
    for one in range(1, int(pieces.max()) + 1):
        r, c = np.nonzero(pieces == one)
        away = (r + rows.start - row) ** 2 + (c + cols.start - col) ** 2
        best = int(away.argmin())
        found.append((int(away[best]), int(r[best] + rows.start), int(c[best] + cols.start)))
    found.sort()
    return (found[0][1:], found[1][1:]) if len(found) > 1 else None


def _joined(cells: Cells) -> NDArray[np.int64]:
    """Return (h, w): the number, from 1, of the piece of cells joined side by side that each belongs to, else 0."""
    return _label(cells, 0)


def _joined_by_corners(cells: Cells) -> NDArray[np.int64]:
    """Return the same of pieces whose cells touch at corners, too."""
    return _label(cells, 1)


@kernel
def _label(cells: Cells, by_corners: int) -> NDArray[np.int64]:
    height, width = cells.shape
    number = np.zeros((height, width), np.int64)
    waiting = np.empty((height * width, 2), np.int64)
    last = 0
    for top in range(height):
        for side in range(width):
            if not cells[top, side] or number[top, side] > 0:
                continue
            last += 1
            number[top, side] = last
            waiting[0] = top, side
            count = 1
            while count > 0:
                count -= 1
                row, col = waiting[count]
                for up in range(-1, 2):
                    for right in range(-1, 2):
                        if up != 0 and right != 0 and by_corners == 0:
                            continue
                        r, c = row + up, col + right
                        if 0 <= r < height and 0 <= c < width and cells[r, c] and number[r, c] == 0:
                            number[r, c] = last
                            waiting[count] = r, c
                            count += 1
    return number


@kernel
def _cheapest(
    passable: Cells, clear_m: Array, start: tuple[int, int], end: tuple[int, int]
) -> NDArray[np.int64]:
    """Return (h, w): from which cell, row * w + column, the cheapest way came, _NOWHERE where none did (Dijkstra)."""
    height, width = passable.shape
    came = np.full((height, width), _NOWHERE, np.int64)
    cost = np.full((height, width), np.inf)
    cost[start[0], start[1]] = 0.0
    waiting = [(0.0, start[0] * width + start[1])]
    while len(waiting) > 0:
        spent, at = heapq.heappop(waiting)
        row, col = at // width, at % width
        if spent > cost[row, col]:
            continue
        if row == end[0] and col == end[1]:
            break
        for up in range(-1, 2):
            for right in range(-1, 2):
                r, c = row + up, col + right
                inside = 0 <= r < height and 0 <= c < width
                if not inside or (up == 0 and right == 0) or not passable[r, c]:
                    continue
                room = min(clear_m[r, c], WIDE_M)
                after = spent + math.sqrt(up * up + right * right) / (room * room)
                if after < cost[r, c]:
                    cost[r, c] = after
                    came[r, c] = at
                    heapq.heappush(waiting, (after, r * width + c))
    return came
