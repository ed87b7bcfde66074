"""`env.backend: f1tenth_gym`: the real package behind our surface means the same as our own simulator."""

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import EnvSettings, RaceSettings
from training.envs.batch import RaceBatch
from training.envs.f1tenth_gym.gym_world import F1TenthGymWorld
from training.envs.race import Race
from training.errors import ConfigurationError
from training.evaluation.load_run import policy_of, runs_in
from training.sim import Randomisation, Track, World
from training.store.open import open_store

Array = NDArray[np.float64]

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("f1tenth_gym") is None,
    reason="f1tenth_gym v1.0.0 is not installed (training/envs/f1tenth_gym/package.py says how)",
)
pytestmark = [pytest.mark.f1tenth_gym]

FULL = EnvSettings(beams=1080, backend="f1tenth_gym")


@pytest.fixture(scope="module")
def tracks() -> list[Track]:
    return [Track.generate(seed, length_m=60.0) for seed in (1, 2)]


def grid(tracks: list[Track], num_cars: int, spacing_m: float = 1.5) -> Array:
    """One car behind the other on each track's line, a little turned off it."""
    return np.array(
        [[t.pose_at(5.0 - spacing_m * n, 0.1 * n, 0.05) for n in range(num_cars)] for t in tracks]
    )


def commands(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    return np.stack([rng.uniform(-0.3, 0.3, shape), rng.uniform(0.0, 6.0, shape)], axis=-1)


def angle_between(one: Array, other: Array) -> Array:
    return np.abs((one - other + np.pi) % (2 * np.pi) - np.pi)


def assert_alike(real: F1TenthGymWorld, ours: World, picked: slice | NDArray[np.int64] = slice(None)) -> None:
    difference = np.abs(real.states - ours.states)
    difference[..., 4] = angle_between(real.states[..., 4], ours.states[..., 4])
    assert difference.max() < 1e-6
    np.testing.assert_allclose(real.scans, ours.scans[..., picked], atol=1e-6)
    np.testing.assert_allclose(real.arc_m, ours.arc_m, atol=1e-6)
    np.testing.assert_allclose(real.lateral_m, ours.lateral_m, atol=1e-6)
    np.testing.assert_allclose(real.progress_m, ours.progress_m, atol=1e-6)
    np.testing.assert_array_equal(real.collisions, ours.collisions)
    np.testing.assert_array_equal(real.collision_idx, ours.collision_idx)
    np.testing.assert_array_equal(real.wall_contacts, ours.wall_contacts)
    np.testing.assert_array_equal(real.time_s, ours.time_s)


@needs_package
@pytest.mark.parametrize("num_cars", [1, 3])
def test_it_agrees_with_our_f1tenth_gym_profile_into_the_walls_and_each_other(
    tracks: list[Track], num_cars: int
) -> None:
    real = F1TenthGymWorld(FULL, tracks, num_cars)
    ours = World(tracks, len(tracks), num_cars, profile="f1tenth_gym")
    poses = grid(tracks, num_cars, spacing_m=0.8)
    rng = np.random.default_rng(5)
    real.reset(poses)
    ours.reset(poses)
    assert_alike(real, ours)
    touched_wall = touched_car = False
    for _ in range(60):
        actions = commands(rng, (len(tracks), num_cars))
        real.step(actions, 5)
        ours.step(actions, 5)
        assert_alike(real, ours)
        touched_wall |= bool(ours.wall_contacts.any())
        touched_car |= bool((ours.collision_idx >= 0).any())
    assert touched_wall
    assert touched_car == (num_cars > 1)


@needs_package
@pytest.mark.parametrize("beams", [20, 84])
def test_fewer_beams_are_picked_evenly_out_of_the_packages_1080(tracks: list[Track], beams: int) -> None:
    real = F1TenthGymWorld(FULL.model_copy(update={"beams": beams}), tracks)
    ours = World(tracks, len(tracks), profile="f1tenth_gym")
    real.reset(grid(tracks, 1))
    ours.reset(grid(tracks, 1))
    picked = np.round(np.linspace(0, 1079, beams)).astype(np.int64)
    assert picked[0] == 0
    assert picked[-1] == 1079
    for _ in range(5):
        actions = np.full((len(tracks), 1, 2), (0.1, 3.0))
        real.step(actions, 10)
        ours.step(actions, 10)
        assert_alike(real, ours, picked)


@needs_package
def test_randomised_friction_mass_and_delay_act_as_in_our_simulator(tracks: list[Track]) -> None:
    draws = FULL.randomisation.model_copy(
        update={"friction_factor": (0.7, 0.7), "mass_factor": (1.4, 1.4), "steering_delay_steps": (5, 5)}
    )
    real = F1TenthGymWorld(FULL.model_copy(update={"randomisation": draws}), tracks)
    drawn = Randomisation(friction_scale=(0.7, 0.7), mass_scale=(1.4, 1.4), steering_delay_steps=(5, 5))
    ours = World(tracks, len(tracks), profile="f1tenth_gym", randomisation=drawn)
    real.reset(grid(tracks, 1))
    ours.reset(grid(tracks, 1))
    for steering in (0.1, -0.1, 0.2):
        actions = np.full((len(tracks), 1, 2), (steering, 5.0))
        real.step(actions, 12)
        ours.step(actions, 12)
        assert_alike(real, ours)


@needs_package
def test_a_race_on_the_package_equals_a_race_on_our_simulator(tracks: list[Track]) -> None:
    """Observations, rewards and ends of the same training, whichever backend it runs on."""
    settings = EnvSettings(profile="f1tenth_gym", beams=1080, max_episode_s=2.0)
    real = Race(settings.model_copy(update={"backend": "f1tenth_gym"}), tracks, 2, seed=3)
    ours = Race(settings, tracks, 2, seed=3)
    np.testing.assert_allclose(real.reset(), ours.reset(), atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.uniform(-0.3, 0.3, (2, 1, 2))
        one, other = real.step(actions), ours.step(actions)
        np.testing.assert_allclose(one.observations, other.observations, atol=1e-6)
        np.testing.assert_allclose(one.rewards, other.rewards, atol=1e-6)
        np.testing.assert_array_equal(one.terminated, other.terminated)
        np.testing.assert_array_equal(one.truncated, other.truncated)
    assert one.truncated.all()


@needs_package
def test_two_worlds_on_different_tracks_do_not_disturb_each_other(tracks: list[Track]) -> None:
    """The package keeps its map in a class: the second world must not move the first one's walls."""
    alone = F1TenthGymWorld(FULL, tracks[:1])
    alone.reset(grid(tracks[:1], 1))
    actions = np.full((1, 1, 2), (0.05, 3.0))
    alone.step(actions, 10)
    first = F1TenthGymWorld(FULL, tracks[:1])
    second = F1TenthGymWorld(FULL, tracks[1:])
    first.reset(grid(tracks[:1], 1))
    second.reset(grid(tracks[1:], 1))
    first.step(actions, 10)
    second.step(actions, 10)
    np.testing.assert_array_equal(first.scans, alone.scans)
    assert np.abs(second.scans - first.scans).max() > 0.1


@needs_package
def test_noise_is_as_wide_as_set_and_differs_between_cars_episodes_and_seeds(tracks: list[Track]) -> None:
    noisy = FULL.model_copy(update={"scan_noise_m": 0.05})
    pose = np.array([[tracks[0].pose_at(5.0)] * 2])
    clean = F1TenthGymWorld(FULL, tracks[:1])
    clean.reset(pose[:, :1])

    def noise(seed: int, episodes: int) -> Array:
        world = F1TenthGymWorld(noisy, tracks[:1], num_cars=1, seed=seed)
        for _ in range(episodes):
            world.reset(pose[:, :1])
        return world.scans[0, 0] - clean.scans[0, 0]

    assert np.std(noise(seed=1, episodes=1)) == pytest.approx(0.05, rel=0.1)
    np.testing.assert_array_equal(noise(seed=1, episodes=1), noise(seed=1, episodes=1))
    assert np.abs(noise(seed=1, episodes=1) - noise(seed=1, episodes=2)).max() > 0.05
    assert np.abs(noise(seed=1, episodes=1) - noise(seed=2, episodes=1)).max() > 0.05
    pair = F1TenthGymWorld(noisy, tracks[:1], num_cars=2, seed=1)
    apart = np.array([[tracks[0].pose_at(5.0), tracks[0].pose_at(35.0)]])
    pair.reset(apart)
    quiet = F1TenthGymWorld(FULL, tracks[:1], num_cars=2)
    quiet.reset(apart)
    drawn = pair.scans - quiet.scans
    assert np.abs(drawn[0, 0] - drawn[0, 1]).max() > 0.05


@needs_package
def test_it_goes_on_exactly_from_a_saved_state(tracks: list[Track]) -> None:
    """Mid-episode, with commands still on their way to the servo and noise on."""
    noisy = FULL.model_copy(update={"scan_noise_m": 0.02})
    rng = np.random.default_rng(1)
    actions = [commands(rng, (2, 2)) for _ in range(8)]
    one = F1TenthGymWorld(noisy, tracks, num_cars=2, seed=9)
    one.reset(grid(tracks, 2))
    for action in actions[:4]:
        one.step(action, 3)
    saved = one.state_dict()
    other = F1TenthGymWorld(noisy, tracks, num_cars=2, seed=9)
    other.load_state_dict(saved)
    for action in actions[4:]:
        one.step(action, 3)
        other.step(action, 3)
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name], err_msg=name)


@needs_package
def test_a_state_of_another_shape_is_refused(tracks: list[Track]) -> None:
    one = F1TenthGymWorld(FULL, tracks, num_cars=2)
    other = F1TenthGymWorld(FULL, tracks, num_cars=1)
    with pytest.raises(
        ValueError, match=r"'states' is float64 \(2, 2, 7\); this world needs float64 \(2, 1, 7\)"
    ):
        other.load_state_dict(one.state_dict())


@needs_package
def test_a_reset_of_some_environments_leaves_the_others_alone(tracks: list[Track]) -> None:
    world = F1TenthGymWorld(FULL, tracks)
    world.reset(grid(tracks, 1))
    world.step(np.full((2, 1, 2), (0.0, 4.0)), 20)
    before = world.state_dict()
    world.reset(grid(tracks, 1), where=np.array([True, False]))
    assert world.time_s.tolist() == [0.0, pytest.approx(0.2)]
    assert world.progress_m[0, 0] == 0.0
    for name, array in world.state_dict().items():
        np.testing.assert_array_equal(array[1], before[name][1], err_msg=name)


@needs_package
def test_wrong_shapes_and_numbers_are_refused(tracks: list[Track]) -> None:
    world = F1TenthGymWorld(FULL, tracks)
    with pytest.raises(ValueError, match=r"actions has shape \(2, 2\); it must be \(2, 1, 2\)"):
        world.step(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"poses\[1\] .* is not finite"):
        world.reset(np.array([[[0.0, 0.0, 0.0]], [[0.0, np.nan, 0.0]]]))
    with pytest.raises(ValueError, match=r"where has shape \(3,\)"):
        world.reset(grid(tracks, 1), where=[True, False, True])


@needs_package
@pytest.mark.slow
def test_two_thousand_steps_of_training_run_on_the_package_and_are_kept(tmp_path):
    """The same command with one setting changed: it trains, evaluates, saves; the settings say on what."""
    settings = (
        "env.backend=f1tenth_gym",
        "env.tracks=[generated-1, generated-2]",
        "env.num_envs=8",
        "env.max_episode_s=5.0",
        "sac.net_arch=[16, 16]",
        "sac.learning_starts=200",
        "evaluation.frequency=0",
        "evaluation.starts=1",
        "evaluation.tracks=[]",
        "training.total_timesteps=2000",
        "training.report=false",
    )
    flags = [part for setting in settings for part in ("--set", setting)]
    ended = subprocess.run(
        [sys.executable, "-m", "training", "train", "--store", str(tmp_path), *flags],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    kept = policy_of(storage, name)
    assert kept.config.env.backend == "f1tenth_gym"
    assert kept.kept_step == 2000


def test_a_missing_package_is_a_configuration_error_that_says_how_to_install_it(
    tracks: list[Track], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "f1tenth_gym.envs.base_classes", None)
    monkeypatch.setitem(sys.modules, "f1tenth_gym", None)
    with pytest.raises(ConfigurationError) as caught:
        F1TenthGymWorld(FULL, tracks)
    assert "f1tenth_gym v1.0.0" in str(caught.value)
    assert "f1tenth_gym@5a301bd" in str(caught.value)
    assert "env.backend = native" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tyres": "saturating"}, "env.tyres = saturating: f1tenth_gym's tyres are linear"),
        (
            {"randomisation": FULL.randomisation.model_copy(update={"steering_delay_steps": (0, 2)})},
            r"steering_delay_steps = \[0, 2\]: f1tenth_gym's cars take 1 to 15",
        ),
    ],
)
def test_settings_that_the_package_cannot_follow_are_refused(
    tracks: list[Track], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        F1TenthGymWorld(FULL.model_copy(update=change), tracks)


@needs_package
@pytest.mark.parametrize("after_crash", ["out", "restart"])
def test_races_of_several_cars_mean_the_same_on_both_backends(tracks: list[Track], after_crash: str) -> None:
    """Crashes, faults, who is out and the standings are those of our own f1tenth_gym profile, action for action."""
    rules = RaceSettings(after_crash=after_crash)
    ours = EnvSettings(beams=1080, profile="f1tenth_gym", num_envs=2, race=rules, random_starts=False)
    batches = [
        RaceBatch(settings, tracks, 3, seed=1)
        for settings in (ours, ours.model_copy(update={"backend": "f1tenth_gym"}))
    ]
    for batch in batches:
        batch.reset()
    rng = np.random.default_rng(0)
    crashes = 0
    for k in range(60):
        actions = np.stack([rng.uniform(-0.3, 0.3, (2, 3)), rng.uniform(-0.9, 0.2, (2, 3))], axis=-1)
        one, other = (batch.step(actions) for batch in batches)
        np.testing.assert_array_equal(one.terminated, other.terminated, err_msg=f"decision {k}")
        np.testing.assert_array_equal(one.active, other.active)
        np.testing.assert_array_equal(one.restarted, other.restarted)
        np.testing.assert_allclose(one.rewards, other.rewards, atol=1e-5)
        np.testing.assert_allclose(one.observations, other.observations, atol=1e-5)
        assert [row[2]["race"]["at_fault"] for row in one.episodes] == [
            row[2]["race"]["at_fault"] for row in other.episodes
        ]
        crashes += int(one.terminated.sum())
    assert crashes > 3


@needs_package
def test_a_saved_race_with_cars_that_are_out_goes_on_exactly(tracks: list[Track]) -> None:
    settings = EnvSettings(beams=20, backend="f1tenth_gym", num_envs=2, random_starts=False)
    one, two = (RaceBatch(settings, tracks, 3, seed=1) for _ in range(2))
    one.reset()
    two.reset()
    rng = np.random.default_rng(0)

    def act() -> Array:
        return np.stack([rng.uniform(-0.3, 0.3, (2, 3)), rng.uniform(-0.9, 0.2, (2, 3))], axis=-1)

    while not (one.race.world.out.any() and one.active.any()):
        one.step(act())
    two.load_state_dict(one.state_dict())
    for _ in range(20):
        actions = act()
        for a, b in zip(one.step(actions)[:-1], two.step(actions)[:-1], strict=True):
            np.testing.assert_array_equal(a, b)
