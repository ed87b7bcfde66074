"""Whose fault a contact of two cars is: each case of the rules, judged from poses and velocities."""

from __future__ import annotations

import numpy as np
import pytest

from training.sim import Track, Vehicle, World
from training.sim.collision import boxes_overlap, fill_corners
from training.sim.contact_fault import FRONT, REAR, SIDE, judge_contact
from training.sim.params import NUM_STATES, SLIP, SPEED, YAW, YAW_RATE, X, Y

CAR = Vehicle()


def state(x, y, yaw_deg, speed, *, slip=0.0, yaw_rate=0.0) -> np.ndarray:
    s = np.zeros(NUM_STATES)
    s[X], s[Y], s[YAW], s[SPEED], s[SLIP], s[YAW_RATE] = x, y, np.radians(yaw_deg), speed, slip, yaw_rate
    return s


def corners(s: np.ndarray) -> np.ndarray:
    box = np.empty((4, 2))
    fill_corners(s[X], s[Y], s[YAW], CAR.length, CAR.width, box)
    return box


# first car, second car, faults, parts. A car is 0.58 m long and 0.31 m wide; x is ahead, y to the left.
CASES = {
    "runs into the rear": (state(0, 0, 0, 5), state(0.55, 0.05, 0, 3), (True, False), (FRONT, REAR)),
    "runs into a standing car": (state(0, 0, 0, 5), state(0.55, 0, 0, 0), (True, False), (FRONT, REAR)),
    "clips the rear's corner": (state(0, 0, 0, 6), state(0.56, 0.29, 0, 4), (True, False), (FRONT, REAR)),
    "braked hard before it": (state(0, 0, 0, 8), state(0.53, 0, 0, 0.5), (True, False), (FRONT, REAR)),
    "runs into the side": (state(0, 0, 0, 4), state(0.42, 0, 90, 4), (True, False), (FRONT, SIDE)),
    "head on": (state(0, 0, 0, 4), state(0.55, 0, 180, 3), (True, True), (FRONT, FRONT)),
    "head on, one creeps": (state(0, 0, 0, 6), state(0.55, 0, 180, 0.5), (True, True), (FRONT, FRONT)),
    "head on, one stands": (state(0, 0, 0, 6), state(0.55, 0, 180, 0), (True, False), (FRONT, FRONT)),
    "moves over beside": (state(0, 0, 12, 5), state(0.1, 0.30, 0, 5), (True, False), (SIDE, SIDE)),
    "both move over": (state(0, 0, 10, 5), state(0, 0.30, -10, 5), (True, True), (SIDE, SIDE)),
    "slides over": (state(0, 0, 0, 5, slip=0.2), state(0, 0.30, 0, 5), (True, False), (SIDE, SIDE)),
    "spins its tail round": (
        state(0, 0, 0, 5, yaw_rate=-8), state(-0.25, 0.30, 0, 5), (True, False), (SIDE, SIDE),
    ),
    "backs into": (state(0, 0, 0, -3), state(-0.55, 0, 0, 0), (True, False), (REAR, FRONT)),
    "backs faster than the other comes": (
        state(0, 0, 0, -3), state(-0.53, 0, 0, 1), (True, False), (REAR, FRONT),
    ),
    "cuts in from the side": (state(0, 0, 40, 6), state(0.1, 0.42, 0, 5), (True, False), (SIDE, SIDE)),
    "both stand": (state(0, 0, 0, 0), state(0.5, 0, 0, 0), (True, True), (FRONT, REAR)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("turn_deg", [0.0, 75.0, 200.0])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_car_that_drives_into_the_other_is_at_fault(case, turn_deg, swapped):
    """Whichever way the scene is turned, and whichever car is named first."""
    one, two, faults, parts = CASES[case]
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    cars = []
    for car in (one, two):
        turned = car.copy()
        turned[X], turned[Y] = c * car[X] - s * car[Y], s * car[X] + c * car[Y]
        turned[YAW] += np.radians(turn_deg)
        cars.append(turned)
    if swapped:
        cars, faults, parts = cars[::-1], faults[::-1], parts[::-1]
    boxes = [corners(car) for car in cars]
    assert boxes_overlap(*boxes), "the case is no contact"
    assert judge_contact(*cars, *boxes) == (*faults, *parts)


def test_fault_is_judged_when_the_cars_first_touch_not_when_the_step_ends():
    """A fast car goes right through a slow one within a step of ten physics steps: it still hit it from behind."""
    corridor = Track.from_occupancy(np.ones((40, 300), dtype=bool), 0.1, (0.0, 0.0, 0.0))
    world = World(corridor, 1, 2, beams=20)
    world.reset(np.array([[[2.0, 2.0, 0.0], [7.6, 2.1, 0.0]]]))
    for _ in range(15):
        world.step([[[0.0, 12.0], [0.0, 0.0]]], 10)
        if world.collisions.any():
            assert world.collision_idx.tolist() == [[1, 0]]
            assert world.at_fault.tolist() == [[True, False]]
            assert world.contact_part.tolist() == [[FRONT, REAR]]
            assert world.states[0, 0, X] > 7.6, "the step ended before the cars were through each other"
            return
    pytest.fail("the fast car never reached the standing one")


def test_a_car_that_is_out_is_neither_seen_nor_touched_and_stands():
    """Taken out, it blocks nobody; placed again it is there, at rest, with progress from 0."""
    track = Track.generate(1, length_m=60.0)
    world, alone = World(track, 1, 2, beams=200), World(track, 1, 1, beams=200)
    poses = np.array([[track.pose_at(5.0), track.pose_at(7.0)]])
    world.reset(poses)
    alone.reset(poses[:, :1])
    assert (world.scans[0, 0] < alone.scans[0, 0]).any()
    world.take_out([[False, True]])
    where = world.states[0, 1].copy()
    for _ in range(4):
        world.step([[[0.0, 5.0], [0.1, 5.0]]], 10)
        alone.step([[[0.0, 5.0]]], 10)
        np.testing.assert_array_equal(world.scans[0, 0], alone.scans[0, 0])
        np.testing.assert_array_equal(world.states[0, 0], alone.states[0, 0])
    np.testing.assert_array_equal(world.states[0, 1], where)
    assert not world.collisions.any()
    world.place(np.array([[[0, 0, 0], track.pose_at(world.arc_m[0, 0] + 2.0)]]), [[False, True]])
    assert not world.out.any()
    assert world.progress_m[0, 1] == 0.0
    assert world.states[0, 1, SPEED] == 0.0
    world.step([[[0.0, 0.0], [0.0, 0.0]]])
    assert (world.scans[0, 0] < 2.5).any()


def test_placing_a_car_in_a_wall_is_refused():
    track = Track.generate(1, length_m=60.0)
    world = World(track, 1, 2, beams=20)
    world.reset(np.array([[track.pose_at(5.0), track.pose_at(7.0)]]))
    with pytest.raises(ValueError, match=r"poses\[0, 1\] = .* touches a wall"):
        world.place(np.array([[[0, 0, 0], track.pose_at(9.0, 5.0)]]), [[False, True]])
    with pytest.raises(ValueError, match="where has shape"):
        world.take_out([True])
