"""What a driver must know of its car: the steering angle for a curvature, and the speeds that its grip lets it ask for.

On linear tyres that is the single-track model's steady cornering with forces in proportion to slip. On slipping tyres
(training/sim/tyres.py) slip grows without bound as the lateral acceleration nears the grip.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...sim import Vehicle
from ...sim.dynamics import GRAVITY_MPS2
from .kernel_cache import inner

# Of the grip; beyond it the slip for a lateral acceleration is too large to be of use.
_MOST_USED = 0.995
# Of the grip, that may be asked for to gain speed in any case.
_LEAST_SPARE = 0.1


class CarModel(NamedTuple):
    """Hold the numbers of a vehicle that the drivers' kernels use."""

    wheelbase_m: float
    understeer_s2pm: float  # steering on linear tyres beyond the wheelbase's, per curvature and speed²
    understeer_rad: (
        float  # difference of both axles' slip angles on slipping tyres, per atanh of the used grip
    )
    grip_mps2: float
    steering_low_rad: float
    steering_high_rad: float
    drive_gain_1ps: float  # acceleration per missing speed of the low-level speed controller
    brake_gain_1ps: float


def car_model(vehicle: Vehicle) -> CarModel:
    """Return what the kernels use of a vehicle."""
    softness = 1.0 / vehicle.C_Sf - 1.0 / vehicle.C_Sr
    return CarModel(
        wheelbase_m=vehicle.lf + vehicle.lr,
        understeer_s2pm=softness / (vehicle.mu * GRAVITY_MPS2),
        understeer_rad=softness,
        grip_mps2=vehicle.mu * GRAVITY_MPS2,
        steering_low_rad=vehicle.s_min,
        steering_high_rad=vehicle.s_max,
        # training.sim.dynamics.acceleration
        drive_gain_1ps=vehicle.a_max / vehicle.throttle_error,
        brake_gain_1ps=vehicle.a_max / vehicle.brake_error,
    )


@inner
def clipped_steering(steering: float, car: CarModel) -> float:
    """Return the steering angle, rad, within the servo's limits."""
    return min(max(steering, car.steering_low_rad), car.steering_high_rad)


@inner
def slipping_steering(curvature: float, speed: float, car: CarModel) -> float:
    """Return the steering angle, rad, of steady cornering on slipping tyres, for a curvature, 1/m, at a speed, m/s.

    Each axle carries its part of the lateral acceleration with tanh(stiffness x slip angle) of its grip, so the axles'
    slip angles differ by the difference of their softnesses times atanh of the used grip.
    """
    used = min(max(curvature * speed * speed / car.grip_mps2, -_MOST_USED), _MOST_USED)
    return math.atan(car.wheelbase_m * curvature) + car.understeer_rad * math.atanh(used)


@inner
def speed_within_grip(
    wanted: float, speed: float, lateral_mps2: float, shares: tuple[float, float], car: CarModel
) -> float:
    """Return the speed to ask for, m/s: the wanted one, no further from the car's own than its grip allows.

    lateral_mps2: what the tyres give sideways. shares: of the grip that this leaves lengthways, which the low-level
    speed controller may take; and of all grip, which braking may take in any case, so that a car that slides slows
    down.
    """
    left = math.sqrt(max(1.0 - (lateral_mps2 / car.grip_mps2) ** 2, 0.0))
    share, braking_share = shares
    driving = max(share * left, _LEAST_SPARE) * car.grip_mps2
    braking = max(share * left, braking_share) * car.grip_mps2
    return min(max(wanted, speed - braking / car.brake_gain_1ps), speed + driving / car.drive_gain_1ps)
