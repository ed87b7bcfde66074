"""How fast a line may be driven: the forward-backward pass, and the time of a point mass at the vehicle's limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...sim.dynamics import GRAVITY_MPS2
from ...sim.track import centerline
from ...sim.tyres import MOST_DRIVE_SHARE
from .kernel_cache import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...sim import Vehicle

    Array = NDArray[np.float64]


class GripLimits(NamedTuple):
    """Bound the speed along a line by what a vehicle's tyres and motor can do.

    The acceleration stays in the ellipse with the half axes `lateral_mps2` and `driving_mps2` (or `braking_mps2`), and
    below what the motor gives: `motor_mps2`, falling with 1 / speed above `power_mps`.
    """

    max_speed_mps: float
    lateral_mps2: float
    driving_mps2: float
    braking_mps2: float
    motor_mps2: float
    power_mps: float


def grip_limits(
    vehicle: Vehicle, max_speed_mps: float, lateral_share: float = 1.0, longitudinal_share: float = 1.0
) -> GripLimits:
    """Return the limits of a vehicle of which a driver uses shares; 1 and 1 are all that it has."""
    grip = vehicle.mu * GRAVITY_MPS2
    along = longitudinal_share * grip
    return GripLimits(
        max_speed_mps=min(max_speed_mps, vehicle.v_max),
        lateral_mps2=lateral_share * grip,
        driving_mps2=along,
        braking_mps2=along,
        motor_mps2=min(vehicle.a_max, MOST_DRIVE_SHARE * grip),
        power_mps=vehicle.v_switch,
    )


def grip_profile(points: Array, limits: GripLimits) -> Array:
    """Return the highest speed (n,) m/s at each point (n, 2) m of a closed line, with the acceleration in its ellipse.

    On each chord the acceleration is constant and stays in the ellipse at both ends. One backward and one forward pass
    from the slowest place (Heilmeier et al. 2019, https://doi.org/10.1080/00423114.2019.1631455, section 3.3).
    """
    chords = centerline.chord_lengths(points)
    return _profile(np.abs(centerline.curvature(points, chords)), chords, limits)


def lap_time_s(points: Array, speed_mps: Array) -> float:
    """Return the time s of a lap along a closed line (n, 2) m, with speed (n,) m/s linear in time on each chord."""
    chords = centerline.chord_lengths(points)
    return float(np.sum(2.0 * chords / (speed_mps + np.roll(speed_mps, -1))))


def point_mass_lap_s(points: Array, vehicle: Vehicle, max_speed_mps: float) -> float:
    """Return the flying lap's time s of a point mass on a closed line (n, 2) m at the vehicle's limits.

    No car on these tyres is quicker on this line: a point mass has neither yaw inertia nor load transfer, knows no
    delay, and uses the whole ellipse of friction everywhere.
    """
    return lap_time_s(points, grip_profile(points, grip_limits(vehicle, max_speed_mps)))


@kernel
def _profile(bend: Array, chords: Array, limits: GripLimits) -> Array:
    n = bend.size
    square = np.empty(n)  # of the speed
    slowest = 0
    for i in range(n):
        square[i] = min(limits.max_speed_mps**2, limits.lateral_mps2 / max(bend[i], 1e-9))
        if square[i] < square[slowest]:
            slowest = i
    used = bend / limits.lateral_mps2  # of the grip, per squared speed
    for k in range(n):
        i, before = (slowest - k) % n, (slowest - k - 1) % n
        axes = (limits.braking_mps2, limits.motor_mps2)
        highest = _reachable(square[i], (used[i], used[before]), chords[before], axes)
        square[before] = min(square[before], highest)
    for k in range(n):
        i, after = (slowest + k) % n, (slowest + k + 1) % n
        weaker = max(math.sqrt(square[i]) / limits.power_mps, 1.0)
        axes = (limits.driving_mps2, limits.motor_mps2 / weaker)
        highest = _reachable(square[i], (used[i], used[after]), chords[i], axes)
        square[after] = min(square[after], highest)
    return np.sqrt(square)


@kernel
def _reachable(square: float, used: tuple[float, float], chord: float, axes: tuple[float, float]) -> float:
    """Return the highest squared speed at a chord's faster end, from that at its slower end.

    The same acceleration must fit into the ellipse at both ends. used: of the lateral grip, per squared speed, at the
    slower and at the faster end; axes: of the ellipse lengthways, and the most that the motor gives, m/s².
    """
    if square * used[1] >= 1.0:  # that end is the slower one
        return math.inf
    most = min(axes[1], axes[0] * math.sqrt(max(0.0, 1.0 - (square * used[0]) ** 2)))
    # At the faster end: (w - square)² / (2 chord axis)² + (w used)² = 1.
    p, q = 1.0 / (2.0 * chord * axes[0]) ** 2, used[1] ** 2
    root = p * p * square * square - (p + q) * (p * square * square - 1.0)
    there = (p * square + math.sqrt(max(root, 0.0))) / (p + q)
    return min(square + 2.0 * chord * most, there)
