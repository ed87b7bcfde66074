"""The simulated car of the settings, and the steering and speeds that actions stand for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..config.vehicle import numbers_of
from ..sim import Lidar, Vehicle
from ..sim.dynamics import kinematic_speed_mps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..config import EnvSettings
    from ..config.vehicle import CarSettings

    Array = NDArray[np.float64]


def vehicle_of(settings: EnvSettings) -> Vehicle:
    """Return the simulator's car for the settings' vehicle."""
    return _vehicle(settings.vehicle, settings.car)


@lru_cache(maxsize=32)
def _vehicle(name: str, car: CarSettings) -> Vehicle:
    numbers = numbers_of(name, car)
    made = Vehicle(
        mu=numbers["friction"],
        C_Sf=numbers["front_cornering_stiffness"],
        C_Sr=numbers["rear_cornering_stiffness"],
        lf=numbers["cog_to_front_axle_m"],
        lr=numbers["cog_to_rear_axle_m"],
        h=numbers["cog_height_m"],
        m=numbers["mass_kg"],
        I=numbers["yaw_inertia_kgm2"],
        s_min=numbers["steering_min_rad"],
        s_max=numbers["steering_max_rad"],
        sv_min=-numbers["steering_rate_radps"],
        sv_max=numbers["steering_rate_radps"],
        v_switch=numbers["power_limit_from_mps"],
        a_max=numbers["acceleration_mps2"],
        v_min=-numbers["top_reverse_mps"],
        v_max=numbers["top_speed_mps"],
        width=numbers["width_m"],
        length=numbers["length_m"],
        throttle_error=numbers["full_throttle_error_mps"],
        brake_error=numbers["full_brake_error_mps"],
        steering_lag=numbers["steering_lag_s"],
        lidar_x=numbers["lidar_ahead_m"],
    )
    return made._replace(v_kinematic=kinematic_speed_mps(made))


def lidar_of(settings: EnvSettings) -> Lidar:
    """Return the scanner of the settings' vehicle."""
    numbers = settings.car_numbers
    return Lidar(settings.beams, numbers["lidar_fov_rad"], numbers["lidar_range_m"])


def commands_of(settings: EnvSettings, actions: Array) -> Array:
    """Return the commands (..., 2), steering rad and speed m/s, that actions in [-1, 1] stand for under settings.

    An action of 0 steers straight ahead; -1 and 1 are the servo's ends, which may differ.
    """
    car = vehicle_of(settings)
    low, high = settings.min_speed_mps, settings.speed_cap_mps
    commands = np.empty_like(actions)
    commands[..., 0] = actions[..., 0] * np.where(actions[..., 0] < 0.0, -car.s_min, car.s_max)
    commands[..., 1] = low + (actions[..., 1] + 1.0) * (0.5 * (high - low))
    return commands


def actions_of(settings: EnvSettings, commands: Array) -> Array:
    """Return the actions in [-1, 1] that stand for commands (..., 2), clipped if they are beyond."""
    low, high = settings.min_speed_mps, settings.speed_cap_mps
    actions = np.empty_like(commands)
    actions[..., 0] = share_of_steering(vehicle_of(settings), commands[..., 0])
    actions[..., 1] = (commands[..., 1] - low) / (0.5 * (high - low)) - 1.0
    clipped: Array = np.clip(actions, -1.0, 1.0)
    return clipped


def share_of_steering(car: Vehicle, steering: Array) -> Array:
    """Return steering angles, rad, over the servo's end on their side."""
    share: Array = steering / np.where(steering < 0.0, -car.s_min, car.s_max)
    return share
