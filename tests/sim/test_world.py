"""The batched world: equal to single ones, noise of its own, exact resume, walls that hold, errors that say what."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sim import Randomisation, Switches, Track, World
from training.sim.params import PROFILES, SLIP, SPEED, STEERING, YAW

PROFILE_NAMES = ("training", "f1tenth_gym")


@pytest.fixture(scope="module")
def tracks() -> list[Track]:
    return [Track.generate(seed) for seed in (1, 2)]


def grid(tracks: list[Track], num_envs: int, num_cars: int) -> np.ndarray:
    """Return poses on the centreline, two metres apart."""
    poses = np.empty((num_envs, num_cars, 3))
    for e in range(num_envs):
        for n in range(num_cars):
            poses[e, n] = tracks[e % len(tracks)].pose_at(7.0 * e + 2.0 * n)
    return poses


def random_actions(rng: np.random.Generator, num_envs: int, num_cars: int) -> np.ndarray:
    return np.stack(
        [rng.uniform(-0.5, 0.5, (num_envs, num_cars)), rng.uniform(-2, 9, (num_envs, num_cars))], axis=-1
    )


@pytest.mark.parametrize("profile", PROFILE_NAMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_many_environments_equal_single_ones_bit_for_bit(tracks, profile, threads):
    """Whatever the thread count, with noise and randomisation, on different tracks: every array is the same."""
    num_envs, num_cars = 6, 2
    draws = Randomisation(friction_scale=(0.7, 1.2), mass_scale=(0.9, 1.1), steering_delay_steps=(0, 5))
    options = {"beams": 60, "scan_noise_m": 0.02, "profile": profile, "randomisation": draws}
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        batch = World([tracks[e % 2] for e in range(num_envs)], num_envs, num_cars, seed=40, **options)
        singles = [World(tracks[e % 2], 1, num_cars, seed=40 + e, **options) for e in range(num_envs)]
        poses = grid(tracks, num_envs, num_cars)
        rng = np.random.default_rng(0)
        batch.reset(poses)
        for e, single in enumerate(singles):
            single.reset(poses[e : e + 1])
        for _ in range(150):
            actions = random_actions(rng, num_envs, num_cars)
            batch.step(actions)
            for e, single in enumerate(singles):
                single.step(actions[e : e + 1])
        whole = batch.state_dict()
        for e, single in enumerate(singles):
            for name, array in single.state_dict().items():
                np.testing.assert_array_equal(whole[name][e], array[0], err_msg=f"{name} of environment {e}")
    finally:
        numba.set_num_threads(before)


def test_noise_is_fresh_for_each_car_and_episode_and_repeats_with_the_seed(tracks):
    """Mended: two cars, two episodes, two steps see different noise; the same seed sees the same."""

    def scans(seed: int) -> list[np.ndarray]:
        world = World(tracks[0], 2, 1, beams=200, scan_noise_m=0.05, seed=seed)
        pose = np.tile(tracks[0].pose_at(3.0), (2, 1, 1))
        seen = []
        for _ in range(2):
            world.reset(pose)
            seen += [world.scans[0, 0].copy(), world.scans[1, 0].copy()]
        return seen

    clean = World(tracks[0], 1, 1, beams=200)
    clean.reset(np.array([[tracks[0].pose_at(3.0)]]))
    noise = [scan - clean.scans[0, 0] for scan in scans(5)]
    for i, one in enumerate(noise):
        assert 0.03 < one.std() < 0.07
        for other in noise[i + 1 :]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.3
    for one, again in zip(scans(5), scans(5), strict=True):
        np.testing.assert_array_equal(one, again)


def test_the_reference_profile_keeps_the_fault_of_equal_noise(tracks):
    """f1tenth_gym: every car and every episode sees the same noise."""
    world = World(tracks[0], 1, 1, beams=100, scan_noise_m=0.05, profile="f1tenth_gym")
    pose = np.array([[tracks[0].pose_at(3.0)]])
    world.reset(pose)
    first = world.scans.copy()
    world.reset(pose)
    np.testing.assert_array_equal(world.scans, first)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_a_saved_state_goes_on_exactly(tracks, profile):
    """state_dict and load_state_dict carry the delay queue, noise counters and episodes."""
    draws = Randomisation(steering_delay_steps=(1, 6))
    one, two = (World(tracks[0], 4, 2, 50, 0.03, profile, seed=3, randomisation=draws) for _ in range(2))
    poses = grid(tracks[:1], 4, 2)
    rng = np.random.default_rng(1)
    one.reset(poses)
    for _ in range(60):
        one.step(random_actions(rng, 4, 2))
    one.reset(poses, np.array([True, False, False, True]))
    two.load_state_dict(one.state_dict())
    for k in range(60):
        actions = random_actions(rng, 4, 2)
        one.step(actions)
        two.step(actions)
        if k == 30:
            one.reset(poses)
            two.reset(poses)
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(two.state_dict()[name], array, err_msg=name)


def test_a_copy_drives_on_by_itself(tracks):
    """Copied or pickled, a world has arrays of its own, and goes on as the first would have."""
    actions = np.full((2, 1, 2), [0.1, 3.0])
    world = World(tracks[0], 2, beams=20)
    world.reset([[tracks[0].pose_at(0.0)]] * 2)
    copies = [copy.deepcopy(world), pickle.loads(pickle.dumps(world))]  # noqa: S301 - made here
    before = world.states.copy()
    for other in copies:
        other.step(actions, repeat=3)
        assert not np.array_equal(other.states, before)
        np.testing.assert_array_equal(world.states, before)
    world.step(actions, repeat=3)
    for other in copies:
        np.testing.assert_array_equal(other.states, world.states)


def test_a_repeated_step_is_so_many_steps(tracks):
    """Where nothing is hit, repeat=10 leaves what ten steps leave; only the scan is cast once."""
    one, ten = (World(tracks[0], 4, 1, 30) for _ in range(2))
    poses = grid(tracks[:1], 4, 1)
    one.reset(poses)
    ten.reset(poses)
    actions = np.tile([0.05, 2.0], (4, 1, 1))
    for _ in range(3):
        one.step(actions, repeat=10)
        for _ in range(10):
            ten.step(actions)
    assert not ten.collisions.any()
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(ten.state_dict()[name], array, err_msg=name)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), speed=st.floats(-5, 20), friction=st.booleans())
def test_no_car_is_ever_inside_a_wall_and_nothing_is_nan(seed, speed, friction):
    """Training profile, any finite commands: the body stays on free cells, ranges within [0, 30]."""
    track = Track.generate(3)
    chosen = PROFILES["training"]._replace(tyre_saturation=friction)
    world = World(track, 2, 2, beams=40, switches=chosen, seed=seed)
    world.reset(grid([track], 2, 2))
    rng = np.random.default_rng(seed)
    for _ in range(80):
        actions = random_actions(rng, 2, 2)
        actions[..., 1] += speed
        world.step(actions, repeat=int(rng.integers(1, 6)))
        assert np.isfinite(world.states).all()
        assert (world.scans >= 0).all()
        assert (world.scans <= 30).all()
        for x, y, yaw in world.states[..., [0, 1, YAW]].reshape(-1, 3):
            for dx, dy in ((0.29, 0.155), (0.29, -0.155), (-0.29, 0.155), (-0.29, -0.155)):
                px, py = x + np.cos(yaw) * dx - np.sin(yaw) * dy, y + np.sin(yaw) * dx + np.cos(yaw) * dy
                column = int((px - track.origin[0]) / track.resolution_m)
                row = int((py - track.origin[1]) / track.resolution_m)
                assert track.free[row, column]


def test_ranges_end_at_the_first_wall(tracks):
    """Every beam's end lies on the wall's edge, and nothing is occupied before it (to a cell)."""
    track = tracks[0]
    world = World(track, 1, 1, beams=90)
    x, y, yaw = track.pose_at(20.0, 0.2, 0.3)
    world.reset(np.array([[[x, y, yaw]]]))
    angles = yaw + np.linspace(-2.35, 2.35, 90)
    resolution = track.resolution_m
    for angle, reach in zip(angles, world.scans[0, 0], strict=True):
        along = np.arange(0.0, reach - 1.5 * resolution, resolution / 4)
        columns = ((x + along * np.cos(angle) - track.origin[0]) / resolution).astype(int)
        rows = ((y + along * np.sin(angle) - track.origin[1]) / resolution).astype(int)
        assert (~track.free[rows, columns]).sum() <= 8  # a corner of two cells, cut between two steps
        if reach < 30:
            near = np.arange(reach - 2 * resolution, reach + 2 * resolution, resolution / 4)
            columns = ((x + near * np.cos(angle) - track.origin[0]) / resolution).astype(int)
            rows = ((y + near * np.sin(angle) - track.origin[1]) / resolution).astype(int)
            assert not track.free[rows, columns].all()


def standing_steering(switches: Switches, target: float) -> np.ndarray:
    """Return the steering angle over 50 steps of a slow car that is told one angle."""
    track = Track.generate(1)
    world = World(track, 1, 1, beams=4, switches=switches)
    world.reset(np.array([[track.pose_at(0.0)]]))
    angles = []
    for _ in range(50):
        world.step(np.array([[[target, 0.2]]]))
        angles.append(world.states[0, 0, STEERING])
    return np.array(angles)


def test_exact_steering_settles_where_the_reference_swings():
    """The mended servo reaches .1 rad and stays; f1tenth_gym's swings around it by up to .032 rad for ever."""
    settled = standing_steering(Switches(exact_steering=True), 0.1)[-20:]
    np.testing.assert_allclose(settled, 0.1, atol=1e-12)
    swinging = standing_steering(Switches(), 0.1)[-20:]
    assert np.ptp(swinging) > 0.02


def test_yaw_on_contact_is_kept_where_the_reference_forgets_it(tracks):
    """A car that hits a wall keeps its heading; in f1tenth_gym it points along x."""
    kept = {}
    for keep in (True, False):
        switches = Switches(footprint_contact=True, keep_yaw_on_contact=keep)
        world = World(tracks[0], 1, 1, beams=60, switches=switches)
        x, y, yaw = tracks[0].pose_at(10.0)
        world.reset(np.array([[[x, y, yaw + 1.2]]]))
        for _ in range(300):
            world.step(np.array([[[0.0, 4.0]]]))
            if world.collisions.any():
                break
        assert world.wall_contacts[0, 0]
        assert world.states[0, 0, SPEED] == 0
        kept[keep] = world.states[0, 0, YAW], (yaw + 1.2) % (2 * np.pi)
    assert kept[True][0] == pytest.approx(kept[True][1], abs=0.05)
    assert kept[False][0] == 0.0


def test_saturated_tyres_cap_the_lateral_acceleration(tracks):
    """8 m/s and .2 rad: linear tyres give more than 2 g, the friction circle at most mu g."""
    peak = {}
    for saturate in (True, False):
        wide = Track.from_occupancy(np.ones((800, 800), bool), 0.05, (-20.0, -20.0, 0.0))
        world = World(wide, 1, 1, beams=4, switches=Switches(tyre_saturation=saturate))
        world.reset(np.zeros((1, 1, 3)))
        for _ in range(150):
            world.step(np.array([[[0.0, 8.0]]]))
        lateral = []
        for _ in range(60):
            world.step(np.array([[[0.2, 8.0]]]))
            lateral.append(world.states[0, 0, YAW] + world.states[0, 0, SLIP])
        turn = np.diff(np.unwrap(lateral)) / world.timestep_s  # of the velocity's direction
        peak[saturate] = np.abs(turn * world.states[0, 0, SPEED]).max() / 9.81
    assert peak[False] > 2.0
    assert peak[True] < 1.2
    assert tracks


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: World(t, 0), "num_envs=0"),
        (lambda t: World(t, 1, profile="f1tenth"), "profile='f1tenth'"),
        (lambda t: World([t, t], 3), "2 tracks for num_envs=3"),
        (lambda t: World(t, 2, seed=[1]), "1 seeds for num_envs=2"),
        (lambda t: World(t, 1, randomisation=Randomisation(mass_scale=(2.0, 1.0))), "mass_scale"),
        (lambda t: World(t, 1).reset(np.zeros((1, 3))), r"\(1, 3\)"),
        (lambda t: World(t, 1).step(np.full((1, 1, 2), np.nan)), "not finite"),
        (lambda t: World(t, 1).reset(np.full((1, 1, 3), 1e6)), "off track"),
        (lambda t: World(t, 1).load_state_dict({}), "missing"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tracks, call, message):
    """The error names the argument, its value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        call(tracks[0])


CASE = """
import sys, numpy as np
from training.sim import Track, World
free = np.zeros((40, 60), bool); free[5:35, 5:55] = True
track = Track.from_occupancy(free, 0.1, (-1.0, -1.0, 0.2))
world = World(track, 2, 2, beams=16, scan_noise_m=0.01, profile=sys.argv[1], seed=1)
poses = np.array([[[1.0, 1.5, 0.1], [1.6, 1.6, 0.0]], [[2.0, 1.2, 1.0], [1.0, 1.4, 3.0]]])
world.reset(poses)
for k in range(12):
    world.step(np.array([[[0.1, 3.0], [0.0, 1.0]], [[-0.3, 2.0], [0.2, -1.0]]]), 1 + k % 3)
np.set_printoptions(precision=10, suppress=True)
print(np.concatenate([world.states.ravel(), world.scans.ravel().astype(float), world.collisions.ravel()]).tolist())
"""


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_the_kernels_do_the_same_without_compilation(profile):
    """As plain Python (NUMBA_DISABLE_JIT=1) they give the compiled numbers."""

    def run(disable: str) -> np.ndarray:
        code = subprocess.run(
            [sys.executable, "-c", CASE, profile],
            env={**__import__("os").environ, "NUMBA_DISABLE_JIT": disable},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        return np.array(eval(code.stdout.replace("nan", "float('nan')")))  # noqa: S307 - our own list of numbers

    np.testing.assert_allclose(run("1"), run("0"), rtol=1e-5, atol=1e-6)
