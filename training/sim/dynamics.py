"""The single-track vehicle model, its low-level controllers and the integrator.

Source: CommonRoad vehicle models, https://commonroad.in.tum.de/models/, section 7 (single-track model with the
kinematic branch below 0.5 m/s as f1tenth_gym v1.0.0 writes it). Pure functions of scalars and tuples: nothing here
allocates, so a whole step stays in registers.
"""

from __future__ import annotations

import math

from .compiled import inlined
from .params import Vehicle

GRAVITY_MPS2 = 9.81
STEERING_DEADBAND_RAD = 1e-4

State = tuple[float, float, float, float, float, float, float]


@inlined
def largest_decay(car: Vehicle) -> float:
    """Return the faster of the rates, times the speed, at which side slip and yaw rate decay on linear tyres, m/s^2."""
    grip = car.mu * GRAVITY_MPS2 / (car.lf + car.lr)
    sideways = grip * (car.C_Sf * car.lr + car.C_Sr * car.lf)
    yaw = grip * car.m / car.I * (car.lf * car.lf * car.C_Sf * car.lr + car.lr * car.lr * car.C_Sr * car.lf)
    return max(sideways, yaw)


def kinematic_speed_mps(car: Vehicle) -> float:
    """Return the speed below which a car needs the kinematic model to be stable: f1tenth_gym's 0.5 m/s for its car."""
    return Vehicle().v_kinematic * max(largest_decay(car) / largest_decay(Vehicle()), 1.0)


@inlined
def limit_acceleration(speed: float, wanted: float, car: Vehicle) -> float:
    """Return the acceleration, m/s^2, that motor and speed limits leave of the wanted one."""
    upper = car.a_max * (car.v_switch / speed) if speed > car.v_switch else car.a_max
    if (speed <= car.v_min and wanted <= 0) or (speed >= car.v_max and wanted >= 0):
        return 0.0
    if wanted <= -car.a_max:
        return -car.a_max
    if wanted >= upper:
        return upper
    return wanted


@inlined
def limit_steering_velocity(steering: float, wanted: float, car: Vehicle) -> float:
    """Return the steering velocity, rad/s, that the servo's limits leave of the wanted one."""
    if (steering <= car.s_min and wanted <= 0) or (steering >= car.s_max and wanted >= 0):
        return 0.0
    return min(max(wanted, car.sv_min), car.sv_max)


@inlined
def steering_velocity(target: float, steering: float, exact: bool, timestep_s: float, car: Vehicle) -> float:
    """Return the servo's velocity, rad/s, towards a target angle, rad.

    exact: never overshoots, and follows with the servo's lag; otherwise f1tenth_gym's bang-bang law, which swings
    around its target for ever.
    """
    error = target - steering
    if exact:
        return min(max(error / max(timestep_s, car.steering_lag), -car.sv_max), car.sv_max)
    if abs(error) > STEERING_DEADBAND_RAD:
        return (error / abs(error)) * car.sv_max
    return 0.0


@inlined
def acceleration(target: float, speed: float, car: Vehicle) -> float:
    """Return the acceleration, m/s^2, of f1tenth_gym's proportional speed controller."""
    error = target - speed
    gain = 10.0 if speed > 0.0 else 2.0
    # f1tenth_gym divides by its speed limits, 20 and 5 m/s: ten times the errors at which it asks for all.
    limit = 10.0 * (car.throttle_error if error > 0 else car.brake_error)
    return gain * car.a_max / limit * error


@inlined
def _kinematic(state: State, sv: float, acc: float, car: Vehicle) -> State:
    _, _, delta, v, psi, _, beta = state
    wheelbase = car.lf + car.lr
    tan_delta = math.tan(delta)
    ratio = tan_delta * (car.lr / wheelbase)
    beta_hat = math.atan(tan_delta * car.lr / wheelbase)
    cos_delta_sq = math.cos(delta) ** 2
    beta_rate = (1 / (1 + ratio**2)) * (car.lr / (wheelbase * cos_delta_sq)) * sv
    yaw_acc = (1 / wheelbase) * (
        acc * math.cos(beta) * tan_delta
        - v * math.sin(beta) * tan_delta * beta_rate
        + (v * math.cos(beta) * sv) / cos_delta_sq
    )
    yaw_rate = v * math.cos(beta_hat) * tan_delta / wheelbase
    return (v * math.cos(psi + beta_hat), v * math.sin(psi + beta_hat), sv, acc, yaw_rate, yaw_acc, beta_rate)


@inlined
def _linear_tyres(state: State, acc: float, car: Vehicle) -> tuple[float, float]:
    """Return yaw acceleration, rad/s^2, and slip rate, rad/s: forces linear in the slip angles, without a limit.

    The sums are in the order in which f1tenth_gym adds them, so that results are bit-identical.
    """
    _, _, delta, v, _, psi_rate, beta = state
    lf, lr, stiff_f, stiff_r = car.lf, car.lr, car.C_Sf, car.C_Sr
    # Axle loads (times wheelbase / mass) under longitudinal load transfer.
    load_f = GRAVITY_MPS2 * lr - acc * car.h
    load_r = GRAVITY_MPS2 * lf + acc * car.h
    yaw_acc = ((car.mu * car.m) / (car.I * (lf + lr))) * (
        lf * stiff_f * load_f * delta
        + (lr * stiff_r * load_r - lf * stiff_f * load_f) * beta
        - (lf * lf * stiff_f * load_f + lr * lr * stiff_r * load_r) * (psi_rate / v)
    )
    slip_rate = (car.mu / (v * (lr + lf))) * (
        stiff_f * load_f * delta
        - (stiff_r * load_r + stiff_f * load_f) * beta
        + (stiff_r * load_r * lr - stiff_f * load_f * lf) * (psi_rate / v)
    ) - psi_rate
    return yaw_acc, slip_rate


@inlined
def _saturating_tyres(state: State, acc: float, car: Vehicle) -> tuple[float, float]:
    """Return the same, with lateral forces cut to what the acceleration leaves of each axle's friction circle."""
    _, _, delta, v, _, psi_rate, beta = state
    load_f = GRAVITY_MPS2 * car.lr - acc * car.h
    load_r = GRAVITY_MPS2 * car.lf + acc * car.h
    used = acc / (car.mu * GRAVITY_MPS2)
    left = math.sqrt(max(0.0, 1.0 - used * used))
    # In units of mu times the axle's load.
    front = min(max(car.C_Sf * (delta - beta - car.lf * psi_rate / v), -left), left)
    rear = min(max(car.C_Sr * (-beta + car.lr * psi_rate / v), -left), left)
    wheelbase = car.lf + car.lr
    yaw_acc = car.mu * car.m / (car.I * wheelbase) * (car.lf * load_f * front - car.lr * load_r * rear)
    slip_rate = car.mu / (v * wheelbase) * (load_f * front + load_r * rear) - psi_rate
    return yaw_acc, slip_rate


@inlined
def derivative(
    state: State, sv_wanted: float, acc_wanted: float, car: Vehicle, saturate: bool = False
) -> State:
    """Return d(state)/dt of the single-track model.

    state: (x m, y m, steering rad, speed m/s, yaw rad, yaw rate rad/s, slip rad); controls: steering velocity rad/s
    and acceleration m/s^2, limited here, that is at every stage of the integrator, as f1tenth_gym does.
    saturate: keep the lateral tyre forces inside the friction circle.
    """
    sv = limit_steering_velocity(state[2], sv_wanted, car)
    acc = limit_acceleration(state[3], acc_wanted, car)
    if state[3] < car.v_kinematic:
        return _kinematic(state, sv, acc, car)
    yaw_acc, slip_rate = _saturating_tyres(state, acc, car) if saturate else _linear_tyres(state, acc, car)
    _, _, _, v, psi, psi_rate, beta = state
    return (v * math.cos(psi + beta), v * math.sin(psi + beta), sv, acc, psi_rate, yaw_acc, slip_rate)


@inlined
def add_scaled(state: State, k: State, factor: float) -> State:
    """Return state + factor * k, number by number."""
    return (
        state[0] + factor * k[0],
        state[1] + factor * k[1],
        state[2] + factor * k[2],
        state[3] + factor * k[3],
        state[4] + factor * k[4],
        state[5] + factor * k[5],
        state[6] + factor * k[6],
    )


@inlined
def integrate(
    state: State, sv: float, acc: float, timestep_s: float, car: Vehicle, saturate: bool = False
) -> State:
    """Return the state one step later: classical Runge-Kutta of fourth order, controls held, yaw in [0, 2 pi)."""
    k1 = derivative(state, sv, acc, car, saturate)
    k2 = derivative(add_scaled(state, k1, timestep_s / 2), sv, acc, car, saturate)
    k3 = derivative(add_scaled(state, k2, timestep_s / 2), sv, acc, car, saturate)
    k4 = derivative(add_scaled(state, k3, timestep_s), sv, acc, car, saturate)
    slope = add_scaled(add_scaled(add_scaled(k1, k2, 2.0), k3, 2.0), k4, 1.0)
    x, y, steering, speed, yaw, yaw_rate, slip = add_scaled(state, slope, timestep_s * (1 / 6))
    return (x, y, steering, speed, yaw % (2 * math.pi), yaw_rate, slip)
