"""Who drives what in a league: its agents, their earlier selves, drivers that need no learning."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from training.agents.codec import SavedState
from training.agents.league import (
    LIVE,
    POOL,
    PURE_PURSUIT,
    League,
    PolicySnapshot,
    PromotionResult,
    PromotionTest,
)
from training.agents.multi_agent import MultiAgentSAC
from training.config import Config, load_config
from training.envs.batch import RaceBatch
from training.errors import DataError
from training.sim import Track

CARS, ENVS = 3, 4
EVERYWHERE = np.ones(ENVS, dtype=np.bool_)


def settings(**changes: object) -> Config:
    overrides = {
        "training.training_type": "sac_multiagent",
        "training.num_agents": CARS,
        "multi_agent.mode": "league",
        "multi_agent.league.pool_size": 2,
        "multi_agent.league.snapshot_interval": 40,
        "env.tracks": "[generated-1]",
        "env.num_envs": ENVS,
        "sac.net_arch": "[8, 8]",
        "sac.buffer_size": 1000,
        "imitation.expert": "none",
        **changes,
    }
    return load_config(None, [f"{key}={value}" for key, value in overrides.items()])


def learner_of(config: Config, contest: PromotionTest | None = None) -> MultiAgentSAC:
    tracks = [Track.load(name) for name in config.env.tracks]
    env = RaceBatch(config.env, tracks, config.num_cars)
    return MultiAgentSAC(env, config, device="cpu", contest=contest)


@pytest.fixture
def learner() -> MultiAgentSAC:
    return learner_of(settings())


def league_of(learner: MultiAgentSAC) -> League:
    assert learner.league is not None
    return learner.league


def test_each_race_has_a_car_of_its_agent_another_one_each_time(learner):
    """Whoever drives the others, car (environment + race) mod N is the agent's."""
    league = league_of(learner)
    for race in range(2 * CARS):
        league.redraw(EVERYWHERE)
        for e in range(ENVS):
            assert league.driver[e, (e + race) % CARS] == LIVE
    assert np.array_equal(league.races, np.full(ENVS, 2 * CARS))


def test_the_other_cars_are_driven_at_the_shares_that_are_set():
    """An empty pool's share goes to the agents; one that is not redrawn keeps its drivers."""
    changes = {"self_fraction": 0.2, "snapshot_fraction": 0.4, "pure_pursuit": 0.3, "follow_the_gap": 0.1}
    learner = learner_of(settings(**{f"multi_agent.league.{name}": share for name, share in changes.items()}))
    league = league_of(learner)
    counts, races = np.zeros(POOL + 1), 1500
    for full in (False, True):
        counts[:] = 0
        if full:
            league.add("another", learner.team.average_policy(0))
        for _ in range(races):
            league.redraw(EVERYWHERE)
            counts += np.bincount(league.driver.ravel(), minlength=POOL + 1)
        counts[LIVE] -= races * ENVS  # the car of each race that is its agent's in any case
        live, pool = (0.2, 0.4) if full else (0.6, 0.0)
        np.testing.assert_allclose(counts / counts.sum(), [live, 0.3, 0.1, pool], atol=0.02)
    kept = league.driver.copy()
    league.redraw(np.array([True, False, False, False]))
    assert np.array_equal(league.driver[1:], kept[1:])


def test_an_opponent_s_car_does_what_its_driver_says_and_teaches_nobody(learner):
    """Its action replaces the agent's, and its agent's replay holds no transition of that race."""
    league = league_of(learner)
    learner.observations = learner.env.reset()
    league.driver[:] = LIVE
    league.driver[:, 0] = PURE_PURSUIT
    league.driver[1, 1] = POOL
    league.add("another", learner.team.average_policy(2))
    learner.env.counted[...] = league.live
    chosen = np.full((ENVS, CARS, 2), 0.25, dtype=np.float32)
    driven = league.drive(learner.observations, chosen)
    live = league.live
    assert np.array_equal(driven[live], chosen[live])
    assert not (driven[~live] == 0.25).any()
    expected = learner.team.average_policy(2).act(learner.observations[1, 1][None])[0]
    np.testing.assert_allclose(driven[1, 1], expected, rtol=1e-6)
    learner._step()
    assert not learner.agents[0].replay_buffer.can_sample()
    assert learner.agents[1].replay_buffer.can_sample()


def test_a_full_pool_is_thinned_out_and_its_drivers_keep_theirs(learner):
    """Every second generation goes; who drove one that went drives the one before it; other runs' policies stay."""
    league = league_of(learner)
    league.add("another", learner.team.average_policy(0))
    nowhere = np.zeros(ENVS, dtype=np.bool_)
    for step in (40, 80):
        league.after_step(nowhere, step, learner.team)
    names = [one.name for one in league.pool]
    assert names == ["another", *(f"agent{a} of step {step}" for step in (40, 80) for a in range(CARS))]
    league.driver[0] = [POOL, POOL + 1 + 1, POOL + 1 + CARS + 2]  # another's; agent 1 of 40; agent 2 of 80
    league.driver[1:] = LIVE
    league.after_step(nowhere, 120, learner.team)
    assert [len(generation) for generation in league.snapshots] == [CARS, CARS]
    assert league.interval == 80
    driving = [league.pool[number - POOL] for number in league.driver[0]]
    assert [one.name for one in driving] == ["another", "agent1 of step 40", "agent2 of step 40"]
    assert all(isinstance(one, PolicySnapshot) for one in driving)


def test_those_who_are_no_agents_drive_at_a_share_of_the_speed_they_ask_for():
    """multi_agent.league.speed_factor, drawn for each car of each race; agents drive as they ask to."""
    learner = learner_of(settings(**{"multi_agent.league.speed_factor": "[0.5, 0.8]"}))
    league, race = league_of(learner), learner.env.race
    learner.observations = learner.env.reset()
    league.redraw(EVERYWHERE)
    assert ((league.speed_factor >= 0.5) & (league.speed_factor <= 0.8)).all()
    assert np.unique(league.speed_factor).size == league.speed_factor.size
    league.driver[:] = LIVE
    league.driver[:, 1] = PURE_PURSUIT
    league.driver[:, 2] = POOL
    league.add("another", learner.team.average_policy(2))
    chosen = np.full((ENVS, CARS, 2), 0.25, dtype=np.float32)
    slowed = race.commands_of(league.drive(learner.observations, chosen).astype(np.float64))
    factors = league.speed_factor.copy()
    league.speed_factor[:] = 1.0
    asked = race.commands_of(league.drive(learner.observations, chosen).astype(np.float64))
    np.testing.assert_array_equal(slowed[:, 0], asked[:, 0])
    expected = np.maximum(factors[:, 1:] * asked[:, 1:, 1], race.settings.min_speed_mps)
    np.testing.assert_allclose(slowed[:, 1:, 1], expected, rtol=1e-5)
    np.testing.assert_allclose(slowed[:, 1:, 0], asked[:, 1:, 0], rtol=1e-5)
    assert (slowed[:, 1:, 1] < asked[:, 1:, 1]).all()


def test_speed_factors_are_saved_and_a_checkpoint_from_before_them_is_read(learner):
    league = league_of(learner_of(settings(**{"multi_agent.league.speed_factor": "[0.5, 0.8]"})))
    league.redraw(EVERYWHERE)
    arrays, meta = league.state_dict()
    other = league_of(learner)
    other.load_state_dict(SavedState(arrays, meta))
    np.testing.assert_array_equal(other.speed_factor, league.speed_factor)
    del arrays["league.speed_factor"]
    before = league_of(learner_of(settings()))
    before.load_state_dict(SavedState(arrays, meta))
    assert (before.speed_factor == 1.0).all()


def champions_of(contest: PromotionTest, **changes: object) -> MultiAgentSAC:
    return learner_of(settings(**{"multi_agent.league.champions": True, **changes}), contest)


def test_every_interval_each_agent_s_policy_challenges_its_champions():
    """The contest is told who challenges whom, the newest last, and when; who wins is the newest from then on."""
    asked: list[tuple[int, int]] = []

    def contest(challenger: Any, champions: Any, step: int) -> PromotionResult:
        asked.append((step, len(champions)))
        assert (challenger.stack.flat == step).all()
        assert champions == [one.policy for one in league.champions[(len(asked) - 1) % CARS]]
        return PromotionResult((len(asked) - 1) % CARS != 1, 0.25 * len(champions))  # agent 1 never wins

    learner = champions_of(contest)
    league = league_of(learner)
    promoted: list[tuple[str, float]] = []
    league.on_champion = lambda champion, verdict: promoted.append((champion.name, verdict.won_share))
    nowhere = np.zeros(ENVS, dtype=np.bool_)
    assert learner.champion(0) is None
    assert learner.league_figures(0) == {}
    for step in (39, 40, 79, 80):
        learner.team.average.flat.fill_(step)
        league.after_step(nowhere, step, learner.team)
    assert asked == [(40, 0), (40, 0), (40, 0), (80, 1), (80, 0), (80, 1)]
    names = ["agent0 of step 40", "agent2 of step 40", "agent0 of step 80", "agent2 of step 80"]
    assert promoted == list(zip(names, (0.0, 0.0, 0.25, 0.25), strict=True))
    assert [one.name for one in league.champions[2]] == ["agent2 of step 40", "agent2 of step 80"]
    assert league.interval == 40, "challenges go on as often"
    newest = learner.champion(2)
    assert newest is not None
    assert newest.step == 80
    assert (newest.policy.stack.flat == 80.0).all()
    assert learner.champion(1) is None
    assert not league.snapshots
    assert learner.league_figures(2) == {"league/won_share": 0.25, "league/champion_step": 80.0}
    assert learner.league_figures(1) == {"league/won_share": 0.0}


def test_nobody_becomes_champion_before_it_is_time():
    """The first challenge is at `champions_start`, the next ones each an interval later; the pool's share is live."""
    asked: list[int] = []

    def contest(_challenger: Any, _champions: Any, step: int) -> PromotionResult:
        asked.append(step)
        return PromotionResult(promoted=True)

    changes = {
        "champions_start": 100,
        "self_fraction": 0,
        "snapshot_fraction": 1,
        "pure_pursuit": 0,
        "follow_the_gap": 0,
    }
    learner = champions_of(
        contest, **{f"multi_agent.league.{name}": value for name, value in changes.items()}
    )
    league = league_of(learner)
    for step in (40, 80, 99):
        league.after_step(EVERYWHERE, step, learner.team)
        assert league.live.all()
    for step in (100, 139, 140):
        league.after_step(EVERYWHERE, step, learner.team)
    assert asked == [*[100] * CARS, *[140] * CARS]
    assert not league.live.all()


def test_of_champions_the_newest_drives_most_often():
    """Each agent's line and each other run's policy alike; in a line each one twice as often as the one before it."""
    learner = champions_of(
        lambda *_: PromotionResult(promoted=True),
        **{"multi_agent.league.self_fraction": 0, "multi_agent.league.snapshot_fraction": 1},
    )
    league = league_of(learner)
    league.add("another", learner.team.average_policy(0))
    champion = learner.team.average_policy(0)
    league.champions[0] = [PolicySnapshot(name, champion) for name in ("old", "new", "newest")]
    league.champions[2] = [PolicySnapshot("only", champion)]
    counts, cars = dict.fromkeys((one.name for one in league.pool), 0), 0
    for _ in range(2000):
        league.redraw(EVERYWHERE)
        for number in league.driver[league.driver >= POOL]:
            counts[league.pool[number - POOL].name] += 1
            cars += 1
    shares = {name: count / cars for name, count in counts.items()}
    expected = {"another": 1 / 3, "old": 1 / 21, "new": 2 / 21, "newest": 4 / 21, "only": 1 / 3}
    assert shares == pytest.approx(expected, abs=0.02)


def test_a_new_champion_changes_no_driver_of_a_race_that_is_on():
    """Numbers of the pool move; who drove a champion that had to go drives the oldest that stays."""
    learner = champions_of(lambda _challenger, _champions, step: PromotionResult(step == 80))
    league, team = league_of(learner), learner.team
    league.add("another", team.average_policy(0))
    for agent, names in enumerate((["0a", "0b"], [], ["2a"])):
        league.champions[agent] = [PolicySnapshot(name, team.average_policy(agent)) for name in names]
    numbers = {one.name: POOL + number for number, one in enumerate(league.pool)}
    league.driver[0] = [LIVE, PURE_PURSUIT, numbers["another"]]
    league.driver[1] = [numbers["0a"], numbers["0b"], numbers["2a"]]
    league.driver[2:] = LIVE
    league.after_step(np.zeros(ENVS, dtype=np.bool_), 80, team)
    new = [f"agent{agent} of step 80" for agent in range(CARS)]
    assert [[one.name for one in line] for line in league.champions] == [
        ["0b", new[0]],
        [new[1]],
        ["2a", new[2]],
    ]
    assert league.driver[0].tolist() == [LIVE, PURE_PURSUIT, POOL]
    assert [league.pool[number - POOL].name for number in league.driver[1]] == ["0b", "0b", "2a"]
    assert (league.driver[2:] == LIVE).all()


def test_a_league_of_champions_without_a_contest_is_refused():
    with pytest.raises(ValueError, match="champions needs a contest"):
        learner_of(settings(**{"multi_agent.league.champions": True}))


def test_champions_come_back_from_a_checkpoint_and_drivers_that_are_not_there_are_refused():
    """Names, steps and weights; one from before champions has none."""
    learner = champions_of(lambda *_: PromotionResult(promoted=True))
    league = league_of(learner)
    for step in (40, 80, 120):
        learner.team.average.flat.fill_(step)
        league.after_step(np.zeros(ENVS, dtype=np.bool_), step, learner.team)
    league.redraw(EVERYWHERE)
    arrays, meta = league.state_dict()
    other = league_of(champions_of(lambda *_: PromotionResult(promoted=True)))
    other.load_state_dict(SavedState(arrays, json.loads(json.dumps(meta))))
    for line, restored in zip(league.champions, other.champions, strict=True):
        assert [(one.name, one.step) for one in line] == [(one.name, one.step) for one in restored]
        assert [float(one.policy.stack.flat[0]) for one in restored] == [80.0, 120.0]
    arrays["league.driver"][0, 0] = POOL + 2 * CARS
    with pytest.raises(DataError, match=f"league.driver names policy {2 * CARS}, the pool has {2 * CARS}"):
        other.load_state_dict(SavedState(arrays, meta))
    arrays["league.driver"][:] = LIVE
    del meta["champions"]
    other.load_state_dict(SavedState(arrays, meta))
    assert other.champions == [[], [], []]
