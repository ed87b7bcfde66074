"""The f1tenth_gym profile beside the package itself, on maps that no recording holds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.parity import record
from training.sim import Track, World

pytestmark = [
    pytest.mark.f1tenth_gym,
    pytest.mark.skipif(not record.is_installed(), reason="f1tenth_gym v1.0.0 is not installed"),
]


@pytest.mark.parametrize(
    ("seed", "resolution_m", "turn_rad"), [(11, 0.05, 0.0), (12, 0.04, 0.7), (13, 0.0625, -2.1)]
)
@pytest.mark.parametrize("cars", [1, 3])
def test_it_does_what_the_package_does(seed: int, resolution_m: float, turn_rad: float, cars: int) -> None:
    """300 steps of random driving, map turned and of another resolution: states, flags, scans."""
    made = Track.generate(seed, resolution_m=resolution_m)
    origin = (made.origin[0], made.origin[1], made.origin[2] + turn_rad)
    track = Track.from_occupancy(made.free, resolution_m, origin)
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    poses = np.array([made.pose_at(5.0 + 1.5 * n, 0.2 * n) for n in range(cars)])
    across = poses[:, :2] - made.origin[:2]
    poses[:, :2] = np.array(made.origin[:2]) + across @ np.array([[c, s], [-s, c]])
    poses[:, 2] += turn_rad
    where = record.Map(made.free.astype(np.uint8), resolution_m, np.array(origin), np.zeros((0, 2)))
    package, ours = record.Reference(where, cars), World(track, 1, cars, profile="f1tenth_gym")
    package.reset(poses)
    ours.reset(poses[None])
    rng = np.random.default_rng(seed)
    off = beams = 0
    for step in range(300):
        if step % 20 == 0:
            actions = np.column_stack([rng.uniform(-0.4, 0.4, cars), rng.uniform(-2.0, 6.0, cars)])
        package.step(actions)
        ours.step(actions[None])
        np.testing.assert_allclose(ours.states[0], package.states, atol=1e-6)
        np.testing.assert_array_equal(ours.collisions[0], np.asarray(package.collisions, dtype=bool))
        np.testing.assert_array_equal(ours.collision_idx[0], package.collision_idx)
        off += int((np.abs(ours.scans[0] - package.scans) > 1e-6).sum())
        beams += package.scans.size
    assert off <= 1e-5 * beams
