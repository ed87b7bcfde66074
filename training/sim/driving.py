"""One car's physics step: the vehicle of this episode, its actuators, and its motion."""

from __future__ import annotations

import math

from .arrays import Cars, Rules
from .compiled import inlined
from .draws import (
    ALONG,
    ALONG_PHASE,
    ALONG_WAVES,
    BACKLASH,
    DRIVE_DELAY,
    DRIVE_GAIN,
    DRIVE_LAG,
    OVER_TIME,
    OVER_TIME_PHASE,
    OVER_TIME_S,
    STEERING_GAIN,
    STEERING_LAG,
    STEERING_RATE,
    STEERING_TRIM,
    STIFFNESS,
)
from .dynamics import acceleration, integrate, steering_velocity
from .params import MAX_STEERING_DELAY, SLIP, SPEED, STEERING, Vehicle
from .tyres import integrate_sliding

# f1tenth_gym's physics step, for which the vehicle's v_kinematic was chosen.
TIMESTEP_S = 0.01
# Of a car's friction, at least this much is left where it varies.
_LEAST_GRIP = 0.05
# Named indices of what actuators hold, axis 2 of `Cars.held`.
_STEERING_TARGET, _SPEED_TARGET = 0, 1


@inlined
def queue_command(cars: Cars, rules: Rules, e: int, n: int, steering: float, speed: float) -> None:
    """Put a command on its way to servo, rad, and motor, m/s."""
    now = cars.tick[e] % MAX_STEERING_DELAY
    cars.steering_queue[e, n, now] = steering
    if rules.faulty:
        cars.speed_queue[e, n, now] = speed


@inlined
def drive(cars: Cars, rules: Rules, e: int, n: int, speed: float, lap_m: float) -> None:
    """Advance one car by one physics step under its queued commands; without faults the speed's has no delay.

    speed: the command, m/s; lap_m: length of the car's track.
    """
    car = _this_car(cars, rules, e, n, lap_m)
    target = cars.steering_queue[e, n, (cars.tick[e] - cars.delay[e, n]) % MAX_STEERING_DELAY]
    if rules.faulty:
        target, speed = _through_actuators(cars, rules, e, n, target)
    exact = rules.switches.exact_steering
    if exact:
        target = min(max(target, car.s_min), car.s_max)
    s = cars.states[e, n]
    sv = steering_velocity(target, s[STEERING], exact, rules.timestep_s, car)
    state = (s[0], s[1], s[2], s[3], s[4], s[5], s[6])
    if rules.switches.slipping_tyres:
        # The controller sees the wheels' speed, and its gain is the vehicle's, whatever the episode's mass.
        acc = acceleration(speed, s[SPEED] * math.cos(s[SLIP]), rules.vehicle)
        after = integrate_sliding(state, sv, acc, rules.timestep_s, car)
    else:
        acc = acceleration(speed, s[SPEED], car)
        after = integrate(state, sv, acc, rules.timestep_s, car, rules.switches.tyre_saturation)
    for i in range(7):
        s[i] = after[i]


@inlined
def _this_car(cars: Cars, rules: Rules, e: int, n: int, lap_m: float) -> Vehicle:
    """Return the vehicle with this episode's friction, mass and faults.

    On slipping tyres mass scales the yaw inertia, and what motor and brakes can do; on the others it acts as in runs of
    before, on the tyres' grip alone.

    At low speed slip decays at a rate that grows with friction x mass / speed. If the integrator's step is too long for
    that rate, the car's spin diverges: at 0.5 m/s from 1.23 times f1tenth_gym's friction x mass on. So the kinematic
    model holds up to a speed as many times higher as friction x mass, or the step, is larger.
    """
    v = rules.vehicle
    friction, mass_kg = cars.friction[e, n], cars.mass_kg[e, n]
    stiffness, rate, lag_s = 1.0, 1.0, 0.0
    if rules.faulty:
        faults = cars.faults[e, n]
        stiffness, rate, lag_s = faults[STIFFNESS], faults[STEERING_RATE], faults[STEERING_LAG]
        friction *= _grip_here(cars, rules, e, n, lap_m)
    stiffer = max(friction * mass_kg * stiffness / (v.mu * v.m), 1.0) * max(
        rules.timestep_s / TIMESTEP_S, 1.0
    )
    heavier = mass_kg / v.m if rules.switches.slipping_tyres else 1.0
    return Vehicle(
        friction, v.C_Sf * stiffness, v.C_Sr * stiffness, v.lf, v.lr, v.h, mass_kg, v.I * heavier, v.s_min, v.s_max,
        v.sv_min * rate, v.sv_max * rate, v.v_switch, v.a_max / heavier, v.v_min, v.v_max, v.width, v.length,
        v.v_kinematic * stiffer, v.throttle_error, v.brake_error, v.steering_lag + lag_s, v.lidar_x,
    )  # fmt: skip


@inlined
def _grip_here(cars: Cars, rules: Rules, e: int, n: int, lap_m: float) -> float:
    """Return what the floor does to a car's friction, at this place of the lap and at this time."""
    faults, grip = cars.faults[e, n], 1.0
    if faults[ALONG] > 0.0:
        turns = faults[ALONG_WAVES] * cars.arc_m[e, n] / lap_m + faults[ALONG_PHASE]
        grip *= 1.0 + faults[ALONG] * math.sin(2.0 * math.pi * turns)
    if faults[OVER_TIME] > 0.0:
        turns = cars.tick[e] * rules.timestep_s / faults[OVER_TIME_S] + faults[OVER_TIME_PHASE]
        grip *= 1.0 + faults[OVER_TIME] * math.sin(2.0 * math.pi * turns)
    return max(grip, _LEAST_GRIP)


@inlined
def _through_actuators(cars: Cars, rules: Rules, e: int, n: int, steering: float) -> tuple[float, float]:
    """Return what arrives at servo, rad, and motor, m/s, of a steering command and of those of speed on their way."""
    faults, held = cars.faults[e, n], cars.held[e, n]
    wanted = faults[STEERING_GAIN] * steering + faults[STEERING_TRIM]
    play = 0.5 * faults[BACKLASH]
    held[_STEERING_TARGET] = min(max(held[_STEERING_TARGET], wanted - play), wanted + play)
    sent = (cars.tick[e] - int(faults[DRIVE_DELAY])) % MAX_STEERING_DELAY
    asked = faults[DRIVE_GAIN] * cars.speed_queue[e, n, sent]
    share = rules.timestep_s / max(faults[DRIVE_LAG], rules.timestep_s)
    held[_SPEED_TARGET] += share * (asked - held[_SPEED_TARGET])
    return held[_STEERING_TARGET], held[_SPEED_TARGET]
