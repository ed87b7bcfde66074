"""Boxes on the track, drawn for each episode: in scans, in contacts, and never in the way of a start."""

from __future__ import annotations

import math

import numpy as np

from .array_types import Floats
from .arrays import Cars, Rules, TrackArrays
from .collision import boxes_overlap, fill_corners
from .compiled import inlined, inner
from .draws import DRAWS, Draws
from .noise import chain, uniform

# Beside a box a car's width and this much is left of the track, m.
PASSING_ROOM_M = 0.5
# From a car that starts, and from box to box, along the centreline, m.
START_GAP_M = 3.0
BOX_GAP_M = 3.0
_TRIES = 8
# Set the keys of boxes apart from those of cars, whose number stands in their place.
_BOXES = 1 << 30
_TURNED_RAD = 0.4


@inner
def draw_obstacles(cars: Cars, track_arrays: TrackArrays, rules: Rules, r: Draws, e: int) -> None:
    """Put this episode's boxes on an environment's track, clear of its cars, which stand at their starts.

    A box that finds no place in some tries is left out: where the track is too narrow or too short for it.
    """
    cars.obstacle_count[e] = 0
    t = track_arrays.track_of[e]
    if r.obstacles[1] == 0 or track_arrays.line_count[t] == 0:
        return
    key = chain(chain(chain(rules.seeds[e], cars.episode[e]), _BOXES), DRAWS)
    low, high = r.obstacles
    wanted = min(int(uniform(chain(key, 0), float(low), float(high + 1))), high)
    for k in range(wanted):
        box = chain(key, k + 1)
        for attempt in range(_TRIES):
            if _put_box(cars, track_arrays, rules, r, e, chain(box, attempt)):
                break


@inner
def _put_box(cars: Cars, track_arrays: TrackArrays, rules: Rules, r: Draws, e: int, key: np.uint64) -> bool:
    """Put one more box at a place that the key determines; False if that place is taken or too narrow."""
    t = track_arrays.track_of[e]
    begin, count, lap_m = track_arrays.line_first[t], track_arrays.line_count[t], track_arrays.length_m[t]
    point = min(int(uniform(chain(key, 1), 0.0, 1.0) * count), count - 1)
    arc_m = track_arrays.arc_m[begin + point]
    for n in range(cars.states.shape[1]):
        if _apart(arc_m, cars.arc_m[e, n], lap_m) < START_GAP_M:
            return False
    placed = cars.obstacle_count[e]
    for k in range(placed):
        if _apart(arc_m, cars.obstacle_arc_m[e, k], lap_m) < BOX_GAP_M:
            return False
    length = uniform(chain(key, 2), r.obstacle_size_m[0], r.obstacle_size_m[1])
    width = uniform(chain(key, 3), r.obstacle_size_m[0], r.obstacle_size_m[1])
    turned = uniform(chain(key, 4), -_TURNED_RAD, _TURNED_RAD)
    across = 0.5 * (width * math.cos(turned) + length * abs(math.sin(turned)))
    right_m, left_m = track_arrays.right_m[begin + point], track_arrays.left_m[begin + point]
    room = rules.vehicle.width + PASSING_ROOM_M
    # Towards one side, so far from the other wall that a car passes.
    lowest, highest = room + across - right_m, left_m - across
    if uniform(chain(key, 5), 0.0, 1.0) < 0.5:
        lowest, highest = across - right_m, left_m - room - across
    if lowest > highest:
        return False
    lateral = uniform(chain(key, 6), lowest, highest)
    to_x, to_y = track_arrays.tangent[begin + point, 0], track_arrays.tangent[begin + point, 1]
    x = track_arrays.line[begin + point, 0] - lateral * to_y
    y = track_arrays.line[begin + point, 1] + lateral * to_x
    yaw = math.atan2(to_y, to_x)
    fill_corners(x, y, yaw + turned, length, width, cars.obstacles[e, placed])
    cars.obstacle_arc_m[e, placed] = arc_m
    cars.obstacle_count[e] = placed + 1
    return True


@inner
def _apart(one_m: float, other_m: float, lap_m: float) -> float:
    """Return how far two places of a lap are from each other, m, the shorter way round."""
    way = abs(one_m - other_m) % lap_m
    return min(way, lap_m - way)


@inlined
def touches_obstacle(cars: Cars, e: int, corners: Floats) -> bool:
    """Tell whether a body with these corners (4, 2) overlaps a box of its environment."""
    for k in range(cars.obstacle_count[e]):  # noqa: SIM110 - any() allocates
        if boxes_overlap(corners, cars.obstacles[e, k]):
            return True
    return False
