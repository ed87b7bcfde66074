"""Several cars in one race: crashed cars go, standings, rewards and faults are told, grids fit."""

from __future__ import annotations

import numpy as np
import pytest

from training.config import EnvSettings, RaceSettings, RewardSettings
from training.config.checks import grid_capacity
from training.envs.batch import RaceBatch
from training.envs.grid import RESTART_GAP_M
from training.envs.race import Race
from training.errors import ConfigurationError
from training.sim import Track, Vehicle
from training.sim.params import SPEED

CARS = 3


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.generate(5)


def settings(after_crash: str = "out", **changes) -> EnvSettings:
    race = RaceSettings(after_crash=after_crash, **changes.pop("race", {}))
    reward = RewardSettings(overtake=2.0, hit=-1.0)
    plain = EnvSettings(num_envs=1, max_episode_s=6.0, scan_noise_m=0.02, reward=reward)
    return plain.model_copy(update={"race": race, **changes})


def lively(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random actions that keep cars moving, so that they meet."""
    return np.stack([rng.uniform(-0.4, 0.4, shape), rng.uniform(-0.9, 0.4, shape)], axis=-1)


def test_many_races_equal_single_ones(track):
    """Environment e of a batch drives as it would alone, whatever the others do."""
    chosen = settings()
    batch = Race(chosen, [track], 5, CARS, seed=3)
    poses = np.array([[track.pose_at(20.0 * e + 1.5 * n) for n in range(CARS)] for e in range(5)])
    batch.reset(poses=poses)
    alone = Race(chosen, [track], 1, CARS, seed=3 + 4)
    alone.reset(poses=poses[4:])
    rng = np.random.default_rng(1)
    for _ in range(60):
        actions = lively(rng, (5, CARS))
        one, many = alone.step(actions[4:]), batch.step(actions)
        np.testing.assert_array_equal(one.observations[0], many.observations[4])
        np.testing.assert_array_equal(one.rewards[0], many.rewards[4])
        alone.clear_crashed(one)
        batch.clear_crashed(many)


@pytest.mark.parametrize("after_crash", ["out", "restart"])
def test_the_same_seed_repeats_and_a_saved_batch_goes_on_exactly(track, after_crash):
    """state_dict carries who is out, standings, sums and counted cars: 300 steps later all is equal."""
    chosen = settings(after_crash, num_envs=4)
    one, two, same = (RaceBatch(chosen, [track], CARS, seed=1) for _ in range(3))
    for batch in (one, two, same):
        batch.reset()
    one.counted[:, 0] = same.counted[:, 0] = False
    rng = np.random.default_rng(0)
    for _ in range(80):
        actions = lively(rng, (4, CARS))
        for a, b in zip(one.step(actions), same.step(actions), strict=True):
            assert_same(a, b)
    two.load_state_dict(one.state_dict())
    for _ in range(300):
        actions = lively(rng, (4, CARS))
        for a, b in zip(one.step(actions), two.step(actions), strict=True):
            assert_same(a, b)


def assert_same(a, b) -> None:
    if isinstance(a, list):
        assert repr(a) == repr(b)
    else:
        np.testing.assert_array_equal(a, b)


def test_a_crashed_car_leaves_the_track_and_the_others_race_on(track):
    """Car 0 turns into the wall: its episode ends, the car behind drives through where it stood."""
    batch = RaceBatch(settings(scan_noise_m=0.0, max_episode_s=60.0), [track], 2)
    batch.reset()
    batch.race.reset(poses=np.array([[track.pose_at(8.0), track.pose_at(2.0)]]))
    ended = None
    for k in range(40):
        steer_along = follow(batch.race, 1)
        step = batch.step(np.array([[[1.0, 0.0], steer_along]]))
        if ended is None and step.terminated[0, 0]:
            ended = k
            assert not step.restarted.any()
            assert [(e, n) for e, n, _ in step.episodes] == [(0, 0)]
            assert step.episodes[0][2]["race"]["wall"]
        elif ended is not None:
            assert not step.active[0, 0]
            assert step.rewards[0, 0] == 0.0
            assert step.active[0, 1]
            assert not step.terminated.any()
    assert ended is not None
    assert batch.race.world.arc_m[0, 1] > 12.0
    assert not batch.active[0, 0]


def test_a_crashed_car_restarts_clear_of_the_others_with_an_episode_of_its_own(track):
    batch = RaceBatch(settings("restart", max_episode_s=60.0, num_envs=4), [track], CARS)
    batch.reset()
    rng = np.random.default_rng(2)
    restarts = 0
    for _ in range(200):
        step = batch.step(lively(rng, (4, CARS)))
        for e, n in np.argwhere(step.terminated & ~step.restarted[:, None]):
            restarts += 1
            world = batch.race.world
            assert batch.active[e, n]
            assert world.progress_m[e, n] == 0.0
            assert world.states[e, n, SPEED] == 0.0
            others = np.delete(world.arc_m[e], n) - world.arc_m[e, n]
            apart = np.abs((others + track.length_m / 2) % track.length_m - track.length_m / 2)
            assert apart.min() > RESTART_GAP_M - 0.5
            assert not np.array_equal(step.observations[e, n], step.next_observations[e, n])
    assert restarts > 20


def test_a_victim_races_on_unless_the_settings_say_otherwise(track):
    """Run into from behind: the one behind is at fault, pays and is out; the one in front pays only `hit`."""
    for hit_cars_continue in (True, False):
        chosen = settings(scan_noise_m=0.0, race={"hit_cars_continue": hit_cars_continue})
        batch = RaceBatch(chosen, [track], 2)
        batch.reset()
        batch.race.reset(poses=np.array([[track.pose_at(3.0), track.pose_at(4.5)]]))
        for _ in range(20):
            slow = follow(batch.race, 1)
            slow[1] = -1.0
            fast = follow(batch.race, 0)
            fast[1] = 1.0
            step = batch.step(np.array([[fast, slow]]))
            if step.terminated.any():
                break
        assert step.terminated[0].tolist() == [True, not hit_cars_continue]
        (_, n, figures), *others = step.episodes
        assert (n, figures["collided"], figures["race"]["at_fault"]) == (0, True, True)
        assert figures["terms"]["collision"] == chosen.reward.collision
        if not hit_cars_continue:
            (_, _, victim) = others[0]
            assert not victim["race"]["at_fault"]
            assert victim["race"]["hit"] == 1
            assert (victim["terms"]["hit"], victim["terms"]["collision"]) == (chosen.reward.hit, 0.0)


def test_overtakes_positions_and_gaps_are_those_of_the_track(track):
    """A fast car passes a slow one beside it: one overtake, places swapped, gaps as along the centreline."""
    batch = RaceBatch(settings(scan_noise_m=0.0, max_episode_s=60.0), [track], 2)
    batch.reset()
    race = batch.race
    race.reset(poses=np.array([[track.pose_at(3.0, -0.35), track.pose_at(5.0, 0.35)]]))
    assert race.standings.position.tolist() == [[2, 1]]
    assert race.standings.gap_ahead_m[0, 0] == pytest.approx(2.0, abs=0.2)
    for _ in range(40):
        fast, slow = follow(race, 0, -0.35), follow(race, 1, 0.35)
        fast[1], slow[1] = -0.3, -0.9
        step = batch.step(np.array([[fast, slow]]))
        assert not step.terminated.any()
        if race.standings.overtakes.any():
            break
    assert race.standings.overtakes.tolist() == [[1, 0]]
    assert race.standings.overtaken.tolist() == [[0, 1]]
    assert race.standings.position.tolist() == [[1, 2]]
    lead = race.world.arc_m[0, 0] - race.world.arc_m[0, 1]
    assert lead > Vehicle().length
    assert race.standings.gap_behind_m[0, 0] == pytest.approx(lead)
    assert race.standings.gap_to_leader_m[0, 1] == pytest.approx(lead, abs=0.05)


def test_relative_progress_pays_for_metres_gained_on_cars_nearby(track):
    """What one gains the other loses, all through a pass and at no other time: only within 20 m, and only racing."""
    reward = RewardSettings(relative_progress=2.0)
    batch = RaceBatch(settings(scan_noise_m=0.0, max_episode_s=60.0, reward=reward), [track], 3)
    batch.reset()
    race = batch.race
    race.reset(poses=np.array([[track.pose_at(3.0, -0.35), track.pose_at(5.0, 0.35), track.pose_at(40.0)]]))
    race.active[0, 2] = True
    for _ in range(15):
        fast, slow = follow(race, 0, -0.35), follow(race, 1, 0.35)
        fast[1], slow[1] = -0.3, -0.9
        before_m, base_m = race.world.progress_m.copy(), race.standings.distance_m.copy()
        step = race.step(np.array([[fast, slow, [0.0, -1.0]]]))
        advance_m = (race.world.progress_m - before_m)[0]
        gained = step.terms["relative_progress"][0]
        assert abs(base_m[0, 0] - base_m[0, 2]) > 20.0
        assert gained[0] == pytest.approx(2.0 * (advance_m[0] - advance_m[1]))
        assert gained[1] == pytest.approx(-gained[0])
        assert gained[2] == 0.0
    assert gained[0] > 0.1
    race.world.take_out(np.array([[False, True, False]]))
    race.active[0, 1] = False
    step = race.step(np.array([[fast, slow, [0.0, -1.0]]]))
    assert step.terms["relative_progress"].tolist() == [[0.0, 0.0, 0.0]]


def test_lead_pays_at_each_decision_for_the_cars_nearby_that_are_behind(track):
    """One for each, less one for each before; alongside, the share of a car length; only within 20 m, only racing."""
    reward = RewardSettings(lead=0.5)
    batch = RaceBatch(settings(scan_noise_m=0.0, max_episode_s=60.0, reward=reward), [track], 4)
    batch.reset()
    race = batch.race
    places = [track.pose_at(3.0, -0.35), track.pose_at(3.2, 0.35), track.pose_at(8.0), track.pose_at(40.0)]
    race.reset(poses=np.array([places]))
    still = np.tile([0.0, -1.0], (1, 4, 1))
    step = race.step(still)
    ahead_m = race.standings.distance_m[0, 1] - race.standings.distance_m[0, 0]
    assert 0.1 < ahead_m < 0.3
    share = 0.5 * ahead_m / Vehicle().length
    assert step.terms["lead"][0] == pytest.approx([-share - 0.5, share - 0.5, 1.0, 0.0])
    assert step.rewards[0, 2] == pytest.approx(sum(values[0, 2] for values in step.terms.values()))
    race.world.take_out(np.array([[False, False, True, False]]))
    race.active[0, 2] = False
    assert race.step(still).terms["lead"][0] == pytest.approx([-share, share, 0.0, 0.0], abs=0.05)


def test_an_uncounted_car_does_not_keep_a_race_going(track):
    """A league race ends with its learners: when the counted car crashes, the other's episode is truncated."""
    batch = RaceBatch(settings(max_episode_s=60.0), [track], 2)
    batch.reset()
    batch.counted[0, 1] = False
    batch.race.reset(poses=np.array([[track.pose_at(8.0), track.pose_at(2.0)]]))
    for _ in range(40):
        step = batch.step(np.array([[[1.0, 0.0], follow(batch.race, 1)]]))
        if step.terminated[0, 0]:
            assert step.restarted[0]
            assert step.truncated[0, 1]
            assert batch.active.all()
            return
    pytest.fail("full lock, and no wall in 4 s")


@pytest.mark.parametrize("grid", ["single_file", "side_by_side", "either"])
def test_the_grid_fits_the_track_or_the_number_and_its_limit_are_named(grid):
    """As many cars as the grid holds start clear of each other and of the walls; one more is refused."""
    short = Track.generate(3, length_m=40.0)
    limit = grid_capacity(short.length_m, 2.0)
    race = Race(settings(num_envs=4, race={"grid": grid}), [short], 4, limit, seed=0)
    for _ in range(5):
        race.reset()
        outcome = race.step(np.tile([0.0, -1.0], (4, limit, 1)))
        assert not (outcome.contacts.hit | outcome.contacts.crashed).any()
    with pytest.raises(ConfigurationError, match=rf"num_agents = {limit + 1}: .* holds at most {limit} cars"):
        Race(settings(race={"grid": grid}), [short], 1, limit + 1)


def level_rows(race: Race) -> np.ndarray:
    """Tell of each race whether its first two places are beside each other."""
    arc_m = np.sort(race.world.arc_m, axis=1)
    gaps = np.append(np.diff(arc_m, axis=1), (arc_m[:, :1] - arc_m[:, -1:]) % race.lengths_m, axis=1)
    return gaps.min(axis=1) < 0.5


@pytest.mark.parametrize(
    ("grid", "low", "high"), [("single_file", 0, 0), ("side_by_side", 1, 1), ("either", 0.3, 0.7)]
)
def test_cars_start_in_single_file_or_side_by_side_as_the_settings_say(track, grid, low, high):
    """Side by side: two to a row, one on either side of the line, in a drawn order; a row every grid_spacing_m."""
    race = Race(settings(num_envs=64, race={"grid": grid}), [track], 64, 4, seed=1)
    race.reset()
    level = level_rows(race)
    assert low <= level.mean() <= high
    lateral_m = race.world.lateral_m[level]
    if grid == "side_by_side":
        assert (np.sort(lateral_m, axis=1)[:, :2] < -0.28).all()
        assert (np.sort(lateral_m, axis=1)[:, 2:] > 0.28).all()
        assert 0.3 < (lateral_m[:, 0] > 0.0).mean() < 0.7
        assert race.standings.distance_m.max(axis=1) == pytest.approx(np.full(64, 2.0), abs=0.5)


def test_where_the_track_is_too_narrow_for_two_they_start_in_single_file():
    narrow = Track.generate(3, length_m=60.0, half_width_m=0.55)
    race = Race(settings(num_envs=16, race={"grid": "side_by_side"}), [narrow], 16, 2, seed=1)
    race.reset()
    assert not level_rows(race).any()


def test_who_gets_ahead_from_a_start_side_by_side_has_overtaken_nobody(track):
    """The first to lead wins no place, the second to lead does: neither was ahead at the start."""
    batch = RaceBatch(settings(scan_noise_m=0.0, max_episode_s=60.0), [track], 2)
    batch.reset()
    race = batch.race
    race.reset(poses=np.array([[track.pose_at(3.0, -0.45), track.pose_at(3.05, 0.45)]]))
    leaders = []
    for decision in range(120):
        actions = np.array([[follow(race, 0, -0.45), follow(race, 1, 0.45)]])
        actions[0, :, 1] = (-0.3, -0.9) if decision < 30 else (-0.9, -0.3)
        assert not batch.step(actions).terminated.any()
        leaders.append(int(race.standings.position[0].argmin()))
    assert leaders[25] == 0
    assert leaders[-1] == 1
    assert race.standings.overtakes.tolist() == [[0, 1]]


def test_a_contact_that_does_not_end_the_episode_is_paid_for_at_each_decision(track):
    """With terminate_at_fault_contact false a car at fault passes through the other, and pays while they touch."""
    rules = {"terminate_at_fault_contact": False}
    batch = RaceBatch(settings(scan_noise_m=0.0, max_episode_s=60.0, race=rules), [track], 2)
    batch.reset()
    batch.race.reset(poses=np.array([[track.pose_at(3.0), track.pose_at(4.5)]]))
    touching = 0
    for _ in range(60):
        fast, slow = follow(batch.race, 0), follow(batch.race, 1)
        slow[1] = -1.0
        step = batch.step(np.array([[fast, slow]]))
        assert not step.terminated.any()
        touching += int(batch.race.world.at_fault[0, 0])
    assert touching > 2
    assert batch._sums["collision"][0, 0] == touching * batch.race.settings.reward.collision
    assert batch.race.standings.position[0].tolist() == [1, 2]  # it came out in front
    for _ in range(60):
        step = batch.step(np.array([[[1.0, 0.5], [0.0, -1.0]]]))
        if step.terminated.any():
            break
    (_, n, figures) = step.episodes[0]
    assert n == 0
    assert figures["collided"]  # a wall ends it all the same
    assert figures["race"]["wall"]
    assert figures["race"]["at_fault"]


def follow(race: Race, n: int, lateral_m: float = 0.0) -> np.ndarray:
    """Return an action that keeps car n along the centreline at a moderate speed."""
    track, world = race.world.tracks[0], race.world
    x, y, _, _, yaw, _, _ = world.states[0, n]
    to_x, to_y, _ = track.pose_at(float(world.arc_m[0, n]) + 1.0, lateral_m)
    bearing = np.arctan2(to_y - y, to_x - x) - yaw
    steer = np.arctan(2 * 0.33 * np.sin(bearing) / np.hypot(to_x - x, to_y - y))
    return race.actions_of(np.array([[[steer, 3.0]]]))[0, 0]
