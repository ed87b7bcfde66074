"""Drivers that need no learning: baseline drivers, opponents, and the reference of the trajectory reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...sim import Vehicle
from ...sim.dynamics import GRAVITY_MPS2
from ..car import lidar_of, vehicle_of
from .follow_the_gap import FollowTheGap, GapSettings
from .grip_pursuit import GripPursuit, GripPursuitSettings, centre_shape, racing_shape
from .pure_pursuit import PurePursuit, PursuitSettings
from .racing_line import LineSettings, SpeedLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...config import EnvSettings
    from ..worlds import AnyWorld

__all__ = [
    "DRIVERS",
    "ON_THE_RACING_LINE",
    "Driver",
    "FollowTheGap",
    "GapSettings",
    "GripPursuit",
    "GripPursuitSettings",
    "LineSettings",
    "PurePursuit",
    "PursuitSettings",
    "SpeedLimits",
    "driver_of",
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


def make_driver(
    name: str,
    max_speed_mps: float = 8.0,
    vehicle: Vehicle | None = None,
    tyres: str = "linear",
    fov_rad: float = 4.7,
) -> Driver:
    """Return a driver by its name: one of DRIVERS; racing_line is pure pursuit on an optimised line.

    vehicle: the car that it drives. tyres: `env.tyres`; on saturating ones drivers plan with the vehicle's grip, on
    linear ones and the lateral circle with accelerations that only linear tyres give, as in runs of before. fov_rad: of
    the lidar.

    Raises:
        ValueError: there is no driver of that name.

    """
    car = vehicle or Vehicle()
    if name not in DRIVERS:
        raise ValueError(f"driver {name!r} is unknown; choose one of {', '.join(DRIVERS)}")
    if name == "follow_the_gap":
        settings = (
            gap_settings(car, max_speed_mps) if tyres == "saturating" else _plain_gap(car, max_speed_mps)
        )
        return FollowTheGap(settings._replace(fov_rad=fov_rad), car)
    if tyres == "saturating":
        shape = centre_shape(car) if name == "pure_pursuit" else racing_shape(car)
        return GripPursuit(shape, car, GripPursuitSettings(max_speed_mps=max_speed_mps))
    if name == "pure_pursuit":
        return PurePursuit(_capped(PursuitSettings(), max_speed_mps), None, car)
    return PurePursuit(_capped(ON_THE_RACING_LINE, max_speed_mps), LineSettings(), car)


def driver_of(name: str, settings: EnvSettings) -> Driver:
    """Return a driver, by its name, for the car and the tyres of some settings.

    Raises:
        ValueError: there is no driver of that name.

    """
    vehicle, fov_rad = vehicle_of(settings), lidar_of(settings).fov_rad
    return make_driver(name, settings.speed_cap_mps, vehicle, settings.tyres, fov_rad)


def _plain_gap(car: Vehicle, max_speed_mps: float) -> GapSettings:
    return GapSettings(max_speed_mps=max_speed_mps, half_width_m=0.5 * car.width)


def gap_settings(car: Vehicle, max_speed_mps: float) -> GapSettings:
    """Return how follow-the-gap drives a vehicle on slipping tyres."""
    grip = car.mu * GRAVITY_MPS2
    return GapSettings(
        max_speed_mps=max_speed_mps,
        half_width_m=0.5 * car.width,
        margin_m=0.183,
        horizon_m=8.1,
        lookahead_m=1.347,
        lateral_mps2=0.7 * grip,
        braking_mps2=0.33 * grip,
        half_view_rad=0.868,
        spare_share=0.78,
    )


def _capped(settings: PursuitSettings, max_speed_mps: float) -> PursuitSettings:
    return settings._replace(limits=settings.limits._replace(max_speed_mps=max_speed_mps))
