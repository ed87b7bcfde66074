"""Starting places of cars: on a grid, and again after a crash if the settings say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..config.checks import check_grid_length
from ..errors import ConfigurationError
from ..sim.obstacles import PASSING_ROOM_M
from .car import vehicle_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ..config import EnvSettings
    from ..config.env import RaceSettings
    from ..sim import Track, Vehicle

    Array = NDArray[np.float64]

# Random starts keep the car's middle this far from the walls and its heading this near to the track's.
START_CLEARANCE_M = 0.5
START_HEADING_RAD = 0.3
# A car that is put back after a crash has this much track free before and behind it, where there is that much.
RESTART_GAP_M = 4.0
_RESTART_CANDIDATES = 16
_DRAWS = 8
# Side by side there is this much between two cars, as RoboRacer's head-to-head rounds start
# (https://github.com/jara001/f1tenth-rules, 2.5.1); random starts put them farther out by this factor, at most.
_BETWEEN_M = 0.30
_ABREAST_SPREAD = 1.3


def clear_distance_m(car: Vehicle) -> float:
    """Return how far apart the middles of two cars must be to be clear of each other, however they are turned, m."""
    return float(np.hypot(car.length, car.width))


def abreast_m(car: Vehicle) -> float:
    """Return the distance between the middles of two cars that start side by side, m."""
    return _BETWEEN_M + car.width


def _abreast_room_m(car: Vehicle) -> float:
    """Return the room that each of two needs from the line to its wall, m, turned by START_HEADING_RAD at most.

    Turned so, two of a row are still clear of each other.
    """
    turned_m = car.width * np.cos(START_HEADING_RAD) + car.length * np.sin(START_HEADING_RAD)
    return float(0.5 * (abreast_m(car) * _ABREAST_SPREAD + turned_m))


def check_grid(settings: EnvSettings, tracks: Sequence[Track], num_cars: int) -> None:
    """Refuse more cars than the smallest of the tracks holds.

    Raises:
        ConfigurationError: names the number, the limit and the track.

    """
    smallest = min(tracks, key=lambda track: track.length_m)
    check_grid_length(settings.race, num_cars, smallest.name, smallest.length_m)


def check_obstacles(settings: EnvSettings, tracks: Sequence[Track]) -> None:
    """Refuse boxes that leave no way past them anywhere on a track.

    Raises:
        ConfigurationError: names the track, its width and the largest box that it holds.

    """
    drawn = settings.randomisation
    if drawn.obstacles[1] == 0:
        return
    for track in tracks:
        room_m = float(np.add(*track.widths_m).max()) - vehicle_of(settings).width - PASSING_ROOM_M
        if drawn.obstacle_size_m[0] > room_m:
            raise ConfigurationError(
                f"env.randomisation.obstacle_size_m = {list(drawn.obstacle_size_m)}: on track {track.name} a box of "
                f"more than {max(room_m, 0.0):.2f} m leaves no way past it, a car's width and {PASSING_ROOM_M:g} m",
                next_step="Use smaller boxes there, wider tracks, or env.randomisation.obstacles = [0, 0].",
            )


def grid_places(
    track: Track, first_m: float, settings: EnvSettings, num_cars: int, *, abreast: bool
) -> tuple[Array, Array] | None:
    """Return way along the centreline and left offset, m, (N,) each, of the places on a grid, from the front.

    first_m: where its first row is. abreast: two in a row, the first on the right, abreast_m from car to car. None
    where the track is too narrow for two, or so bent that rows would touch.
    """
    race, car = settings.race, vehicle_of(settings)
    if not abreast:
        return single_file(track, first_m, race, num_cars)
    row = _rows(num_cars, abreast=True)
    s_m = _behind(track, first_m, race, row)
    nearest = np.searchsorted(track.arc_length_m, s_m, side="right") - 1
    room_m = np.minimum(*track.widths_m)[nearest]
    left_m = np.where(np.arange(num_cars) % 2 == 0, -0.5, 0.5) * abreast_m(car)
    if (room_m < _abreast_room_m(car)).any() or not _apart(_poses(track, s_m, left_m), row, car):
        return None
    return s_m, left_m


def single_file(track: Track, first_m: float, race: RaceSettings, num_cars: int) -> tuple[Array, Array]:
    """Return what `grid_places` does, for cars one behind the other: for them there is always room."""
    return _behind(track, first_m, race, _rows(num_cars, abreast=False)), np.zeros(num_cars)


def start_grid(settings: EnvSettings, track: Track, num_cars: int, rng: np.random.Generator) -> Array:
    """Return (N, 3) starting poses x m, y m, yaw rad.

    A single car starts anywhere, several on a grid in a random order. With random starts the grid begins anywhere and
    each car stands a little off its place; otherwise the first row is at the start of the lap. If there is no room for
    two side by side, the cars start in single file.
    """
    first_m = rng.uniform(0.0, track.length_m) if settings.random_starts else 0.0
    if num_cars == 1:
        return np.array([start_pose(settings, track, first_m, rng)])
    order, race, car = rng.permutation(num_cars), settings.race, vehicle_of(settings)
    abreast = race.grid == "side_by_side" or (race.grid == "either" and rng.random() < 0.5)
    places = grid_places(track, first_m, settings, num_cars, abreast=True) if abreast else None
    abreast = places is not None
    s_m, left_m = places or single_file(track, first_m, race, num_cars)
    row, s_m, left_m = _rows(num_cars, abreast=abreast)[order], s_m[order], left_m[order]
    for _ in range(_DRAWS if settings.random_starts else 0):
        if abreast:
            turned = rng.uniform(-START_HEADING_RAD, START_HEADING_RAD, num_cars)
            poses = _poses(track, s_m, left_m * rng.uniform(1.0, _ABREAST_SPREAD, num_cars), turned)
        else:
            poses = np.array([start_pose(settings, track, s, rng) for s in s_m])
        if _apart(poses, row, car):
            return poses
    # At their places themselves cars are clear of each other.
    return _poses(track, s_m, left_m)


def start_pose(
    settings: EnvSettings, track: Track, s_m: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return a pose at a way along the centreline, with random starts a little off it."""
    if not settings.random_starts:
        return track.pose_at(s_m)
    nearest = int(np.searchsorted(track.arc_length_m, s_m, side="right")) - 1
    right_m, left_m = track.widths_m
    right = max(float(right_m[nearest]) - START_CLEARANCE_M, 0.0)
    left = max(float(left_m[nearest]) - START_CLEARANCE_M, 0.0)
    lateral = rng.uniform(-right, left)
    return track.pose_at(s_m, lateral, rng.uniform(-START_HEADING_RAD, START_HEADING_RAD))


def restart_pose(
    settings: EnvSettings, track: Track, crash_m: float, others_m: Array, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return the pose of a car that continues after a crash at crash_m along the track.

    With random starts it is anywhere that keeps RESTART_GAP_M to the other racing cars (k,) m; otherwise it is the
    nearest such place behind the crash. If there is no such place, it is the middle of the largest gap that was tried.
    """
    count = max(_RESTART_CANDIDATES, 2 * len(others_m) + 2)
    step_m = track.length_m / count
    if settings.random_starts:
        candidates_m = rng.uniform(0.0, track.length_m) + step_m * rng.permutation(count)
    else:
        candidates_m = crash_m - step_m * np.arange(count)
    candidates_m %= track.length_m
    if len(others_m) == 0:
        return start_pose(settings, track, float(candidates_m[0]), rng)
    apart_m = np.abs(candidates_m[:, None] - others_m[None, :])
    nearest_m = np.minimum(apart_m, track.length_m - apart_m).min(axis=1)
    free = nearest_m >= RESTART_GAP_M
    chosen = int(np.argmax(free)) if free.any() else int(np.argmax(nearest_m))
    return start_pose(settings, track, float(candidates_m[chosen]), rng)


def _rows(num_cars: int, *, abreast: bool) -> NDArray[np.int64]:
    return np.arange(num_cars) // (2 if abreast else 1)


def _behind(track: Track, first_m: float, race: RaceSettings, row: NDArray[np.int64]) -> Array:
    """Return the way along the centreline, m, of rows (N,) counted from the first."""
    return (first_m - race.grid_spacing_m * row.astype(np.float64)) % track.length_m


def _poses(track: Track, s_m: Array, left_m: Array, turned: ArrayLike = 0.0) -> Array:
    return np.stack(track.pose_at(s_m, left_m, turned), axis=1)


def _apart(poses: Array, row: NDArray[np.int64], car: Vehicle) -> bool:
    """Tell whether no two cars of different rows (N,) can touch; those of one row stand clear of each other."""
    across = poses[:, None, :2] - poses[None, :, :2]
    distance = np.hypot(across[..., 0], across[..., 1])
    return bool(((distance > clear_distance_m(car)) | (row[:, None] == row[None, :])).all())
