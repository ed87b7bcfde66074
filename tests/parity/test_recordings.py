"""The f1tenth_gym profile replays what f1tenth_gym v1.0.0 did, over every recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.sim import Track, World

RECORDINGS = Path(__file__).parent / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.glob("a_*_[0-9].npz"))
TOLERANCE = 1e-6
# A cell's edge can fall either way: one beam in 100,000 over all recordings together.
BEAMS_OFF = 1e-5


@pytest.fixture(scope="module")
def track() -> Track:
    with np.load(RECORDINGS / "a_track.npz") as arrays:
        return Track.from_occupancy(
            arrays["occupancy"].astype(bool),
            float(arrays["resolution"]),
            tuple(arrays["origin"]),
            arrays["centerline"],
        )


def replay(track: Track, name: str) -> tuple[float, int, int, int]:
    """Return the largest state error, unequal flags, beams off and beams compared."""
    with np.load(RECORDINGS / f"{name}.npz") as recorded:
        arrays = {key: recorded[key] for key in recorded.files}
    world = World(track, 1, len(arrays["initial_poses"]), profile="f1tenth_gym")
    world.reset(arrays["initial_poses"][None])
    worst, flags, off, beams = 0.0, 0, 0, 0
    for step, action in enumerate(arrays["actions"]):
        world.step(action[None])
        worst = max(worst, float(np.abs(world.states[0] - arrays["states"][step]).max()))
        flags += int((world.collisions[0] != arrays["collisions"][step].astype(bool)).sum())
        flags += int((world.collision_idx[0] != arrays["collision_idx"][step]).sum())
        every = int(arrays["scan_every"])
        if (step + 1) % every == 0:
            error = np.abs(world.scans[0] - arrays["scans"][step // every])
            off += int((error > TOLERANCE).sum())
            beams += error.size
    return worst, flags, off, beams


@pytest.mark.parametrize("name", NAMES)
def test_states_and_flags_follow_the_recording(track: Track, name: str) -> None:
    """States within 1e-6 over the whole trajectory, collision flags equal at every step."""
    worst, flags, _, _ = replay(track, name)
    assert worst < TOLERANCE
    assert flags == 0


def test_scans_follow_the_recordings(track: Track) -> None:
    """All beams of all recordings together: at most one in 100,000 is off by more than 1e-6 m."""
    results = [replay(track, name) for name in NAMES]
    off, beams = sum(r[2] for r in results), sum(r[3] for r in results)
    assert beams > 400_000
    assert off <= BEAMS_OFF * beams


def test_a_batch_replays_like_a_single_environment(track: Track) -> None:
    """Eight environments that do the same end in the same bits, in parallel as alone."""
    with np.load(RECORDINGS / "a_fast_1.npz") as recorded:
        poses, actions = recorded["initial_poses"], recorded["actions"][:200]
    one, many = World(track, 1, profile="f1tenth_gym"), World(track, 8, profile="f1tenth_gym")
    one.reset(poses[None])
    many.reset(np.tile(poses, (8, 1, 1)))
    for action in actions:
        one.step(action[None])
        many.step(np.tile(action, (8, 1, 1)))
    for e in range(8):
        np.testing.assert_array_equal(many.states[e], one.states[0])
        np.testing.assert_array_equal(many.scans[e], one.scans[0])
