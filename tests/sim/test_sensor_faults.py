"""Faults of sensors: each does to scans and measurements what its name says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.sim.faulty_world import SLIPPING, straight, world
from training.sim import Vehicle, World


# --- scans ---
def test_the_lidar_stands_where_the_vehicle_has_it(square):
    here = World(square, 1, 1, 3, switches=SLIPPING, vehicle=Vehicle(lidar_x=0.1), fov_rad=math.pi)
    there = World(square, 1, 1, 3, switches=SLIPPING, fov_rad=math.pi)
    here.reset([[(0.0, 0.0, 0.0)]])
    there.reset([[(0.1, 0.0, 0.0)]])
    np.testing.assert_array_equal(here.scans, there.scans)


def test_an_old_scan_is_the_scan_from_where_the_car_was(square):
    """With a latency of 7 steps a car sees what one without saw 7 steps ago."""
    fresh, old = world(square), world(square, scan_latency_steps=(7, 7))
    for w in (fresh, old):
        w.reset(np.zeros((1, 1, 3)))
    seen = [fresh.scans.copy()]
    for k in range(40):
        for w in (fresh, old):
            w.step([[[0.2, 4.0]]])
        seen.append(fresh.scans.copy())
        np.testing.assert_array_equal(old.scans, seen[max(k + 1 - 7, 0)])
    assert not np.array_equal(seen[-1], seen[-8])


def test_a_scanner_with_a_beat_of_its_own_gives_scans_of_all_ages_below_its_period(square):
    """In every step it is one of the fresh scans of the last 2.5 steps, and stays for two or three steps."""
    fresh, beating = world(square), world(square, scan_period_s=(0.025, 0.025))
    for w in (fresh, beating):
        w.reset(np.zeros((1, 1, 3)))
    seen, ages = [fresh.scans.copy()], []
    for _ in range(60):
        for w in (fresh, beating):
            w.step([[[0.2, 4.0]]])
        seen.append(fresh.scans.copy())
        ages.append(next(age for age in range(4) if np.array_equal(beating.scans, seen[-1 - age])))
    assert set(ages[10:]) == {0, 1, 2}


def test_an_old_scan_shows_the_others_where_they_were(square):
    fresh, old = (
        world(square, num_cars=2, beams=108),
        world(square, num_cars=2, beams=108, scan_latency_steps=(5, 5)),
    )
    poses = np.array([[(0.0, 0.0, 0.0), (2.0, 0.5, 0.0)]])
    for w in (fresh, old):
        w.reset(poses)
    seen = [fresh.scans.copy()]
    for _ in range(20):
        for w in (fresh, old):
            w.step([[[0.0, 2.0], [0.1, 4.0]]])
        seen.append(fresh.scans.copy())
    np.testing.assert_allclose(old.scans, seen[-6], atol=1e-6)


def test_dropouts_read_the_lidars_range(square):
    w = world(square, num_envs=200, beams=100, beam_dropout=(0.1, 0.1))
    w.reset(np.zeros((200, 1, 3)))
    share = (w.scans == 30.0).mean()
    assert share == pytest.approx(0.1, abs=0.01)
    w = world(square, num_envs=400, beams=100, block_dropout=(0.3, 0.3))
    w.reset(np.zeros((400, 1, 3)))
    lost = (w.scans[:, 0] == 30.0).sum(axis=1)
    assert (lost > 0).mean() == pytest.approx(0.3, abs=0.07)
    assert lost.max() <= 0.5 / 4.7 * 100 + 1
    for row in w.scans[lost > 0, 0] == 30.0:
        where = np.flatnonzero(row)
        assert (np.diff(where) == 1).all(), "one block"


def test_a_lidar_that_is_elsewhere_sees_what_a_car_there_would(square):
    moved, there = world(square, lidar_offset_m=(-0.1, -0.1)), world(square)
    moved.reset(np.zeros((1, 1, 3)))
    there.reset(np.array([[[-0.1, 0.0, 0.0]]]))
    np.testing.assert_allclose(moved.scans, there.scans, atol=1e-6)
    drawn = world(square, num_envs=200, lidar_offset_m=(-0.1, 0.1))
    drawn.reset(np.zeros((200, 1, 3)))
    ahead_m = drawn.scans[:, 0, drawn.scans.shape[2] // 2]
    assert np.ptp(ahead_m) == pytest.approx(0.2, abs=0.051), "a cell is 0.05 m"


def test_a_bias_is_added_to_every_range(square):
    plain, biased = world(square), world(square, scan_bias_m=(0.1, 0.1))
    for w in (plain, biased):
        w.reset(np.zeros((1, 1, 3)))
    np.testing.assert_allclose(biased.scans, plain.scans + 0.1, atol=1e-6)


def test_the_noise_of_a_scan_has_the_deviation_that_is_drawn(square):
    plain = world(square, num_envs=300, beams=100, scan_bias_m=(0.2, 0.2))
    noisy = world(square, num_envs=300, beams=100, scan_bias_m=(0.2, 0.2), scan_noise_m=(0.05, 0.05))
    for w in (plain, noisy):
        w.reset(np.zeros((300, 1, 3)))
    noise = noisy.scans - plain.scans
    assert noise.mean() == pytest.approx(0.0, abs=0.001)
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert abs(np.corrcoef(noise[:, 0, :-1].ravel(), noise[:, 0, 1:].ravel())[0, 1]) < 0.02
    before = noisy.scans.copy()
    noisy.step(np.zeros((300, 1, 2)))
    assert np.mean(noisy.scans == before) < 0.01, "another in each step"


# --- what the car measures ---
def test_measurements_have_noise_and_bias(square):
    w = world(
        square,
        num_envs=3000,
        speed_bias_mps=(0.5, 0.5),
        speed_noise_mps=(0.2, 0.2),
        yaw_rate_noise_radps=(0.1, 0.1),
        steering_bias_rad=(-0.02, -0.02),
    )
    w.reset(np.zeros((3000, 1, 3)))
    speed, yaw_rate, steering = w.measured[:, 0].T
    assert speed.mean() == pytest.approx(0.5, abs=0.02)
    assert speed.std() == pytest.approx(0.2, rel=0.1)
    assert yaw_rate.std() == pytest.approx(0.1, rel=0.1)
    assert yaw_rate.mean() == pytest.approx(0.0, abs=0.01)
    np.testing.assert_allclose(steering, -0.02)


def test_without_faults_what_is_measured_is_true(square):
    w = world(square)
    straight(w, 20, 0.1)
    np.testing.assert_array_equal(w.measured[0, 0], w.states[0, 0, [3, 5, 2]])
