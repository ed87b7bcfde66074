"""The single-track model on tyres that saturate: forces that no velocity exceeds, from standstill to full speed.

Each axle's tyre gives a lateral force that grows with the slip angle towards the grip that drive and brakes leave of
the friction ellipse. Speed follows from the forces: sliding costs speed. There is no kinematic branch: the slip angle's
denominator has a floor, which makes the car follow its wheels at walking speed. The curve is tanh, with f1tenth_gym's
cornering stiffness at its origin; Pacejka's with the same stiffness behaves alike up to its peak.

Pure functions of scalars and tuples, as in dynamics.py. Frame: vehicle axes, x forwards, y to the left.
"""

from __future__ import annotations

import math

from .compiled import inner
from .dynamics import GRAVITY_MPS2, State, add_scaled, limit_acceleration, limit_steering_velocity
from .params import Vehicle

# Of the grip that drive and brakes may take, as traction control and ABS leave the wheels some to steer with.
MOST_DRIVE_SHARE = 0.9
# The classical Runge-Kutta method is stable up to 2.78 times the inverse of a decay rate; load transfer and the
# coupling of yaw and slip take the rest.
_STABLE = 2.2

# x m, y m, steering rad, vx m/s, vy m/s, yaw rad, yaw rate rad/s
Body = tuple[float, float, float, float, float, float, float]


@inner
def slip_floor(timestep_s: float, car: Vehicle) -> float:
    """Return the floor of the slip angles' denominator, m/s, at which the step is still stable."""
    wheelbase = car.lf + car.lr
    grip = car.mu * GRAVITY_MPS2 / wheelbase
    sideways = grip * (car.C_Sf * car.lr + car.C_Sr * car.lf)
    yaw = grip * car.m / car.I * (car.lf * car.lf * car.C_Sf * car.lr + car.lr * car.lr * car.C_Sr * car.lf)
    return max(sideways, yaw) * timestep_s / _STABLE


@inner
def _axle(along: float, across: float, stiffness: float, left: float, floor: float) -> float:
    """Return an axle's lateral force over friction times load, from its wheel's velocity along and across it, m/s."""
    slip = math.atan(across / max(abs(along), floor))
    return -left * math.tanh(stiffness * slip / left)


@inner
def axle_forces(
    body: Body, acc: float, floor: float, car: Vehicle
) -> tuple[float, float, float, float, float, float]:
    """Return forces over mass, m/s^2: front along and across its wheel, rear the same; and both wheels' speeds, m/s.

    acc: what the drive asks for, m/s^2, along the car. It is cut to MOST_DRIVE_SHARE of the grip and shared by the
    axles in proportion to their loads, so that both use the same part of their friction ellipse.
    """
    _, _, delta, vx, vy, _, yaw_rate = body
    wheelbase = car.lf + car.lr
    grip = car.mu * GRAVITY_MPS2
    share = min(max(acc / grip, -MOST_DRIVE_SHARE), MOST_DRIVE_SHARE)
    left = math.sqrt(1.0 - share * share)
    # Loads over mass; the transfer is that of the acceleration which the drive gives.
    transfer = share * grip * car.h
    load_f = max((GRAVITY_MPS2 * car.lr - transfer) / wheelbase, 0.0)
    load_r = max((GRAVITY_MPS2 * car.lf + transfer) / wheelbase, 0.0)
    cos, sin = math.cos(delta), math.sin(delta)
    side_f, side_r = vy + car.lf * yaw_rate, vy - car.lr * yaw_rate
    along_f, across_f = vx * cos + side_f * sin, side_f * cos - vx * sin
    front = _axle(along_f, across_f, car.C_Sf, left, floor)
    rear = _axle(vx, side_r, car.C_Sr, left, floor)
    mu_f, mu_r = car.mu * load_f, car.mu * load_r
    return mu_f * share, mu_f * front, mu_r * share, mu_r * rear, along_f, vx


@inner
def sliding_derivative(body: Body, sv_wanted: float, acc: float, floor: float, car: Vehicle) -> Body:
    """Return d(body)/dt under a steering velocity, rad/s, which is limited here, and an acceleration, m/s^2."""
    _, _, delta, vx, vy, yaw, yaw_rate = body
    drive_f, side_f, drive_r, side_r, _, _ = axle_forces(body, acc, floor, car)
    cos, sin = math.cos(delta), math.sin(delta)
    x_f, y_f = drive_f * cos - side_f * sin, drive_f * sin + side_f * cos
    return (
        vx * math.cos(yaw) - vy * math.sin(yaw),
        vx * math.sin(yaw) + vy * math.cos(yaw),
        limit_steering_velocity(delta, sv_wanted, car),
        x_f + drive_r + yaw_rate * vy,
        y_f + side_r - yaw_rate * vx,
        yaw_rate,
        car.m / car.I * (car.lf * y_f - car.lr * side_r),
    )


@inner
def to_body(state: State) -> Body:
    """Return the body's velocities for a state with speed, m/s, and slip angle, rad."""
    x, y, delta, speed, yaw, yaw_rate, slip = state
    return (x, y, delta, speed * math.cos(slip), speed * math.sin(slip), yaw, yaw_rate)


@inner
def to_state(body: Body) -> State:
    """Return the state with the speed, negative in reverse, and the slip angle, 0 at rest; yaw in [0, 2 pi)."""
    x, y, delta, vx, vy, yaw, yaw_rate = body
    sign = 1.0 if vx >= 0.0 else -1.0
    speed = math.hypot(vx, vy)
    slip = math.atan2(sign * vy, sign * vx) if speed > 1e-9 else 0.0
    return (x, y, delta, sign * speed, yaw % (2 * math.pi), yaw_rate, slip)


@inner
def integrate_sliding(state: State, sv: float, acc: float, timestep_s: float, car: Vehicle) -> State:
    """Return the state one step later: classical Runge-Kutta of fourth order, controls held.

    state: x m, y m, steering rad, speed m/s, yaw rad, yaw rate rad/s, slip rad. Motor and speed limits are looked up
    once a step: their jumps inside a step would give energy that the drive did not.
    """
    body, floor = to_body(state), slip_floor(timestep_s, car)
    acc = limit_acceleration(body[3], acc, car)
    k1 = sliding_derivative(body, sv, acc, floor, car)
    k2 = sliding_derivative(add_scaled(body, k1, timestep_s / 2), sv, acc, floor, car)
    k3 = sliding_derivative(add_scaled(body, k2, timestep_s / 2), sv, acc, floor, car)
    k4 = sliding_derivative(add_scaled(body, k3, timestep_s), sv, acc, floor, car)
    slope = add_scaled(add_scaled(add_scaled(k1, k2, 2.0), k3, 2.0), k4, 1.0)
    return to_state(add_scaled(body, slope, timestep_s * (1 / 6)))
