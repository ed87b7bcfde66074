"""The registered ids, their render modes, opponents, and Gymnasium's vector environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_seed_test
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from training.envs.parallel_env import RaceParallelEnv
from training.envs.race_env import RaceEnv
from training.envs.registration import IDS
from training.envs.rendering.view import Renderer
from training.envs.vector_env import RaceVectorEnv
from training.errors import ConfigurationError
from training.sim import TrackError

ROOT = Path(__file__).parents[2]
SHORT = {"max_episode_s": 3.0}
TRACK = "generated-5"


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    """pygame's own driver for machines without a screen: everything runs but the light."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def make(id_: str, **options) -> RaceEnv:
    env = gymnasium.make(f"training.envs:{id_}", settings=SHORT, track=TRACK, **options)
    assert isinstance(env.unwrapped, RaceEnv)
    return env.unwrapped


@pytest.mark.parametrize("id_", IDS)
def test_gymnasiums_checker_accepts_each_id_with_each_render_mode(id_):
    """Spaces, seeding, the five-tuple, and what render returns in each mode."""
    check_env(make(id_, render_mode="rgb_array"))


@pytest.mark.parametrize("id_", IDS)
def test_stable_baselines3s_checker_accepts_each_id(id_):
    sb3_check_env(make(id_))


def test_pettingzoos_seed_test_accepts_the_parallel_environment():
    parallel_seed_test(lambda: RaceParallelEnv(2, SHORT, TRACK), num_cycles=30)


def test_a_picture_follows_the_car_and_shows_the_lidar_of_this_moment():
    """Each moment has a picture of its own, in the size that is documented; without the mode there is none."""
    env = make("F1Tenth-v0", render_mode="rgb_array")
    assert env.render() is None, "nothing to see before the first reset"
    env.reset(seed=1)
    first = env.render()
    assert (first.shape, first.dtype) == ((540, 960, 3), np.uint8)
    for _ in range(4):
        env.step(np.array([0.0, -0.5]))
    assert (env.render() != first).any(axis=2).mean() > 0.02
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 100, "road, edges, beams, car, words"
    plain = make("F1Tenth-v0")
    plain.reset(seed=1)
    assert plain.render() is None
    assert env.metadata["render_fps"] == 10


def test_rendering_changes_nothing_of_the_race():
    """The same seed and actions give the same observations, looked at or not."""
    seen, unseen = make("F1TenthRace-v0", render_mode="rgb_array"), make("F1TenthRace-v0")
    np.testing.assert_array_equal(seen.reset(seed=2)[0], unseen.reset(seed=2)[0])
    for k in range(15):
        action = np.array([0.2 * np.sin(k), -0.8])
        seen.render()
        np.testing.assert_array_equal(seen.step(action)[0], unseen.step(action)[0])


def test_a_window_shows_each_step_and_survives_its_user_closing_it():
    """In mode human steps show themselves at the pace of the decisions; a closed window ends no loop."""
    import pygame

    env = make("F1Tenth-v0", render_mode="human")
    env.reset(seed=1)
    shown = pygame.surfarray.array3d(pygame.display.get_surface())
    env.step(np.array([0.0, 0.5]))
    now = pygame.surfarray.array3d(pygame.display.get_surface())
    assert shown.shape == (960, 540, 3)
    assert (shown != now).any()
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    env.step(np.array([0.0, 0.5]))
    assert pygame.display.get_surface() is None
    env.step(np.array([0.0, 0.5]))
    env.close()


def test_a_window_without_pygame_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = make("F1Tenth-v0", render_mode="human")
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match="pip install pygame"):
        env.reset(seed=1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"settings": {"beam": 54}}, ConfigurationError, "env.beam .*Did you mean env.beams"),
        ({"settings": {"beams": 2}}, ConfigurationError, "beams.*2"),
        ({"settings": {"reward": {"colision": -5}}}, ConfigurationError, "Did you mean env.reward.collision"),
        ({"track": "nowhere"}, TrackError, "nowhere"),
        ({"opponents": ["senna"]}, ConfigurationError, "(?s)senna.*follow_the_gap, pure_pursuit"),
        ({"opponents": ["pure_pursuit"] * 99}, ConfigurationError, "= 100: .* at most 59 cars"),
        ({"render_mode": "ansi"}, ValueError, "ansi.*human, rgb_array"),
    ],
)
def test_what_cannot_be_made_is_named(options, error, words):
    with pytest.raises(error, match=words):
        RaceEnv(**{"track": TRACK, **options})
    if "render_mode" in options:
        with pytest.raises(error, match=words):
            RaceParallelEnv(2, SHORT, TRACK, **options)
    else:
        with pytest.raises(error, match=words):
            RaceVectorEnv(2, **{"track": TRACK, **options})


def test_opponents_drive_and_a_position_is_told():
    """Each named driver drives a car of its own, on the track, while the learner stands at the line."""
    env = make("F1TenthRace-v0", opponents=("pure_pursuit", "follow_the_gap"))
    grid = [env.track.pose_at(s) for s in (0.0, 4.0, 8.0)]
    env.reset(options={"poses": grid})
    before = env.race.world.progress_m.copy()
    for _ in range(20):
        *_, terminated, _, info = env.step(np.array([0.0, -1.0]))
        assert not terminated
    gained = (env.race.world.progress_m - before)[0]
    assert (gained[1:] > 4.0).all()
    assert gained[1] != gained[2]
    assert (info["position"], info["crashed"], info["hit_car"]) == (3, False, -1)


def test_an_opponents_crash_ends_no_episode():
    """It is taken off the track, and the learner's episode continues."""
    env = make("F1TenthRace-v0")
    x, y, yaw = env.track.pose_at(20.0)
    env.reset(options={"poses": [env.track.pose_at(0.0), (x, y, yaw + 0.5 * np.pi)]})
    ends = [env.step(np.array([0.0, -1.0]))[2] for _ in range(20)]
    assert not any(ends)
    assert env.race.active.tolist() == [[True, False]]


@pytest.mark.parametrize("opponents", [(), ("follow_the_gap",)])
def test_the_vector_environment_equals_the_single_one(opponents):
    """One environment of it, through crashes and restarts: observations, rewards, ends and last observations."""
    vector = gymnasium.make_vec(
        "training.envs:F1Tenth-v0", num_envs=1, settings=SHORT, track=TRACK, opponents=opponents
    )
    single = make("F1Tenth-v0", opponents=opponents)
    seen, _ = vector.reset(seed=4)
    np.testing.assert_array_equal(seen[0], single.reset(seed=4)[0])
    rng, ends = np.random.default_rng(0), 0
    for _ in range(120):
        action = rng.uniform(-1, 1, 2) * (0.4, 1.0)
        seen, rewards, terminated, truncated, infos = vector.step(action[None])
        alone, reward, *end, _ = single.step(action)
        assert rewards[0] == np.float32(reward)
        assert [terminated[0], truncated[0]] == end
        if any(end):
            ends += 1
            np.testing.assert_array_equal(infos["final_obs"][0], alone)
            assert infos["_episode"].tolist() == [True]
            alone, _ = single.reset()
        np.testing.assert_array_equal(seen[0], alone)
    assert ends > 2


def test_gymnasiums_own_vector_wrappers_work_on_it():
    vector = gymnasium.make_vec(
        "training.envs:F1TenthRace-v0", num_envs=3, settings=SHORT, track=[TRACK, "generated-6"]
    )
    wrapped = gymnasium.wrappers.vector.NormalizeReward(vector)
    seen, _ = wrapped.reset(seed=[1, 2, 3])
    assert seen.shape == (3, *vector.single_observation_space.shape)
    assert [track.name for track in vector.batch.race.world.tracks] == [TRACK, "generated-6", TRACK]
    for _ in range(10):
        seen, rewards, *_ = wrapped.step(wrapped.action_space.sample())
    assert rewards.shape == (3,)
    assert wrapped.observation_space.contains(seen)


def test_the_last_package_that_was_imported_has_the_ids():
    """A wheel and a checkout at once: no warning, and the ids are those of the one that was asked."""
    program = (
        "import gymnasium, warnings; warnings.simplefilter('error')\n"
        "gymnasium.register('F1Tenth-v0', entry_point='another:Env')\n"
        "print(gymnasium.make('training.envs:F1Tenth-v0').unwrapped.__class__.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "training.envs.race_env", done.stderr


def test_a_renderer_without_a_mode_draws_nothing():
    renderer = Renderer(None)
    renderer.begin(RaceEnv(SHORT, TRACK).race)
    renderer.show()
    assert renderer.frame() is None
    renderer.close()
