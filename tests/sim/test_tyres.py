"""Tyres that saturate: energy, the friction limit, settled corners, symmetry."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.single_drive import CAR, STEP_S, drive, lateral_mps2
from training.config import EnvSettings
from training.config.vehicle import VEHICLES
from training.envs.car import vehicle_of
from training.sim import Randomisation, Switches, Track, World, tyres
from training.sim.dynamics import GRAVITY_MPS2, add_scaled, limit_acceleration
from training.sim.params import PROFILES, SLIP, SPEED, YAW_RATE, Vehicle

DRIVES, SECONDS = 2_000, 3.0  # of each of five vehicles


@numba.njit
def power(body, grip, floor, car):
    """Return what the drive does, over mass, W/kg, and the total force of the tyres over mass, m/s^2."""
    drive_f, side_f, drive_r, side_r, along_f, along_r = tyres.axle_forces(body, grip, floor, car)
    cos, sin = math.cos(body[2]), math.sin(body[2])
    x = drive_f * cos - side_f * sin + drive_r
    y = drive_f * sin + side_f * cos + side_r
    return drive_f * along_f + drive_r * along_r, math.hypot(x, y)


@numba.njit
def energy(body, car):
    """Return the kinetic energy over mass, J/kg."""
    return 0.5 * (body[3] ** 2 + body[4] ** 2 + car.I / car.m * body[6] ** 2)


@numba.njit
def drives(base, cars, starts, commands):
    """Return of each drive the largest gain of energy in a step beyond the drive's work, and the largest force.

    base: the vehicle; cars: (D, 3) friction, mass and stiffness over the vehicle's; starts: (D, 4) vx, vy, yaw rate,
    steering; commands: (D, K, 2) steering velocity and acceleration, each held for 100 ms. The gain is over the energy,
    but at least over that of 0.5 m/s.
    """
    gains, forces, finite = np.zeros(len(cars)), np.zeros(len(cars)), np.ones(len(cars), dtype=np.bool_)
    for d in range(len(cars)):
        car = vehicle(base, cars[d, 0], cars[d, 1], cars[d, 2])
        floor = tyres.slip_floor(STEP_S, car)
        state = tyres.to_state(
            (0.0, 0.0, starts[d, 3], starts[d, 0], starts[d, 1], 0.0, starts[d, 2]),
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        )
        for k in range(commands.shape[1]):
            sv, acc = commands[d, k, 0], commands[d, k, 1]
            for _ in range(10):
                body = tyres.to_body(state)
                before = energy(body, car)
                held = tyres.held_steering_velocity(body[2], sv, STEP_S, car)
                grip = tyres.divide_grip(limit_acceleration(body[3], acc, car), car)
                k1 = tyres.sliding_derivative(body, held, grip, floor, car)
                b2 = add_scaled(body, k1, STEP_S / 2)
                k2 = tyres.sliding_derivative(b2, held, grip, floor, car)
                b3 = add_scaled(body, k2, STEP_S / 2)
                k3 = tyres.sliding_derivative(b3, held, grip, floor, car)
                b4 = add_scaled(body, k3, STEP_S)
                p1, force = power(body, grip, floor, car)
                p2, p3, p4 = (
                    power(b2, grip, floor, car)[0],
                    power(b3, grip, floor, car)[0],
                    power(b4, grip, floor, car)[0],
                )
                work = STEP_S / 6 * (p1 + 2 * p2 + 2 * p3 + p4)
                state = tyres.integrate_sliding(state, sv, acc, STEP_S, car)
                gain = energy(tyres.to_body(state), car) - before - work
                gains[d] = max(gains[d], gain / max(before, 0.125))
                forces[d] = max(forces[d], force / (car.mu * GRAVITY_MPS2))
                for value in state:
                    finite[d] &= math.isfinite(value)
    return gains, forces, finite


@numba.njit
def vehicle(v, friction, mass, stiffness):
    """A heavier car has more inertia, and its motor and brakes do less."""
    return Vehicle(
        v.mu * friction, v.C_Sf * stiffness, v.C_Sr * stiffness, v.lf, v.lr, v.h, v.m * mass, v.I * mass, v.s_min,
        v.s_max, v.sv_min, v.sv_max, v.v_switch, v.a_max / mass, v.v_min, v.v_max, v.width, v.length, v.v_kinematic,
        v.throttle_error, v.brake_error, v.steering_lag, v.lidar_x,
    )  # fmt: skip


@pytest.fixture(scope="module", params=VEHICLES)
def driven(request):
    """2,000 drives of 3 s of each vehicle from anything that a car may be doing: spinning, backwards, standing."""
    base = vehicle_of(EnvSettings(vehicle=request.param, speed_cap_mps=5.0))
    rng = np.random.default_rng(1)
    cars = np.column_stack(
        [rng.uniform(0.5, 1.3, DRIVES), rng.uniform(0.7, 1.3, DRIVES), rng.uniform(0.6, 2.0, DRIVES)]
    )
    speed, heading = rng.uniform(-base.v_max / 4, base.v_max, DRIVES), rng.normal(0.0, 0.3, DRIVES)
    starts = np.column_stack(
        [
            speed * np.cos(heading),
            speed * np.sin(heading),
            rng.normal(0.0, 3.0, DRIVES),
            rng.uniform(base.s_min, base.s_max, DRIVES),
        ]
    )
    starts[: DRIVES // 20] = 0.0
    steps = (DRIVES, round(SECONDS * 10))
    most = [base.sv_max, base.a_max]
    commands = np.stack([rng.choice([-one, 0.0, one], steps) for one in most], axis=2)
    return drives(base, cars, starts, commands)


def test_no_drive_leaves_the_finite_numbers(driven):
    assert driven[2].all()


def test_energy_comes_from_the_drive_alone(driven):
    """In no step the car gains more than 1e-5 of its energy beyond the work of the drive."""
    assert driven[0].max() < 1e-5


def test_the_tyres_never_pull_more_than_friction_allows(driven):
    assert driven[1].max() <= 1.001
    assert np.median(driven[1]) > 0.9, "and these drives come near it"


# --- a car on them ---
@pytest.mark.parametrize("friction", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("speed", [2.0, 4.0, 6.0, 8.0, 12.0])
def test_a_settled_corner_stays_within_the_friction_limit(speed, friction):
    """Held at its speed, with the steering turned slowly to the stop: wherever it is steady, at most 1.02 mu g."""
    car = CAR._replace(mu=CAR.mu * friction)
    state, steady = (0.0, 0.0, 0.0, speed, 0.0, 0.0, 0.0), []
    for k in range(1500):
        acc = 20.0 * (speed - state[SPEED] * math.cos(state[SLIP]))
        state = tyres.integrate_sliding(state, 0.06 if k % 200 < 100 else 0.0, acc, STEP_S, car)
        if k % 200 > 150:  # the steering has stood for half a second
            steady.append(abs(state[YAW_RATE] * state[SPEED] * math.cos(state[SLIP])))
    assert max(steady) <= 1.02 * car.mu * GRAVITY_MPS2
    assert max(steady) > 0.5 * min(car.mu * GRAVITY_MPS2, speed**2 * 0.4 / 0.33), "and it does corner"


@given(
    steering=st.floats(-0.4, 0.4),
    speed=st.floats(-5.0, 15.0),
    slip=st.floats(-0.5, 0.5),
    rate=st.floats(-6, 6),
    acc=st.floats(-9.0, 9.0),
)
def test_left_and_right_are_mirror_images(steering, speed, slip, rate, acc):
    one = tyres.integrate_sliding((0.0, 0.0, steering, speed, 0.0, rate, slip), 1.0, acc, STEP_S, CAR)
    two = tyres.integrate_sliding((0.0, 0.0, -steering, speed, 0.0, -rate, -slip), -1.0, acc, STEP_S, CAR)
    signs = np.array([1, -1, -1, 1, 1, -1, -1])
    one, two = np.array(one), np.array(two) * signs
    one[4], two[4] = math.sin(one[4]), -math.sin(two[4])  # yaw is in [0, 2 pi)
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_a_car_at_rest_stays_and_a_slow_one_follows_its_wheels():
    """No drift at standstill; at walking speed the turn is the wheels', within a percent."""
    still = drive((1.0, 2.0, 0.3, 0.0, 0.5, 0.0, 0.0), 0.0, 0.0, 100)
    np.testing.assert_array_equal(still[:, -1], still[:, 0])
    slow = drive((0.0, 0.0, 0.3, 0.3, 0.0, 0.0, 0.0), 0.0, 0.0, 30)
    kinematic = slow[SPEED, -1] * math.cos(slow[SLIP, -1]) * math.tan(0.3) / (CAR.lf + CAR.lr)
    assert slow[YAW_RATE, -1] == pytest.approx(kinematic, rel=0.02)


def test_brakes_and_drive_take_from_the_grip():
    """On a third of the friction a car brakes at 0.9 of what is there; while it brakes it corners less."""
    slippery = CAR._replace(mu=CAR.mu * 0.3)
    braked = drive((0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0), 0.0, -9.51, 50, slippery)
    assert braked[SPEED, 0] - braked[SPEED, -1] == pytest.approx(
        0.9 * slippery.mu * GRAVITY_MPS2 * 0.5, rel=1e-6
    )
    turning = (0.0, 0.0, 0.2, 6.0, 0.0, 0.0, 0.0)
    free, braking = drive(turning, 0.0, 0.0, 30), drive(turning, 0.0, -9.0, 30)
    assert lateral_mps2(braking).max() < 0.75 * lateral_mps2(free).max()


# --- in the simulator ---
SLIPPING: Switches = PROFILES["training"]._replace(slipping_tyres=True)


def test_a_world_on_slipping_tyres_equals_single_ones_and_its_mass_is_inertia():
    """Environments are independent, and a heavier car speeds up less."""
    track = Track.generate(5)
    poses = np.array([[track.pose_at(s)] for s in (0.0, 20.0, 40.0, 60.0, 80.0)])
    draws = Randomisation(friction_scale=(0.6, 1.2), mass_scale=(0.8, 1.3))
    many = World(track, 5, beams=20, switches=SLIPPING, seed=3, randomisation=draws)
    many.reset(poses)
    commands = np.tile([0.1, 6.0], (5, 1, 1))
    many.step(commands, 30)
    for e in range(5):
        one = World(track, 1, beams=20, switches=SLIPPING, seed=3 + e, randomisation=draws)
        one.reset(poses[e : e + 1])
        one.step(commands[:1], 30)
        np.testing.assert_array_equal(one.states[0], many.states[e])
    speeds = []
    for mass in (0.8, 1.3):
        heavy = World(
            track, 1, beams=20, switches=SLIPPING, randomisation=Randomisation(mass_scale=(mass, mass))
        )
        heavy.reset(poses[:1])
        heavy.step(np.array([[[0.0, 8.0]]]), 30)
        speeds.append(heavy.states[0, 0, SPEED])
    assert speeds[0] > 1.2 * speeds[1]


@pytest.mark.parametrize("name", ["friction_scale", "mass_scale"])
def test_a_car_without_grip_or_mass_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name}=\(0.0, 1.0\) must be above 0"):
        World(
            Track.generate(5),
            1,
            beams=20,
            switches=SLIPPING,
            randomisation=Randomisation(**{name: (0.0, 1.0)}),
        )


def test_the_other_tyres_are_as_they_were():
    """Without the switch nothing changes: f1tenth_gym's recordings hold it too (tests/parity)."""
    track = Track.generate(5)
    rows = []
    for switches in (PROFILES["training"], PROFILES["training"]._replace(tyre_saturation=True), SLIPPING):
        world = World(track, 1, beams=20, switches=switches)
        world.reset(np.array([[track.pose_at(0.0)]]))
        world.step(np.array([[[0.3, 6.0]]]), 60)
        rows.append(world.states[0, 0].copy())
    linear, circle, slipping = rows
    assert linear[YAW_RATE] != slipping[YAW_RATE] != circle[YAW_RATE]
    assert slipping[SPEED] < linear[SPEED], "sliding costs speed"
