"""What tests of the simulator share: a hall to drive in."""

from __future__ import annotations

import numpy as np
import pytest

from training.sim import Track


@pytest.fixture(scope="module")
def square() -> Track:
    """A hall of 20 m x 20 m, walls on its edge."""
    free = np.zeros((420, 420), dtype=np.bool_)
    free[10:410, 10:410] = True
    return Track.from_occupancy(free, 0.05, (-10.5, -10.5, 0.0), name="hall")
