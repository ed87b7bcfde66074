"""One car on slipping tyres, without a world: commands in, states out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.sim import tyres
from training.sim.params import SLIP, SPEED, YAW_RATE, Vehicle

CAR = Vehicle()
STEP_S = 0.01

Array = NDArray[np.float64]


def drive(state: tuple[float, ...], sv: float, acc: float, steps: int, car: Vehicle = CAR) -> Array:
    """Return the states (7, steps + 1) of a car under one steering velocity, rad/s, and acceleration, m/s^2."""
    rows = [state]
    for _ in range(steps):
        rows.append(tyres.integrate_sliding(rows[-1], sv, acc, STEP_S, car))
    return np.array(rows).T


def lateral_mps2(rows: Array) -> Array:
    """Return the lateral acceleration in the car's axes of the states of a drive."""
    speed, yaw_rate, slip = rows[SPEED], rows[YAW_RATE], rows[SLIP]
    return np.gradient(speed * np.sin(slip), STEP_S) + yaw_rate * speed * np.cos(slip)


def longitudinal_mps2(rows: Array) -> Array:
    """Return the longitudinal acceleration in the car's axes of the states of a drive."""
    speed, yaw_rate, slip = rows[SPEED], rows[YAW_RATE], rows[SLIP]
    return np.gradient(speed * np.cos(slip), STEP_S) - yaw_rate * speed * np.sin(slip)
