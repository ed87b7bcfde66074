"""The simulator beside f1tenth_gym v1.0.0: one car, the same track, steps per second.

make bench ARGS="-k simulator"

The package is measured where it can be imported, at its 1,080 beams, by stepping its Simulator; without it the ratios
are left out and this is said. Floors: 14 times its steps/s at 1,080 beams, 100 times at 108 beams.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.parity import record
from training.sim import Track, World

RECORDINGS = Path(__file__).parents[1] / "parity" / "recordings"
ENVS, ROUNDS = 64, 5
CASES = (
    ("f1tenth_gym", 1080, 1),
    ("training", 1080, 1),
    ("training", 108, 1),
    ("training", 20, 1),
    ("f1tenth_gym", 1080, 4),
)
FLOORS = {("f1tenth_gym", 1080, 1): 14.0, ("training", 108, 1): 100.0}


def best_rate(step: Callable[[], None], steps_per_call: int, budget_s: float = 0.5) -> float:
    """Return the best of several rounds, steps/s."""
    step()
    rates = []
    for _ in range(ROUNDS):
        began, calls = time.perf_counter(), 0
        while time.perf_counter() - began < budget_s:
            step()
            calls += 1
        rates.append(calls * steps_per_call / (time.perf_counter() - began))
    return max(rates)


def ours(track: Track, profile: str, beams: int, cars: int) -> float:
    world = World(track, ENVS, cars, beams, profile=profile)
    poses = [[track.pose_at(e * track.length_m / ENVS + 2.0 * n) for n in range(cars)] for e in range(ENVS)]
    world.reset(np.array(poses))
    creep = np.tile([0.0, 0.3], (ENVS, cars, 1))
    return best_rate(lambda: world.step(creep), ENVS)


@pytest.mark.bench
def test_steps_per_second_beside_the_package(record_bench: Callable[[str, dict[str, object]], None]) -> None:
    """Prints the table; the floors hold where the package is there to compare with."""
    where = record.load_map(RECORDINGS / "a_track.npz")
    track = Track.from_occupancy(
        where.occupancy.astype(bool), where.resolution, tuple(where.origin), where.centerline
    )
    peer = {}
    if record.is_installed():
        for cars in (1, 4):
            reference = record.Reference(where, cars)
            reference.reset(np.array([track.pose_at(2.0 * n) for n in range(cars)]))
            command = np.tile([0.0, 0.3], (cars, 1))
            peer[cars] = best_rate(lambda reference=reference, command=command: reference.step(command), 1)
    for profile, beams, cars in CASES:
        rate = ours(track, profile, beams, cars)
        row: dict[str, object] = {
            "profile": profile,
            "beams": beams,
            "cars": cars,
            "env-steps/s": round(rate),
        }
        if cars in peer:
            row |= {"f1tenth_gym env-steps/s": round(peer[cars]), "ratio": round(rate / peer[cars], 1)}
            assert rate / peer[cars] >= FLOORS.get((profile, beams, cars), 0.0)
        record_bench("simulator", row)
