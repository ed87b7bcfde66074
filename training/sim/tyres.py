"""The single-track model on tyres that saturate: forces that no velocity exceeds, from standstill to full speed.

Each axle's tyre gives a lateral force that grows with the slip angle towards the grip that drive and brakes leave of
the friction ellipse. Speed follows from the forces: sliding costs speed. There is no kinematic branch: the slip angle's
denominator has a floor, which makes the car follow its wheels at walking speed. The curve is tanh, with f1tenth_gym's
cornering stiffness at its origin; Pacejka's with the same stiffness behaves alike up to its peak.

Pure functions of scalars and tuples, as in dynamics.py. Frame: vehicle axes, x forwards, y to the left.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .compiled import inlined, inner
from .dynamics import (
    GRAVITY_MPS2,
    State,
    add_scaled,
    largest_decay,
    limit_acceleration,
    limit_steering_velocity,
)
from .elementary import arctan, sin_cos, tanh
from .params import Vehicle

# Of the grip that drive and brakes may take, as traction control and ABS leave the wheels some to steer with.
MOST_DRIVE_SHARE = 0.9
# The classical Runge-Kutta method is stable up to 2.78 times the inverse of a decay rate; load transfer and the
# coupling of yaw and slip take the rest.
_STABLE = 2.2

# Since the step's beginning, in the car's axes of that moment: x m, y m; steering rad; velocities along and across the
# car of now, m/s; turned since the beginning, rad; yaw rate rad/s.
Body = tuple[float, float, float, float, float, float, float]


class Grip(NamedTuple):
    """Hold what a step's acceleration leaves of each axle's friction ellipse; forces over mass, m/s^2."""

    front: float  # friction times load
    rear: float
    share: float  # of both, that drive (above 0) or brakes take
    left: float  # of both, for lateral forces
    stiffness_f: float  # of each axle over what is left, 1/rad
    stiffness_r: float


@inlined
def slip_floor(timestep_s: float, car: Vehicle) -> float:
    """Return the floor of the slip angles' denominator, m/s, at which the step is still stable."""
    return largest_decay(car) * timestep_s / _STABLE


@inlined
def divide_grip(acc: float, car: Vehicle) -> Grip:
    """Return the axles' grip under an acceleration that the drive asks for, m/s^2, along the car.

    It is cut to MOST_DRIVE_SHARE of the grip and shared by the axles in proportion to their loads, so that both use
    the same part of their friction ellipse. The load transfer is that of the acceleration which the drive gives.
    """
    wheelbase = car.lf + car.lr
    grip = car.mu * GRAVITY_MPS2
    share = min(max(acc / grip, -MOST_DRIVE_SHARE), MOST_DRIVE_SHARE)
    transfer = share * grip * car.h
    load_f = max((GRAVITY_MPS2 * car.lr - transfer) / wheelbase, 0.0)
    load_r = max((GRAVITY_MPS2 * car.lf + transfer) / wheelbase, 0.0)
    left = math.sqrt(1.0 - share * share)
    return Grip(car.mu * load_f, car.mu * load_r, share, left, car.C_Sf / left, car.C_Sr / left)


@inlined
def _lateral(along: float, across: float, stiffness: float, floor: float) -> float:
    """Return a lateral force, -1 to 1 of what is left for it, from its wheel's velocity along and across it, m/s."""
    return -tanh(stiffness * arctan(across, max(abs(along), floor)))


@inlined
def axle_forces(
    body: Body, grip: Grip, floor: float, car: Vehicle
) -> tuple[float, float, float, float, float, float]:
    """Return forces over mass, m/s^2: front along and across its wheel, rear the same; and both wheels' speeds, m/s."""
    _, _, delta, vx, vy, _, yaw_rate = body
    sin, cos = sin_cos(delta)
    side_f, side_r = vy + car.lf * yaw_rate, vy - car.lr * yaw_rate
    along_f, across_f = vx * cos + side_f * sin, side_f * cos - vx * sin
    front = grip.left * _lateral(along_f, across_f, grip.stiffness_f, floor)
    rear = grip.left * _lateral(vx, side_r, grip.stiffness_r, floor)
    return grip.front * grip.share, grip.front * front, grip.rear * grip.share, grip.rear * rear, along_f, vx


@inlined
def sliding_derivative(body: Body, sv: float, grip: Grip, floor: float, car: Vehicle) -> Body:
    """Return d(body)/dt under a steering velocity, rad/s."""
    _, _, delta, vx, vy, turned, yaw_rate = body
    drive_f, side_f, drive_r, side_r, _, _ = axle_forces(body, grip, floor, car)
    sin, cos = sin_cos(delta)
    x_f, y_f = drive_f * cos - side_f * sin, drive_f * sin + side_f * cos
    sin, cos = sin_cos(turned)
    return (
        vx * cos - vy * sin,
        vx * sin + vy * cos,
        sv,
        x_f + drive_r + yaw_rate * vy,
        y_f + side_r - yaw_rate * vx,
        yaw_rate,
        car.m / car.I * (car.lf * y_f - car.lr * side_r),
    )


@inlined
def to_body(state: State) -> Body:
    """Return the body at a step's beginning, for a state with speed, m/s, and slip angle, rad."""
    _, _, delta, speed, _, yaw_rate, slip = state
    sin, cos = sin_cos(slip)
    return (0.0, 0.0, delta, speed * cos, speed * sin, 0.0, yaw_rate)


@inlined
def to_state(body: Body, before: State) -> State:
    """Return the state at a step's end: speed negative in reverse, slip angle 0 at rest, yaw in [0, 2 pi).

    before: the state at the step's beginning.
    """
    along, across, delta, vx, vy, turned, yaw_rate = body
    x, y, yaw = before[0], before[1], before[4]
    cos, sin = math.cos(yaw), math.sin(yaw)
    sign = 1.0 if vx >= 0.0 else -1.0
    speed = math.sqrt(vx * vx + vy * vy)
    slip = arctan(sign * vy, abs(vx)) if speed > 1e-9 else 0.0
    return (
        x + along * cos - across * sin,
        y + along * sin + across * cos,
        delta,
        sign * speed,
        (yaw + turned) % (2 * math.pi),
        yaw_rate,
        slip,
    )


@inlined
def held_steering_velocity(steering: float, wanted: float, timestep_s: float, car: Vehicle) -> float:
    """Return the steering velocity, rad/s, that servo and stops leave of the wanted one over a whole step."""
    sv = limit_steering_velocity(steering, wanted, car)
    return min(max(sv, (car.s_min - steering) / timestep_s), (car.s_max - steering) / timestep_s)


@inner
def integrate_sliding(state: State, sv: float, acc: float, timestep_s: float, car: Vehicle) -> State:
    """Return the state one step later: classical Runge-Kutta of fourth order, controls held.

    state: x m, y m, steering rad, speed m/s, yaw rad, yaw rate rad/s, slip rad. Servo, motor and speed limits are
    looked up once a step: their jumps inside a step would give energy that the drive did not.
    """
    body, floor = to_body(state), slip_floor(timestep_s, car)
    sv = held_steering_velocity(state[2], sv, timestep_s, car)
    grip = divide_grip(limit_acceleration(body[3], acc, car), car)
    k1 = sliding_derivative(body, sv, grip, floor, car)
    k2 = sliding_derivative(add_scaled(body, k1, timestep_s / 2), sv, grip, floor, car)
    k3 = sliding_derivative(add_scaled(body, k2, timestep_s / 2), sv, grip, floor, car)
    k4 = sliding_derivative(add_scaled(body, k3, timestep_s), sv, grip, floor, car)
    slope = add_scaled(add_scaled(add_scaled(k1, k2, 2.0), k3, 2.0), k4, 1.0)
    return to_state(add_scaled(body, slope, timestep_s * (1 / 6)), state)
