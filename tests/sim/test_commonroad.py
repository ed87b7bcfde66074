"""Our tyres compared with CommonRoad's single track with drift (STD)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.sim.commonroad import (
    EQUAL,
    FRONT_WHEEL,
    GRIP_MPS2,
    REAR_WHEEL,
    commonroad,
    commonroad_beyond_grip,
)
from tests.sim.single_drive import drive, lateral_mps2, longitudinal_mps2
from training.sim.params import SPEED, YAW_RATE

pytestmark = pytest.mark.slow  # 48 drives of a stiff model

TURNS = [(3.0, 0.15), (5.0, 0.10), (5.0, 0.15), (7.0, 0.05)]


@pytest.mark.parametrize("speed", [3.0, 5.0, 7.0])
@pytest.mark.parametrize("steering", [0.05, 0.10, 0.15, 0.20, 0.25])
def test_a_step_of_steering_answers_as_commonroads_drift_model(speed, steering):
    """Peaks of lateral acceleration within 1 %, of yaw rate within 3 %; until half a second within 4 % of them."""
    theirs = commonroad(speed, steering, 0.0, 0.5)
    ours = drive((0.0, 0.0, steering, speed, 0.0, 0.0, 0.0), 0.0, 0.0, 49, EQUAL)
    for told, one, other, peak in (
        ("lateral acceleration", lateral_mps2(ours), lateral_mps2(theirs), 0.01),
        ("yaw rate", ours[YAW_RATE], theirs[YAW_RATE], 0.03),
    ):
        assert one.max() == pytest.approx(other.max(), rel=peak), told
        assert np.abs(one - other).max() <= 0.04 * other.max(), told


@pytest.mark.parametrize("share", [-0.4, -0.2, 0.2, 0.4])
@pytest.mark.parametrize(("speed", "steering"), TURNS)
def test_braking_and_power_in_a_turn_are_commonroads(speed, steering, share):
    """Up to 0.4 mu g: sideways and yaw rate within 5 % of their peaks, lengthways within 15 % (its wheels turn)."""
    acc = share * GRIP_MPS2
    theirs = commonroad(speed, steering, acc, 0.3)
    ours = drive((0.0, 0.0, steering, speed, 0.0, 0.0, 0.0), 0.0, acc, 29, EQUAL)
    lateral = lateral_mps2(theirs)
    assert np.abs(lateral_mps2(ours) - lateral).max() <= 0.05 * lateral.max()
    assert np.abs(ours[YAW_RATE] - theirs[YAW_RATE]).max() <= 0.05 * theirs[YAW_RATE].max()
    assert ours[SPEED, -1] - speed == pytest.approx(theirs[SPEED, -1] - speed, rel=0.15)


@pytest.mark.parametrize("share", [-0.8, -0.6, 0.6, 0.8])
@pytest.mark.parametrize(("speed", "steering"), TURNS)
def test_beyond_that_both_turn_and_brake_the_same_way_within_the_grip(speed, steering, share):
    """Speeds change alike within a fifth; ours corners more, since no wheel of it locks: docs/car.md draws both."""
    acc = share * GRIP_MPS2
    theirs = commonroad_beyond_grip(speed, steering, acc, 0.3)
    ours = drive((0.0, 0.0, steering, speed, 0.0, 0.0, 0.0), 0.0, acc, 29, EQUAL)
    for rows in (ours, theirs):
        settled = rows[:, 1:-1]
        total = np.hypot(lateral_mps2(settled), longitudinal_mps2(settled))
        assert total[1:-1].max() <= 1.02 * GRIP_MPS2
        assert (rows[YAW_RATE, 1:] > 0).all()
        assert np.sign(rows[SPEED, -1] - speed) == np.sign(share)
    assert ours[SPEED, -1] - speed == pytest.approx(theirs[SPEED, -1] - speed, rel=0.2)
    assert lateral_mps2(ours).max() >= 0.97 * lateral_mps2(theirs).max()


def test_its_wheels_lock_where_ours_steer():
    """Braking with 0.8 of the grip at 5 m/s: its rear wheels stand, and it corners with half of our force."""
    theirs = commonroad_beyond_grip(5.0, 0.10, -0.8 * GRIP_MPS2, 0.3)
    ours = drive((0.0, 0.0, 0.10, 5.0, 0.0, 0.0, 0.0), 0.0, -0.8 * GRIP_MPS2, 29, EQUAL)
    assert theirs[REAR_WHEEL, -1] * 0.049 < 0.1 * theirs[SPEED, -1] < theirs[FRONT_WHEEL, -1] * 0.049
    assert lateral_mps2(theirs)[-1] < 0.6 * lateral_mps2(ours)[-1]
