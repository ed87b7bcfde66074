"""Faults of actuators and floors, obstacles; every fault together: all resume, threads do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.sim.faulty_world import ALL, SLIPPING, straight, world
from training.config import EnvSettings
from training.config.vehicle import VEHICLES
from training.envs.car import vehicle_of
from training.sim import Randomisation, Track, Vehicle, World
from training.sim.arrays import ADDED_LATER
from training.sim.params import PROFILES, SPEED, STEERING, YAW


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.generate(1)


# --- actuators ---
def test_a_trim_turns_a_car_that_is_told_to_go_straight(square):
    rows = straight(world(square, steering_trim_rad=(0.05, 0.05)), 30)
    assert rows[-1, STEERING] == pytest.approx(0.05)
    assert rows[-1, YAW] > 0.05


def test_a_gain_scales_the_steering_and_the_speed(square):
    rows = straight(world(square, steering_gain=(0.8, 0.8), drive_gain=(1.1, 1.1)), 150, 0.1)
    assert rows[-1, STEERING] == pytest.approx(0.08)
    assert rows[-1, SPEED] == pytest.approx(3.3, rel=0.05)


def test_with_play_the_steering_stops_short_of_its_command(square):
    rows = straight(world(square, steering_backlash_rad=(0.04, 0.04)), 30, 0.2)
    assert rows[-1, STEERING] == pytest.approx(0.18)


def test_the_servo_lags_and_is_slower(square):
    """With a time constant 63 % are there after it; with half the rate the ramp takes twice as long."""
    lagging = straight(world(square, steering_lag_s=(0.1, 0.1), steering_delay_steps=(0, 0)), 10, 0.1)
    assert lagging[-1, STEERING] == pytest.approx(0.1 * (1 - 0.9**10), rel=1e-6)
    slow = straight(world(square, steering_rate_scale=(0.5, 0.5), steering_delay_steps=(0, 0)), 10, 0.4)
    assert slow[-1, STEERING] == pytest.approx(0.16)


def test_a_vehicle_has_a_lag_of_its_own(square):
    car = Vehicle(steering_lag=0.1)
    rows = straight(world(square, steering_delay_steps=(0, 0), vehicle=car), 10, 0.1)
    assert rows[-1, STEERING] == pytest.approx(0.1 * (1 - 0.9**10), rel=1e-6)


def test_the_drive_answers_late_and_slowly(square):
    plain = straight(world(square), 40)
    late = straight(world(square, drive_delay_steps=(5, 5)), 40)
    np.testing.assert_allclose(late[5:, SPEED], plain[:-5, SPEED], atol=1e-12)
    lagging = straight(world(square, drive_lag_s=(0.3, 0.3)), 40)
    assert lagging[20, SPEED] < 0.7 * plain[20, SPEED]


def test_limits_may_differ_to_the_left_and_to_the_right(square):
    car = Vehicle(s_min=-0.263, s_max=0.313)
    left, right = (straight(world(square, vehicle=car), 60, side) for side in (0.5, -0.5))
    assert left[-1, STEERING] == pytest.approx(0.313)
    assert right[-1, STEERING] == pytest.approx(-0.263)


# --- friction ---
def test_friction_changes_along_the_lap(track):
    """Braking from 6 m/s takes as long as the floor lets it: never more than its share off, and not always the same."""
    ways = []
    for env in range(12):
        w = World(
            track,
            1,
            1,
            36,
            seed=env,
            switches=SLIPPING,
            randomisation=Randomisation(friction_along_track=(0.5, 0.5), friction_scale=(0.4, 0.4)),
        )
        w.reset([[track.pose_at(5.0 * env)]])
        for _ in range(60):
            w.step([[[0.0, 3.0]]])
        before = w.states[0, 0, SPEED]
        w.step([[[0.0, -5.0]]], 5)
        ways.append((before - w.states[0, 0, SPEED]) / 0.05)
    grip = 0.9 * 0.4 * Vehicle().mu * 9.81
    assert min(ways) > 0.49 * grip
    assert max(ways) < 1.51 * grip
    assert max(ways) > 1.3 * min(ways)


# --- obstacles ---
def test_boxes_stand_on_the_track_leave_a_way_and_stop_a_car(track):
    w = world(track, num_envs=40, beams=108, obstacles=(3, 3))
    poses = np.array([[track.pose_at(3.0 * e)] for e in range(40)])
    w.reset(poses)
    assert np.mean([len(boxes) for boxes in w.obstacles]) > 2.5
    for e, boxes in enumerate(w.obstacles):
        for box in boxes:
            arc_m, lateral = track.project(box.mean(axis=0))
            i = int(np.searchsorted(track.arc_length_m, arc_m)) % len(track.arc_length_m)
            right_m, left_m = (side[i] for side in track.widths_m)
            reach = 0.5 * np.ptp(
                box @ np.array([-np.sin(track.pose_at(arc_m)[2]), np.cos(track.pose_at(arc_m)[2])])
            )
            assert max(right_m + lateral, left_m - lateral) - reach > Vehicle().width + 0.3
            away = abs(arc_m - track.project(poses[e, 0, :2])[0]) % track.length_m
            assert min(away, track.length_m - away) > 2.5
    e = next(e for e, boxes in enumerate(w.obstacles) if len(boxes))
    middle = w.obstacles[e][0].mean(axis=0)
    arc_m, lateral = track.project(middle)
    x, y, yaw = track.pose_at(arc_m - 1.2, lateral)
    here = np.zeros((40, 1, 3))
    here[e, 0] = x, y, yaw
    only = np.zeros((40, 1), dtype=np.bool_)
    only[e] = True
    w.place(here, only)
    assert w.scans[e, 0].min() < 1.2, "it is seen"
    for _ in range(20):
        w.step(np.tile([0.0, 2.0], (40, 1, 1)), 10)
        if w.wall_contacts[e, 0]:
            break
    assert w.wall_contacts[e, 0], "and it stops the car"
    here[e, 0, :2] = middle
    with pytest.raises(ValueError, match="touches a wall or an obstacle"):
        w.place(here, only)


def test_each_episode_has_boxes_of_its_own(track):
    w = world(track, obstacles=(2, 2))
    w.reset([[track.pose_at(0.0)]])
    first = w.obstacles[0].copy()
    w.reset([[track.pose_at(0.0)]])
    assert not np.array_equal(first, w.obstacles[0])


# --- all together ---
@pytest.mark.parametrize("name", VEHICLES)
def test_2000_random_drives_of_each_vehicle_with_every_fault_stay_finite(square, name):
    """3 s of full steps of steering and throttle, reverse too: no number that is none, no speed beyond the car's."""
    car = vehicle_of(EnvSettings(vehicle=name, speed_cap_mps=5.0))
    w = World(square, 2000, 1, 3, seed=1, switches=SLIPPING, randomisation=ALL, vehicle=car)
    rng = np.random.default_rng(2)
    w.reset(
        np.dstack(
            [rng.uniform(-7, 7, (2000, 1)), rng.uniform(-7, 7, (2000, 1)), rng.uniform(-3, 3, (2000, 1))]
        )
    )
    for _ in range(30):
        steering = rng.choice([car.s_min, 0.0, car.s_max], (2000, 1))
        w.step(np.dstack([steering, rng.choice([car.v_min, 0.0, car.v_max], (2000, 1))]), 10)
        assert np.isfinite(w.states).all()
        assert np.isfinite(w.measured).all()
        assert np.isfinite(w.scans).all()
        assert np.abs(w.states[..., SPEED]).max() < 1.05 * car.v_max


@pytest.mark.parametrize("switches", [SLIPPING, PROFILES["training"]])
def test_many_environments_equal_single_ones_with_every_fault(track, switches):
    envs, cars = 6, 2
    options = {"beams": 36, "switches": switches, "randomisation": ALL}
    batch = World(track, envs, cars, seed=9, **options)
    singles = [World(track, 1, cars, seed=9 + e, **options) for e in range(envs)]
    poses = np.array([[track.pose_at(12.0 * e + 2.0 * n) for n in range(cars)] for e in range(envs)])
    batch.reset(poses)
    for e, one in enumerate(singles):
        one.reset(poses[e : e + 1])
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions = np.stack([rng.uniform(-0.4, 0.4, (envs, cars)), rng.uniform(0, 7, (envs, cars))], axis=-1)
        batch.step(actions, 10)
        for e, one in enumerate(singles):
            one.step(actions[e : e + 1], 10)
            for name, array in one.state_dict().items():
                np.testing.assert_array_equal(array[0], batch.state_dict()[name][e], err_msg=name)
    assert np.isfinite(batch.states).all()


def test_a_world_with_every_fault_continues_exactly(track):
    one, two = (World(track, 3, 2, 36, seed=5, switches=SLIPPING, randomisation=ALL) for _ in range(2))
    one.reset(np.array([[track.pose_at(9.0 * e + 2.0 * n) for n in range(2)] for e in range(3)]))
    rng = np.random.default_rng(1)
    actions = np.stack([rng.uniform(-0.3, 0.3, (30, 3, 2)), rng.uniform(0, 6, (30, 3, 2))], axis=-1)
    for a in actions[:15]:
        one.step(a, 7)
    two.load_state_dict(one.state_dict())
    for a in actions[15:]:
        one.step(a, 7)
        two.step(a, 7)
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, two.state_dict()[name], err_msg=name)


def test_a_checkpoint_from_before_faults_loads_into_a_world_without(track):
    w = World(track, 2, 1, 36)
    w.reset([[track.pose_at(0.0)], [track.pose_at(5.0)]])
    before = {name: array for name, array in w.state_dict().items() if name not in ADDED_LATER}
    w.load_state_dict(before)
    with pytest.raises(ValueError, match="'faults' is missing"):
        World(track, 2, 1, 36, randomisation=ALL).load_state_dict(before)


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"steering_trim_rad": (0.1, -0.1)}, "must be low <= high"),
        ({"drive_lag_s": (-1.0, 0.0)}, "must be 0 <= low <= high"),
        ({"drive_delay_steps": (0, 16)}, "must stay below 16"),
        ({"scan_latency_steps": (0, 40), "scan_period_s": (0.0, 0.1)}, "may be 47 steps old, not 50"),
        ({"friction_scale": (0.0, 1.0)}, "above 0 on slipping tyres"),
        ({"beam_dropout": (0.0, math.nan)}, "must be 0 <= low <= high"),
    ],
)
def test_ranges_that_cannot_be_are_refused(square, ranges, said):
    with pytest.raises(ValueError, match=said):
        world(square, **ranges)


def test_the_package_profile_refuses_faults_by_name(square):
    with pytest.raises(ValueError, match=r"beam_dropout.*only with footprint_contact"):
        World(square, 1, profile="f1tenth_gym", randomisation=Randomisation(beam_dropout=(0.0, 0.1)))
