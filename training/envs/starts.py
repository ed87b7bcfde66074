"""Starts clear of the walls: a pose at which the car touches a wall is drawn again, or moved along the centreline.

The grid (training.envs.grid) goes by the width of the track at points 0.2 m apart; only the check of the car's body
against the map finds a pole, a gate or the corner of a box between two of them. A pose that is clear stays as it was
drawn, and no further number is drawn for it, so older runs resume with bit-identical results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .grid import clear_distance_m, start_pose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..config import EnvSettings
    from ..sim import Track
    from .worlds import AnyWorld

    Array = NDArray[np.float64]

# So often a pose is drawn again before the car starts on the centreline.
_DRAWS = 16
# If the body does not fit even there, the nearest place is searched for in steps of this length.
_WALK_M = 0.1


def clear_starts(  # noqa: PLR0913, PLR0917 - who starts where, who is there, and how to draw again
    world: AnyWorld,
    settings: EnvSettings,
    poses: Array,
    where: NDArray[np.bool_],
    generators: Sequence[np.random.Generator] | None = None,
    standing: NDArray[np.bool_] | None = None,
) -> Array:
    """Return poses (E, N, 3) with which each chosen car, where (E, N), starts clear of the walls.

    Those that are clear already are returned as they are. generators: one an environment, to draw again where the
    settings ask for random starts; None: nothing is drawn. standing: (E, N) the cars that stay where they are, and to
    which others keep their distance, as to the running episode's obstacles; None: a new episode begins.

    Raises:
        DataError: nowhere on a track's centreline is there room for a car; names the track and the place.

    """
    e, n = np.nonzero(where)
    blocked = np.zeros_like(where)
    moving = standing is not None
    blocked[e, n] = world.blocked(e, poses[e, n], boxes=moving)
    if not blocked.any():
        return poses
    cleared = poses.copy()
    for env in np.flatnonzero(blocked.any(axis=1)):
        generator = None if generators is None else generators[env]
        near = list(cleared[env, where[env] & ~blocked[env], :2])
        if standing is not None:
            near += list(world.states[env, standing[env] & ~where[env], :2])
        for car in np.flatnonzero(blocked[env]):
            s_m = world.tracks[env].project(poses[env, car, :2])[0]
            candidates = _Candidates(world, int(env), np.array(near).reshape(-1, 2), boxes=moving)
            cleared[env, car] = candidates.nearest_to(s_m, settings, generator)
            near.append(cleared[env, car, :2])
    return cleared


class _Candidates:
    """Look for a pose on one environment's track that is clear of walls and cars."""

    def __init__(self, world: AnyWorld, env: int, near: Array, *, boxes: bool) -> None:
        self._world, self._env, self._near, self._boxes = world, env, near, boxes
        self._track: Track = world.tracks[env]

    def nearest_to(self, s_m: float, settings: EnvSettings, generator: np.random.Generator | None) -> Array:
        """Return a pose (3,): drawn again at a way along the centreline, on it there, or on it where there is room."""
        track = self._track
        drawn = []
        if generator is not None and settings.random_starts:
            drawn = [start_pose(settings, track, s_m, generator) for _ in range(_DRAWS)]
        found = self._first_clear(np.array([*drawn, track.pose_at(s_m)]))
        if found is None:
            steps = np.arange(1, int(0.5 * track.length_m / _WALK_M) + 1) * _WALK_M
            around_m = s_m + np.stack([-steps, steps], axis=1).ravel()  # behind first: no car gains by it
            found = self._first_clear(np.stack(track.pose_at(around_m), axis=1))
        if found is None:
            x, y, _ = track.pose_at(s_m)
            raise DataError(
                f"track {track.name}: no car can start at ({x:.2f}, {y:.2f}) m, {s_m:.1f} m from the start, nor "
                "anywhere else on the centreline: its body touches a wall or another car",
                next_step=f"See where: python -m training tracks check {track.name}",
            )
        return found

    def _first_clear(self, poses: Array) -> Array | None:
        clear = ~self._world.blocked(np.full(len(poses), self._env), poses, boxes=self._boxes)
        if len(self._near):
            across = poses[:, None, :2] - self._near[None]
            clear &= (np.hypot(across[..., 0], across[..., 1]) > clear_distance_m(self._world.vehicle)).all(
                axis=1
            )
        return poses[np.argmax(clear)] if clear.any() else None
