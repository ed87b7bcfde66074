"""State that the f1tenth_gym backend keeps besides the package's own objects: copies of theirs, and lidar noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...sim.params import MAX_STEERING_DELAY, NUM_STATES

if TYPE_CHECKING:
    from numpy.typing import NDArray


class State(NamedTuple):
    """Hold copies of the state of the package's objects, and the state that World adds; (E, N, ...) or (E,)."""

    states: NDArray[np.float64]
    scans: NDArray[np.float64]
    collisions: NDArray[np.bool_]
    collision_idx: NDArray[np.int64]
    wall_contacts: NDArray[np.bool_]
    at_fault: NDArray[np.bool_]
    contact_part: NDArray[np.int8]
    out: NDArray[np.bool_]
    arc_m: NDArray[np.float64]
    lateral_m: NDArray[np.float64]
    progress_m: NDArray[np.float64]
    line_index: NDArray[np.int64]
    steering_queue: NDArray[np.float64]  # newest first, nan where nothing is queued yet
    friction: NDArray[np.float64]  # this episode's draws
    mass_kg: NDArray[np.float64]
    delay: NDArray[np.int64]
    noise_m: NDArray[np.float64]
    tick: NDArray[np.int64]
    episode: NDArray[np.int64]


def empty_state(num_envs: int, num_cars: int, beams: int) -> State:
    """Return the state before the first reset."""
    cars = (num_envs, num_cars)
    return State(
        states=np.zeros((*cars, NUM_STATES)),
        scans=np.zeros((*cars, beams)),
        collisions=np.zeros(cars, dtype=np.bool_),
        collision_idx=np.full(cars, -1, dtype=np.int64),
        wall_contacts=np.zeros(cars, dtype=np.bool_),
        at_fault=np.zeros(cars, dtype=np.bool_),
        contact_part=np.zeros(cars, dtype=np.int8),
        out=np.zeros(cars, dtype=np.bool_),
        arc_m=np.zeros(cars),
        lateral_m=np.zeros(cars),
        progress_m=np.zeros(cars),
        line_index=np.zeros(cars, dtype=np.int64),
        steering_queue=np.full((*cars, MAX_STEERING_DELAY), np.nan),
        friction=np.zeros(cars),
        mass_kg=np.zeros(cars),
        delay=np.zeros(cars, dtype=np.int64),
        noise_m=np.zeros(cars),
        tick=np.zeros(num_envs, dtype=np.int64),
        episode=np.zeros(num_envs, dtype=np.int64),
    )


class Noise:
    """Stand in for the generator that the package draws its scan noise from."""

    def __init__(self, deviation_m: float, key: list[int]) -> None:
        self._deviation_m, self._key = deviation_m, key

    def normal(self, _mean: float, _deviation: float, size: int) -> NDArray[np.float64] | float:
        """Return noise of our deviation instead of the asked one."""
        if self._deviation_m == 0.0:
            return 0.0
        return np.random.default_rng(self._key).normal(0.0, self._deviation_m, size)
