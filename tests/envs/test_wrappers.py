"""The wrappers of the batched core keep to their libraries' contracts and mean the same."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from training.config import EnvSettings, RaceSettings, RewardSettings
from training.envs import observation
from training.envs.batch import RaceBatch, Step
from training.envs.parallel_env import RaceParallelEnv
from training.envs.race import WRONG_WAY_M, Race
from training.envs.race_env import RaceEnv
from training.envs.vec_env import RaceVecEnv
from training.sim import Track
from training.sim.params import SPEED, STEERING, YAW_RATE

CARS = 3


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.generate(5)


def settings(**changes) -> EnvSettings:
    return EnvSettings().model_copy(update={"num_envs": 3, "max_episode_s": 4.0, **changes})


def test_gymnasium_and_stable_baselines3_accept_the_single_car(track):
    """Both checkers pass: spaces, dtypes, seeding, the five-tuple of step."""
    env = RaceEnv(settings(), track)
    check_env(env, skip_render_check=True)
    sb3_check_env(env)


def test_pettingzoo_accepts_the_race(track):
    """Cars come and go as the parallel API says, over a thousand cycles."""
    parallel_api_test(RaceParallelEnv(3, settings(), track), num_cycles=1000)


STANDINGS = ("progress_m", "laps", "position", "gap_ahead_m", "gap_behind_m", "overtakes", "overtaken")
CONTACTS = ("wall", "at_fault", "hit", "hit_car")


def told_of(race: Race, n: int, keys: tuple[str, ...]) -> dict[str, object]:
    """Return of what PettingZoo's info says of a car of the first race some, read from the race itself."""
    world, hit_car = race.world, race.world.collision_idx[0, n]
    own = {"progress_m": world.progress_m[0, n], "laps": race.laps.done[0, n], "hit_car": hit_car}
    contacts = {"wall": world.wall_contacts[0, n], "at_fault": world.at_fault[0, n]}
    known = {**own, **contacts, "hit": hit_car >= 0 and not world.at_fault[0, n]}
    return {key: known[key] if key in known else getattr(race.standings, key)[0, n] for key in keys}


def faults_at_the_end(step: Step, infos: dict[str, dict[str, object]]) -> int:
    """Hold the figures of cars whose episode ended by a crash beside their infos; count the faults among them.

    In the batch a car that starts again elsewhere has an episode of its own, so no sums over the race are compared.
    """
    ended = [(figures["race"], infos.get(f"car_{n}")) for _, n, figures in step.episodes]
    crashed = [(figures, info) for figures, info in ended if info is not None and info["crashed"]]
    for figures, info in crashed:
        for key in ("wall", "at_fault", "position"):
            assert figures[key] == info[key], key
    return sum(bool(info["at_fault"]) for _, info in crashed)


@pytest.mark.parametrize("after_crash", ["out", "restart"])
def test_the_batch_and_pettingzoo_agree_step_for_step(track, after_crash):
    """600 random decisions, noise, crashes and new races included: equal observations, rewards, ends, infos.

    Infos of a decision that restarts a car in the batch are held beside the episode's figures; the others beside the
    race itself.
    """
    chosen = settings(
        num_envs=1,
        max_episode_s=6.0,
        scan_noise_m=0.02,
        race=RaceSettings(after_crash=after_crash),
        reward=RewardSettings(overtake=2.0, hit=-1.0),
    )
    batch, parallel = RaceBatch(chosen, [track], CARS, seed=7), RaceParallelEnv(CARS, chosen, track)
    rng = np.random.default_rng(0)
    seen, _ = parallel.reset(seed=7)
    np.testing.assert_array_equal(batch.reset()[0], [seen[f"car_{n}"] for n in range(CARS)])
    crashes = races = passes = hits = faults = 0
    for decision in range(600):
        np.testing.assert_array_equal(batch.active[0], [f"car_{n}" in parallel.agents for n in range(CARS)])
        if decision % 20 == 0:  # each at a speed of its own for a while, so that they pass each other
            speeds = rng.uniform(-0.9, 0.4, (1, CARS))
        actions = np.stack([rng.uniform(-0.3, 0.3, (1, CARS)), speeds], axis=-1)
        step = batch.step(actions)
        seen, rewards, ends, cuts, infos = parallel.step(
            {name: actions[0, int(name[-1])] for name in parallel.agents}
        )
        for name, now in seen.items():
            n = int(name[-1])
            assert rewards[name] == pytest.approx(step.rewards[0, n], rel=1e-6)
            assert infos[name]["crashed"] == step.terminated[0, n]
            assert ends[name] == (step.terminated[0, n] and after_crash == "out")
            if not (step.restarted[0] and infos[name]["crashed"]):
                assert cuts[name] == step.truncated[0, n]
            last = infos[name].get("terminal_observation", now)
            np.testing.assert_array_equal(step.next_observations[0, n], last)
            if not step.restarted[0]:
                np.testing.assert_array_equal(step.observations[0, n], now)
            crashes += infos[name]["crashed"]
            if not (step.restarted[0] or step.terminated[0, n]):
                # Where another one has crashed it is gone already in the batch: no gap to it, nor its place.
                keys = CONTACTS if step.terminated.any() else (*STANDINGS, *CONTACTS)
                assert told_of(batch.race, n, keys) == {key: infos[name][key] for key in keys}
                passes += infos[name]["overtakes"]
                hits += infos[name]["hit"]
        faults += faults_at_the_end(step, infos)
        assert step.restarted[0] == (not parallel.agents)
        if step.restarted[0]:
            races += 1
            seen, _ = parallel.reset()
            np.testing.assert_array_equal(step.observations[0], [seen[f"car_{n}"] for n in range(CARS)])
    assert crashes > 10
    assert races > 3
    assert min(passes, hits, faults) > 0, "something of each kind has happened"


def test_the_same_seed_and_actions_give_the_same_500_steps(track):
    """Observations, rewards and ends are equal, noise included; another seed differs."""
    noisy = settings(scan_noise_m=0.02)

    def drive(seed: int) -> list[tuple]:
        env = RaceEnv(noisy, track)
        rng = np.random.default_rng(0)
        observation, _ = env.reset(seed=seed)
        log = [observation]
        for _ in range(500):
            observation, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 2))
            log.append((observation, reward, terminated, truncated))
            if terminated or truncated:
                observation, _ = env.reset()
                log.append(observation)
        return log

    one, two, other = drive(1), drive(1), drive(2)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    assert not np.array_equal(one[0], other[0])


def test_truncation_is_not_termination_and_the_last_observation_is_handed_over(track):
    """A car that only runs out of time is truncated; stable-baselines3 gets what it saw last, and a fresh start."""
    env = RaceVecEnv(settings(max_episode_s=1.0, min_speed_mps=0.5), [track])
    env.reset()
    stand = np.tile([0.0, -1.0], (3, 1)).astype(np.float32)
    for _ in range(9):
        _, _, dones, _ = env.step(stand)
        assert not dones.any()
    before = env.race.world.progress_m.copy()
    observations, _, dones, infos = env.step(stand)
    assert dones.all()
    for e in range(3):
        assert infos[e]["TimeLimit.truncated"]
        assert infos[e]["episode"]["l"] == 10
        assert infos[e]["episode"]["progress_m"] >= before[e, 0]
        lap_share = infos[e]["episode"]["progress_m"] / track.length_m
        assert infos[e]["episode"]["lap_share"] == pytest.approx(lap_share)
        assert not np.array_equal(infos[e]["terminal_observation"], observations[e])
    assert (env.race.world.time_s == 0).all()


def test_a_crash_terminates_and_costs_what_the_settings_say(track):
    """Full speed, full lock: the episode ends by the wall, not by time; the terms add up to the return."""
    env = RaceVecEnv(settings(max_episode_s=60.0), [track])
    env.reset()
    total = np.zeros(3)
    ended = np.zeros(3, dtype=bool)
    for _ in range(200):
        _, rewards, dones, infos = env.step(np.ones((3, 2), dtype=np.float32))
        total += np.where(ended, 0.0, rewards)
        for e in np.flatnonzero(dones & ~ended):
            episode = infos[e]["episode"]
            assert episode["collided"]
            assert not infos[e]["TimeLimit.truncated"]
            assert episode["terms"]["collision"] == env.race.settings.reward.collision
            assert episode["r"] == pytest.approx(total[e], abs=1e-4)
            assert episode["r"] == pytest.approx(sum(episode["terms"].values()))
        ended |= dones
        if ended.all():
            return
    pytest.fail("no wall in 20 s of full lock")


def test_the_wrong_way_ends_an_episode(track):
    """A car that is turned round and drives on terminates after WRONG_WAY_M, without a collision."""
    env = RaceEnv(settings(min_speed_mps=2.0, max_episode_s=60.0), track)
    x, y, yaw = track.pose_at(0.0)
    env.reset(options={"pose": (x, y, yaw + np.pi)})
    for _ in range(100):
        _, _, terminated, _, info = env.step(np.array([0.0, -1.0]))
        if terminated:
            assert info["progress_m"] < -WRONG_WAY_M
            assert not env.race.world.collisions.any()
            return
    pytest.fail("drove the wrong way for 10 s")


def test_a_single_car_and_the_batch_see_and_earn_the_same(track):
    """Car 0 of a batch equals RaceEnv from the same pose under the same actions, decision by decision."""
    chosen = settings()
    batch = Race(chosen, [track], 3)
    single = RaceEnv(chosen, track)
    poses = np.array([[track.pose_at(s)] for s in (0.0, 30.0, 60.0)])
    seen, _ = single.reset(options={"pose": poses[0, 0]})
    np.testing.assert_array_equal(batch.reset(poses=poses)[0, 0], seen)
    for k in range(20):
        action = np.array([0.1 * np.sin(k), -0.5])
        outcome = batch.step(np.tile(action, (3, 1, 1)))
        seen, reward, *_ = single.step(action)
        np.testing.assert_array_equal(outcome.observations[0, 0], seen)
        assert outcome.rewards[0, 0] == reward


def test_laps_are_counted_once_and_timed_between_crossings():
    """Round a circle at constant speed, lap times are the circumference over the speed."""
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = 5.0
    line = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    size, resolution = 300, 0.05
    grid = (np.arange(size) - size / 2) * resolution
    distance = np.hypot(*np.meshgrid(grid, grid))
    free = np.abs(distance - radius) < 1.5
    circle = Track.from_occupancy(free, resolution, (grid[0], grid[0], 0.0), line, name="circle")
    race = Race(settings(max_episode_s=120.0), [circle], 1)
    race.reset(poses=np.array([[circle.pose_at(0.0)]]))
    laps = []
    for _ in range(600):
        x, y, _, _, yaw, _, _ = race.world.states[0, 0]
        ahead_x, ahead_y, _ = circle.pose_at(race.world.arc_m[0, 0] + 1.0)
        bearing = np.arctan2(ahead_y - y, ahead_x - x) - yaw
        wanted = np.arctan(2 * 0.33 * np.sin(bearing) / 1.0)  # pure pursuit, a metre ahead
        action = race.actions_of(np.array([[[wanted, 3.0]]]))
        done = race.laps.done[0, 0]
        outcome = race.step(action)
        assert not outcome.terminated.any()
        if race.laps.done[0, 0] > done:
            laps.append(race.laps.last_s[0, 0])
    assert len(laps) >= 4
    for lap in laps[1:]:
        assert lap == pytest.approx(circle.length_m / 3.0, rel=0.05)
    assert race.laps.best_s[0, 0] == min(laps)


def test_actions_and_commands_are_inverse(track):
    """What a driver commands comes back from the actions that stand for it; beyond the limits it is clipped."""
    race = Race(settings(), [track], 3)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (3, 1, 2))
    np.testing.assert_allclose(race.actions_of(race.commands_of(actions)), actions, atol=1e-12)
    assert np.abs(race.actions_of(np.full((3, 1, 2), 99.0))).max() == 1.0


def test_a_saved_environment_goes_on_exactly(track):
    """state_dict and load_state_dict carry noise, starts, laps and sums: 300 steps later all is equal."""
    chosen = settings(scan_noise_m=0.02)
    one, two = RaceVecEnv(chosen, [track], seed=1), RaceVecEnv(chosen, [track], seed=1)
    rng = np.random.default_rng(0)
    one.reset()
    two.reset()
    for _ in range(50):
        one.step(rng.uniform(-1, 1, (3, 2)))
    two.load_state_dict(one.state_dict())
    for _ in range(300):
        actions = rng.uniform(-1, 1, (3, 2))
        for a, b in zip(one.step(actions)[:3], two.step(actions)[:3], strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_single_car_can_be_made_by_gymnasium():
    """RaceEnv is a plain gymnasium.Env: wrappers work on it."""
    wrapped = gymnasium.wrappers.TimeLimit(RaceEnv(settings()), 5)
    wrapped.reset(seed=0)
    ends = [wrapped.step(np.array([0.0, -1.0]))[3] for _ in range(5)]
    assert ends == [False, False, False, False, True]


def test_an_observation_is_scans_speed_and_proprioception_in_that_order(track):
    """Newest scan, the one before, speed over the cap, then steering, yaw rate over 10 rad/s, previous action."""
    chosen = settings(num_envs=1)
    race = Race(chosen, [track], 1)
    first = race.reset(poses=np.array([[track.pose_at(3.0)]]))[0, 0]
    beams = chosen.beams
    np.testing.assert_array_equal(first[:beams], first[beams : 2 * beams])
    np.testing.assert_array_equal(first[2 * beams :], np.zeros(5))
    race.step(np.full((1, 1, 2), 0.1))
    seen = race.step(np.array([[[0.4, -0.2]]])).observations[0, 0]
    state = race.world.states[0, 0]
    assert seen.shape == observation.bounds(chosen)[0].shape == (2 * beams + 5,)
    scan = np.minimum(race.world.scans[0, 0], chosen.scan_range_m) / chosen.scan_range_m
    np.testing.assert_allclose(seen[:beams], scan, rtol=1e-6)
    motion = [
        state[SPEED] / chosen.speed_cap_mps,
        state[STEERING] / race.vehicle.s_max,
        state[YAW_RATE] / 10.0,
    ]
    np.testing.assert_allclose(seen[2 * beams :], [*motion, 0.4, -0.2], rtol=1e-6)
    assert abs(state[STEERING]) > 0.1


def test_without_proprioception_an_observation_is_scans_and_speed(track):
    """env.proprioception = false: what published work found enough at low speed."""
    chosen = settings(num_envs=1, proprioception=False)
    assert Race(chosen, [track], 1).reset().shape == (1, 1, 2 * chosen.beams + 1)
