"""Which policy is kept: laps first, then what it can spare, then speed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.agents.policy import Kept, Policy
from training.keeper import DISTURBANCE, disturb

POLICY = Policy([4, 8, 4])


def kept(completed: int, steady: float, mean_speed_mps: float) -> Kept:
    return Kept(POLICY, 10_000, completed, 48, mean_speed_mps, steady)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (kept(48, 0.2, 3.0), kept(47, 1.0, 8.0)),  # a lap not completed counts more than all else
        (kept(48, 0.98, 7.8), kept(48, 0.91, 8.0)),  # of two that lap the one that can spare more
        (kept(48, 0.981, 8.0), kept(48, 0.984, 7.9)),  # as steady within a hundredth: the faster
    ],
)
def test_laps_come_first_then_steadiness_then_speed(better: Kept, worse: Kept) -> None:
    assert better.score > worse.score


def test_a_hand_shakes_alike_for_the_same_seed() -> None:
    seen = np.zeros((500, 1, 4), dtype=np.float32)
    race: Any = None  # a policy does not look at it
    plain = POLICY(race, seen)
    shaken = [disturb(POLICY, seed)(race, seen) for seed in (1, 1, 2)]
    assert np.array_equal(shaken[0], shaken[1])
    assert not np.array_equal(shaken[0], shaken[2])
    assert np.std(shaken[0] - plain) == pytest.approx(DISTURBANCE, rel=0.1)
