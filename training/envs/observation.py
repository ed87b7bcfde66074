"""The policy's observations: the newest lidar scans, the car's speed and its own motion, scaled to the order of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .car import share_of_steering, vehicle_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..config import EnvSettings
    from .worlds import AnyWorld


# A bend of 2 m radius at 8 m/s takes 4 rad/s; a car that turns faster than this is spinning.
YAW_RATE_SCALE_RADPS = 10.0


def size(settings: EnvSettings) -> int:
    """Return the length of an observation: stacked scans, the speed, and proprioception."""
    return settings.observation_size


def bounds(settings: EnvSettings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lowest and highest observation, each (D,)."""
    low = np.zeros(size(settings), dtype=np.float32)
    high = np.ones(size(settings), dtype=np.float32)
    low[settings.beams * settings.scans_stacked :] = -1.0
    return low, high


class ScanStack:
    """Keep the newest scans of every car and lay out observations.

    An observation is (D,) float32: the newest scan, the one before it, and so on, each clipped to `scan_range_m` and
    divided by it; then the speed over the speed cap, clipped to [-1, 1]. With `proprioception` also the steering angle
    over its limit, the yaw rate over 10 rad/s, both clipped, and the previous action: the result of a decision depends
    on them, because the servo moves at 3.2 rad/s and acts late. A real car knows all four (its commands, its IMU).
    All are what the car measures: `World.measured`.
    """

    def __init__(self, settings: EnvSettings, num_envs: int, num_cars: int) -> None:
        self._range_m, self._cap_mps = settings.scan_range_m, settings.speed_cap_mps
        self._proprioception, self._car = settings.proprioception, vehicle_of(settings)
        self._beams, self._depth = settings.beams, settings.scans_stacked
        self.scans = np.zeros((num_envs, num_cars, self._depth * self._beams), dtype=np.float32)

    def restart(self, world: AnyWorld, where: NDArray[np.bool_]) -> None:
        """Fill the stacks of the chosen environments (E,), or cars (E, N), with their current scan."""
        newest = self._scaled(world)[where]
        self.scans[where] = np.tile(newest, self._depth)

    def push(self, world: AnyWorld) -> None:
        """Add the current scan of every car."""
        self.scans[..., self._beams :] = self.scans[..., : -self._beams]
        self.scans[..., : self._beams] = self._scaled(world)

    def observe(self, world: AnyWorld, previous_action: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the observations (E, N, D) float32, newly allocated; previous_action (E, N, 2) in [-1, 1]."""
        measured = world.measured
        speed = np.clip(measured[..., :1] / self._cap_mps, -1.0, 1.0)
        parts = [self.scans, speed.astype(np.float32)]
        if self._proprioception:
            steering = np.clip(share_of_steering(self._car, measured[..., 2:]), -1.0, 1.0)
            yaw_rate = np.clip(measured[..., 1:2] / YAW_RATE_SCALE_RADPS, -1.0, 1.0)
            parts += [part.astype(np.float32) for part in (steering, yaw_rate, previous_action)]
        return np.concatenate(parts, axis=-1)

    def _scaled(self, world: AnyWorld) -> NDArray[Any]:
        scaled: NDArray[Any] = np.minimum(world.scans, self._range_m) / np.float32(self._range_m)
        return scaled
