"""Where cars start: on a grid, and again after a crash where the settings say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.errors import ConfigurationError
from training.sim import Vehicle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.config import EnvSettings
    from training.sim import Track

    Array = NDArray[np.float64]

# Random starts keep the car's middle this far from the walls and its heading this near to the track's.
START_CLEARANCE_M = 0.5
START_HEADING_RAD = 0.3
# A car that is put back after a crash has this much track free before and behind it, where there is that much.
RESTART_GAP_M = 4.0
_RESTART_CANDIDATES = 16
_DRAWS = 8
_BODY_M = float(np.hypot(Vehicle().length, Vehicle().width))


def grid_capacity(track: Track, spacing_m: float) -> int:
    """Return how many cars, one behind the other at a spacing, m, a lap of the track holds."""
    return int(track.length_m / spacing_m)


def check_grid(settings: EnvSettings, tracks: Sequence[Track], num_cars: int) -> None:
    """Refuse more cars than the smallest of the tracks holds.

    Raises:
        ConfigurationError: names the number, the limit and the track.

    """
    spacing_m = settings.race.grid_spacing_m
    smallest = min(tracks, key=lambda track: track.length_m)
    limit = grid_capacity(smallest, spacing_m)
    if num_cars > max(limit, 1):
        raise ConfigurationError(
            f"training.num_agents = {num_cars}: the starting grid of track {smallest.name} holds at most {limit} cars "
            f"({smallest.length_m:.1f} m, one every env.race.grid_spacing_m = {spacing_m:g} m)",
            next_step=f"Use at most {limit} agents, a longer track, or a smaller env.race.grid_spacing_m.",
        )


def start_grid(settings: EnvSettings, track: Track, num_cars: int, rng: np.random.Generator) -> Array:
    """Return (N, 3) starting poses x m, y m, yaw rad.

    A single car anywhere; several in a row at the grid's spacing, in a drawn order. With random starts the row begins
    anywhere and each car stands a little off the line, else the first one stands where the lap begins.
    """
    first_m = rng.uniform(0.0, track.length_m) if settings.random_starts else 0.0
    if num_cars == 1:
        return np.array([start_pose(settings, track, first_m, rng)])
    s_m = (first_m - settings.race.grid_spacing_m * rng.permutation(num_cars)) % track.length_m
    for _ in range(_DRAWS):
        poses = np.array([start_pose(settings, track, s, rng) for s in s_m])
        if _apart(poses):
            return poses
    # On the line itself cars at their spacing are clear of each other.
    return np.array([track.pose_at(s) for s in s_m])


def start_pose(
    settings: EnvSettings, track: Track, s_m: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return a pose at a way along the centreline, with random starts a little off it."""
    if not settings.random_starts:
        return track.pose_at(s_m)
    nearest = int(np.searchsorted(track.arc_length_m, s_m, side="right")) - 1
    right = max(float(track.width_right_m[nearest]) - START_CLEARANCE_M, 0.0)
    left = max(float(track.width_left_m[nearest]) - START_CLEARANCE_M, 0.0)
    lateral = rng.uniform(-right, left)
    return track.pose_at(s_m, lateral, rng.uniform(-START_HEADING_RAD, START_HEADING_RAD))


def restart_pose(
    settings: EnvSettings, track: Track, crash_m: float, others_m: Array, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return the pose of a car that goes on after a crash at crash_m along the track.

    With random starts anywhere with RESTART_GAP_M to the other racing cars (k,) m, else as near behind the crash as
    that is so; where nowhere is, in the middle of the largest gap that was looked at.
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


def _apart(poses: Array) -> bool:
    """Tell whether no two cars of a grid can touch."""
    across = poses[:, None, :2] - poses[None, :, :2]
    distance = np.hypot(across[..., 0], across[..., 1])
    return bool((distance + 2.0 * _BODY_M * np.eye(len(poses)) > _BODY_M).all())
