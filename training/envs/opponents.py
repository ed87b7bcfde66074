"""Drivers that need no learning: yardsticks, opponents, and the reference of the trajectory reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from training.envs.drivers_gap import FollowTheGap, GapSettings
from training.envs.drivers_pursuit import PurePursuit, PursuitSettings
from training.envs.racing_line import LineSettings, SpeedLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.sim import World

__all__ = [
    "DRIVERS",
    "Driver",
    "FollowTheGap",
    "GapSettings",
    "LineSettings",
    "PurePursuit",
    "PursuitSettings",
    "SpeedLimits",
    "make_driver",
]

DRIVERS = ("follow_the_gap", "pure_pursuit", "racing_line")


class Driver(Protocol):
    """Drive every car of a world."""

    def reset(self, where: NDArray[np.bool_] | None = None) -> None:
        """Forget what is remembered of the chosen environments (E,), of all if None."""

    def act(self, world: World) -> NDArray[np.float64]:
        """Return commands (E, N, 2): steering rad, speed m/s."""


def make_driver(name: str, max_speed_mps: float = 8.0) -> Driver:
    """Return a driver by its name: one of DRIVERS; racing_line is pure pursuit on the optimised line.

    Raises:
        ValueError: there is no driver of that name.

    """
    if name == "follow_the_gap":
        return FollowTheGap(GapSettings(max_speed_mps=max_speed_mps))
    pursuit = PursuitSettings(limits=SpeedLimits(max_speed_mps=max_speed_mps))
    if name == "pure_pursuit":
        return PurePursuit(pursuit)
    if name == "racing_line":
        return PurePursuit(pursuit, LineSettings())
    raise ValueError(f"driver {name!r} is unknown; choose one of {', '.join(DRIVERS)}")
