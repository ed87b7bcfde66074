"""The standings of each race: distance driven, position, gaps, overtakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..sim.compiled import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .worlds import AnyWorld

    Array = NDArray[np.float64]

# Cars as near as this race each other.
NEARBY_M = 20.0


class Standings(NamedTuple):
    """Hold the standings of E races of N cars; arrays (E, N). A lap is one length of the centreline.

    A pass counts once the one car is a whole car length ahead of the other, `passed_m` below: cars side by side do not
    overtake each other to and fro.
    """

    distance_m: Array  # distance along the centreline, from the start of the last car of the race
    base_m: Array  # of it, what was behind the car when its progress began
    position: NDArray[np.int64]  # 1 leads; a car that is out is passed where it stands
    start_position: NDArray[np.int64]
    gap_ahead_m: Array  # along the track to the next racing car, whatever its lap; inf where there is none
    gap_behind_m: Array
    overtakes: NDArray[np.int64]  # places won from cars that were racing; lapping a car wins none
    overtaken: NDArray[np.int64]  # places lost to them
    ahead: NDArray[np.bool_]  # (E, N, N) bool, [e, i, j]: i is ahead of j

    @property
    def gap_to_leader_m(self) -> Array:
        """Give how far each car is behind the first of its race, m."""
        behind: Array = self.distance_m.max(axis=1, keepdims=True) - self.distance_m
        return behind


def make_standings(num_envs: int, num_cars: int) -> Standings:
    """Return the standings before any race."""
    cars = (num_envs, num_cars)
    whole, way = np.zeros(cars, dtype=np.int64), np.zeros(cars)
    return Standings(
        distance_m=way.copy(),
        base_m=way.copy(),
        position=whole + 1,
        start_position=whole + 1,
        gap_ahead_m=way + np.inf,
        gap_behind_m=way + np.inf,
        overtakes=whole.copy(),
        overtaken=whole.copy(),
        ahead=np.zeros((*cars, num_cars), dtype=np.bool_),
    )


def begin(at: Standings, world: AnyWorld, where: NDArray[np.bool_], racing: NDArray[np.bool_]) -> None:
    """Restart the chosen environments (E,), with the cars as they stand on the grid; racing (E, N) of all.

    The grid is the shortest stretch of track that contains all cars; the last of them has distance 0.
    """
    for e in np.flatnonzero(where):
        arc_m, lap_m = world.arc_m[e], world.tracks[e].length_m
        order = np.argsort(arc_m)
        gaps = np.diff(arc_m[order], append=arc_m[order[0]] + lap_m)
        last = order[(int(np.argmax(gaps)) + 1) % len(order)]
        at.base_m[e] = (arc_m - arc_m[last]) % lap_m
    at.distance_m[where] = at.base_m[where]
    at.overtakes[where] = at.overtaken[where] = 0
    _order_by_distance(at, np.repeat(where[:, None], at.position.shape[1], axis=1), world.vehicle.length)
    _measure(at, world.arc_m, _lengths(world), racing)
    at.start_position[where] = at.position[where]


def move(at: Standings, world: AnyWorld, where: NDArray[np.bool_], crash_arc_m: Array) -> None:
    """Record that cars, where (E, N), were put elsewhere: each falls back by the distance to its new place.

    crash_arc_m: (E, N) where they were. This counts as no overtake.
    """
    lap_m = _lengths(world)[:, None]
    forward_m = (world.arc_m - crash_arc_m) % lap_m
    back = at.distance_m + np.where(forward_m > 0.0, forward_m - lap_m, 0.0)
    np.copyto(at.base_m, back, where=where)
    np.copyto(at.distance_m, back, where=where)
    _order_by_distance(at, where, world.vehicle.length)


def advance(at: Standings, world: AnyWorld, racing: NDArray[np.bool_]) -> Array:
    """Update after a step; racing (E, N): the cars that raced all through it. Return places won less lost (E, N)."""
    np.add(at.base_m, world.progress_m, out=at.distance_m)
    before = at.overtakes - at.overtaken
    _count_passes(at, racing, world.vehicle.length)
    _measure(at, world.arc_m, _lengths(world), racing)
    return (at.overtakes - at.overtaken - before).astype(np.float64)


def gained_m(at: Standings, advance_m: Array, racing: NDArray[np.bool_]) -> Array:
    """Return the metres (E, N) that each car has gained on the racing ones within NEARBY_M of it, before or behind.

    advance_m: (E, N) what each has driven since `at` was measured.
    """
    pairs = racing[:, :, None] & racing[:, None, :]
    pairs &= np.abs(at.distance_m[:, :, None] - at.distance_m[:, None, :]) < NEARBY_M
    gained: Array = ((advance_m[:, :, None] - advance_m[:, None, :]) * pairs).sum(axis=2)
    return gained


def lead(at: Standings, racing: NDArray[np.bool_], passed_m: float) -> Array:
    """Return how many racing cars within NEARBY_M each car (E, N) has behind it, less those that it has before it.

    Within a car length it is the share of that length, so that a car that comes up alongside has more already.
    """
    pairs = racing[:, :, None] & racing[:, None, :]
    ahead_m = at.distance_m[:, :, None] - at.distance_m[:, None, :]
    pairs &= np.abs(ahead_m) < NEARBY_M
    led: Array = (np.clip(ahead_m / passed_m, -1.0, 1.0) * pairs).sum(axis=2)
    return led


def state_dict(at: Standings) -> dict[str, NDArray[Any]]:
    """Return copies of all arrays by name."""
    return {f"standings_{name}": array.copy() for name, array in at._asdict().items()}


def load_state_dict(at: Standings, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Restore the standings that `state_dict` returned."""
    for name, array in at._asdict().items():
        array[...] = arrays[f"standings_{name}"]


def _lengths(world: AnyWorld) -> Array:
    return np.array([track.length_m for track in world.tracks])


def _order_by_distance(at: Standings, where: NDArray[np.bool_], passed_m: float) -> None:
    """Set who is ahead of whom by distance alone, for every pair that one of the chosen cars is in.

    Of two cars side by side neither is ahead: the one that then gets ahead has not overtaken the other.
    """
    now = at.distance_m[:, :, None] - at.distance_m[:, None, :] > passed_m
    np.copyto(at.ahead, now, where=where[:, :, None] | where[:, None, :])


@kernel
def _count_passes(at: Standings, racing: NDArray[np.bool_], passed_m: float) -> None:
    num_envs, num_cars = at.distance_m.shape
    for e in range(num_envs):
        for i in range(num_cars):
            for j in range(num_cars):
                if at.ahead[e, i, j] or not at.distance_m[e, i] - at.distance_m[e, j] > passed_m:
                    continue
                if at.ahead[e, j, i] and racing[e, i] and racing[e, j]:
                    at.overtakes[e, i] += 1
                    at.overtaken[e, j] += 1
                at.ahead[e, i, j], at.ahead[e, j, i] = True, False


@kernel
def _measure(at: Standings, arc_m: Array, lap_m: Array, racing: NDArray[np.bool_]) -> None:
    """Write position and gaps of every car, the gaps to the racing ones."""
    num_envs, num_cars = at.distance_m.shape
    for e in range(num_envs):
        for i in range(num_cars):
            place, ahead_m, behind_m = 1, np.inf, np.inf
            for j in range(num_cars):
                if i == j:
                    continue
                # Of two cars exactly side by side the one with the lower number counts as ahead.
                lead_m = at.distance_m[e, j] - at.distance_m[e, i]
                if lead_m > 0.0 or (lead_m == 0.0 and j < i):
                    place += 1
                if racing[e, j]:
                    way_m = (arc_m[e, j] - arc_m[e, i]) % lap_m[e]
                    ahead_m, behind_m = min(ahead_m, way_m), min(behind_m, lap_m[e] - way_m)
            at.position[e, i], at.gap_ahead_m[e, i], at.gap_behind_m[e, i] = place, ahead_m, behind_m
