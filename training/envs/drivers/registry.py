"""Drivers that need no learning: baseline drivers, opponents, and the reference of the trajectory reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .follow_the_gap import FollowTheGap, GapSettings
from .pure_pursuit import PurePursuit, PursuitSettings
from .racing_line import LineSettings, SpeedLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..worlds import AnyWorld

__all__ = [
    "DRIVERS",
    "ON_THE_RACING_LINE",
    "Driver",
    "FollowTheGap",
    "GapSettings",
    "LineSettings",
    "PurePursuit",
    "PursuitSettings",
    "SpeedLimits",
    "make_driver",
]

# Found on the racing line, which is smoother than a centreline: there the car can do without braking, which upsets
# it in bends. At 10, 25 and 50 Hz all laps of 31 tracks, 8.1 m/s from standing (along the centreline).
ON_THE_RACING_LINE = PursuitSettings(
    limits=SpeedLimits(lateral_mps2=45.0),
    lookahead_m=0.59,
    lookahead_s=0.207,
    latency_s=0.058,
    speed_ahead_s=0.09,
    yaw_damping_s=0.048,
)
DRIVERS = ("follow_the_gap", "pure_pursuit", "racing_line")


class Driver(Protocol):
    """Drive every car of a world."""

    def reset(self, where: NDArray[np.bool_] | None = None) -> None:
        """Reset the state of the chosen environments (E,), of all if None."""

    def act(self, world: AnyWorld) -> NDArray[np.float64]:
        """Return commands (E, N, 2): steering rad, speed m/s."""


def make_driver(name: str, max_speed_mps: float = 8.0) -> Driver:
    """Return a driver by its name: one of DRIVERS; racing_line is pure pursuit on the optimised line.

    Raises:
        ValueError: there is no driver of that name.

    """
    if name == "follow_the_gap":
        return FollowTheGap(GapSettings(max_speed_mps=max_speed_mps))
    if name == "pure_pursuit":
        return PurePursuit(_capped(PursuitSettings(), max_speed_mps))
    if name == "racing_line":
        return PurePursuit(_capped(ON_THE_RACING_LINE, max_speed_mps), LineSettings())
    raise ValueError(f"driver {name!r} is unknown; choose one of {', '.join(DRIVERS)}")


def _capped(settings: PursuitSettings, max_speed_mps: float) -> PursuitSettings:
    return settings._replace(limits=settings.limits._replace(max_speed_mps=max_speed_mps))
