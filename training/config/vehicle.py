"""The car of a run: vehicles by name, and every number of one as a setting."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .fields import Section, setting

GRAVITY_MPS2 = 9.81

# Each names its source; numbers that a source does not give are f1tenth_gym's.
_F1TENTH_GYM: Mapping[str, float] = {
    # f1tenth_gym v1.0.0, gym/f110_gym/envs/f110_env.py and dynamic_models.py; identified at Penn on one car.
    "friction": 1.0489,
    "front_cornering_stiffness": 4.718,
    "rear_cornering_stiffness": 5.4562,
    "cog_to_front_axle_m": 0.15875,
    "cog_to_rear_axle_m": 0.17145,
    "cog_height_m": 0.074,
    "mass_kg": 3.74,
    "yaw_inertia_kgm2": 0.04712,
    "steering_min_rad": -0.4189,
    "steering_max_rad": 0.4189,
    "steering_rate_radps": 3.2,
    "steering_lag_s": 0.0,
    "power_limit_from_mps": 7.319,
    "acceleration_mps2": 9.51,
    "full_throttle_error_mps": 2.0,
    "full_brake_error_mps": 0.5,
    "top_speed_mps": 20.0,
    "top_reverse_mps": 5.0,
    "width_m": 0.31,
    "length_m": 0.58,
    "lidar_ahead_m": 0.0,
    "lidar_fov_rad": 4.7,
    "lidar_range_m": 30.0,
}
VEHICLES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "f1tenth_gym": _F1TENTH_GYM,
        # f1tenth_system, branch humble-devel, f1tenth_stack/config/vesc.yaml: speed 23250 / 4614, servo 0.15 to 0.85
        # through gain -1.2135 and offset 0.5304; launch: laser 0.27 m ahead of the rear axle. A UST-10LX.
        "f1tenth_stock": {
            **_F1TENTH_GYM,
            "steering_min_rad": -0.263,
            "steering_max_rad": 0.313,
            "top_speed_mps": 5.04,
            "lidar_ahead_m": 0.09855,
            "lidar_range_m": 10.0,
        },
        # The vehicle of rpl4f110 (PPO residual policies on the circuits), from its repository.
        "rpl4f110": {
            **_F1TENTH_GYM,
            "friction": 0.8,
            "mass_kg": 3.47,
            "acceleration_mps2": 7.51,
            "top_speed_mps": 8.0,
            "width_m": 0.27,
            "length_m": 0.51,
        },
        # ForzaETH race_stack, stack_master/config/NUC2: identified on a car. Stiffness is B C D over the axles' mean
        # peak, which is the friction. The body is f1tenth_gym's.
        "forzaeth_nuc2": {
            **_F1TENTH_GYM,
            "friction": 0.634,
            "front_cornering_stiffness": 10.65,
            "rear_cornering_stiffness": 29.26,
            "cog_to_front_axle_m": 0.162,
            "cog_to_rear_axle_m": 0.145,
            "cog_height_m": 0.014,
            "mass_kg": 3.54,
            "yaw_inertia_kgm2": 0.05797,
            "steering_lag_s": 0.158,
            "acceleration_mps2": 3.0,
            "top_speed_mps": 10.0,
            "lidar_ahead_m": 0.125,
            "lidar_range_m": 10.0,
        },
        # AutoDRIVE's RoboRacer, its technical guide. Its tyres lose half their grip beyond their peak, which is not
        # modelled: friction, stiffness and centre of gravity's height are f1tenth_gym's, the inertia grows with the
        # mass.
        "autodrive_roboracer": {
            **_F1TENTH_GYM,
            "cog_to_front_axle_m": 0.1687,
            "cog_to_rear_axle_m": 0.1553,
            "mass_kg": 3.906,
            "yaw_inertia_kgm2": 0.04921,
            "steering_min_rad": -0.5236,
            "steering_max_rad": 0.5236,
            "top_speed_mps": 22.88,
            "width_m": 0.27,
            "length_m": 0.50,
            "lidar_ahead_m": 0.118,
            "lidar_fov_rad": 4.712,
            "lidar_range_m": 10.0,
        },
    }
)


class CarSettings(Section):
    """Numbers of the car and its lidar; null: as env.vehicle has it."""

    friction: float | None = setting(None, "friction coefficient of the tyres", ge=0.05, le=5)
    front_cornering_stiffness: float | None = setting(
        None, "lateral force per rad of slip over friction and load, front axle", ge=0.5, le=200
    )
    rear_cornering_stiffness: float | None = setting(None, "the same, rear axle", ge=0.5, le=200)
    cog_to_front_axle_m: float | None = setting(
        None, "from the centre of gravity to the front axle", ge=0.01, le=1
    )
    cog_to_rear_axle_m: float | None = setting(
        None, "from the centre of gravity to the rear axle", ge=0.01, le=1
    )
    cog_height_m: float | None = setting(None, "height of the centre of gravity", ge=0, le=0.5)
    mass_kg: float | None = setting(None, "mass", ge=0.5, le=50)
    yaw_inertia_kgm2: float | None = setting(None, "moment of inertia about the vertical", ge=0.001, le=10)
    steering_min_rad: float | None = setting(None, "farthest to the right", ge=-1, le=-0.05)
    steering_max_rad: float | None = setting(None, "farthest to the left", ge=0.05, le=1)
    steering_rate_radps: float | None = setting(None, "fastest that the servo turns", ge=0.1, le=50)
    steering_lag_s: float | None = setting(None, "time constant of the servo near its target", ge=0, le=1)
    power_limit_from_mps: float | None = setting(
        None, "speed above which the motor's power limits acceleration", ge=0.1, le=25
    )
    acceleration_mps2: float | None = setting(None, "most that motor and brakes give", ge=0.1, le=50)
    full_throttle_error_mps: float | None = setting(
        None, "speed below the command at which the speed controller asks for all of it", ge=0.01, le=20
    )
    full_brake_error_mps: float | None = setting(
        None, "speed above the command at which it asks for all brakes", ge=0.01, le=20
    )
    top_speed_mps: float | None = setting(None, "fastest forwards", ge=0.5, le=25)
    top_reverse_mps: float | None = setting(None, "fastest backwards", ge=0, le=25)
    width_m: float | None = setting(None, "width of the body", ge=0.05, le=1)
    length_m: float | None = setting(
        None, "length of the body, whose middle is the centre of gravity", ge=0.1, le=2
    )
    lidar_ahead_m: float | None = setting(None, "lidar ahead of the centre of gravity", ge=-0.5, le=0.5)
    lidar_fov_rad: float | None = setting(None, "angle from the first beam to the last", ge=0.1, le=6.2832)
    lidar_range_m: float | None = setting(None, "farthest that the lidar measures", ge=1, le=100)


def numbers_of(vehicle: str, car: CarSettings) -> dict[str, float]:
    """Return every number of a car: those that the settings name, the rest as the vehicle has them."""
    own = {name: value for name, value in car.model_dump().items() if value is not None}
    return {**VEHICLES.get(vehicle, {}), **own}


def contradiction(vehicle: str, numbers: Mapping[str, float]) -> str:
    """Say which of a car's numbers contradict each other, "" if none; vehicle: its name, for people."""
    missing = [name for name in CarSettings.model_fields if name not in numbers]
    if missing:
        lacks = f" (env.car lacks {', '.join(missing)})" if numbers else ""
        return (
            f"vehicle = {vehicle!r} is not known: choose {', '.join(VEHICLES)}, or a YAML file with every number of "
            f"env.car{lacks}"
        )
    wheelbase_m = numbers["cog_to_front_axle_m"] + numbers["cog_to_rear_axle_m"]
    if wheelbase_m > numbers["length_m"]:
        return (
            f"car: the wheelbase (cog_to_front_axle_m + cog_to_rear_axle_m = {wheelbase_m:g}) is longer than the body: "
            f"length_m = {numbers['length_m']:g} must be at least that"
        )
    lift, hold = (
        numbers["acceleration_mps2"] * numbers["cog_height_m"],
        GRAVITY_MPS2 * min(numbers["cog_to_front_axle_m"], numbers["cog_to_rear_axle_m"]),
    )
    if lift >= hold:
        return (
            f"car: with acceleration_mps2 = {numbers['acceleration_mps2']:g} and cog_height_m = "
            f"{numbers['cog_height_m']:g} an axle would lift off: their product must be below 9.81 times the shorter "
            f"way from the centre of gravity to an axle, {hold:.3g}"
        )
    return ""
