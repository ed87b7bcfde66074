"""What the policy sees: the newest lidar scans and the car's speed, as numbers around one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.config import EnvSettings
    from training.sim import World


def size(settings: EnvSettings) -> int:
    """Return the length of an observation: stacked scans and the speed."""
    return settings.beams * settings.scans_stacked + 1


def bounds(settings: EnvSettings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lowest and highest observation, each (D,)."""
    low = np.zeros(size(settings), dtype=np.float32)
    high = np.ones(size(settings), dtype=np.float32)
    low[-1] = -1.0
    return low, high


class ScanStack:
    """Keep the newest scans of every car and lay out observations.

    An observation is (D,) float32: the newest scan, the one before it, and so on, each clipped to `scan_range_m` and
    divided by it; last the speed over the speed cap, clipped to [-1, 1].
    """

    def __init__(self, settings: EnvSettings, num_envs: int, num_cars: int) -> None:
        self._range_m, self._cap_mps = settings.scan_range_m, settings.speed_cap_mps
        self._beams, self._depth = settings.beams, settings.scans_stacked
        self.scans = np.zeros((num_envs, num_cars, self._depth * self._beams), dtype=np.float32)

    def restart(self, world: World, where: NDArray[np.bool_]) -> None:
        """Fill the stacks of the chosen environments (E,), or cars (E, N), with their current scan."""
        newest = self._scaled(world)[where]
        self.scans[where] = np.tile(newest, self._depth)

    def push(self, world: World) -> None:
        """Take in the current scan of every car."""
        self.scans[..., self._beams :] = self.scans[..., : -self._beams]
        self.scans[..., : self._beams] = self._scaled(world)

    def observe(self, world: World) -> NDArray[np.float32]:
        """Return the observations (E, N, D) float32, newly allocated."""
        speed = np.clip(world.states[..., 3:4] / self._cap_mps, -1.0, 1.0)
        return np.concatenate([self.scans, speed.astype(np.float32)], axis=-1)

    def _scaled(self, world: World) -> NDArray[Any]:
        return np.minimum(world.scans, self._range_m) / np.float32(self._range_m)
