"""Who drives what in a league: its agents, their earlier selves, drivers that need no learning."""

from __future__ import annotations

import numpy as np
import pytest

from training.agents.league import LIVE, POOL, PURE_PURSUIT, Frozen, League
from training.agents.multi_agent import MultiAgentSAC
from training.config import Config, load_config
from training.envs.batch import RaceBatch
from training.sim import Track

CARS, ENVS = 3, 4
EVERYWHERE = np.ones(ENVS, dtype=np.bool_)


def settings(**changes: object) -> Config:
    overrides = {
        "training.training_type": "sac_multiagent",
        "training.num_agents": CARS,
        "multi_agent.mode": "league",
        "multi_agent.league.pool_size": 2,
        "multi_agent.league.interval": 40,
        "env.tracks": "[generated-1]",
        "env.num_envs": ENVS,
        "sac.net_arch": "[8, 8]",
        "sac.buffer_size": 1000,
        "guide.driver": "none",
        **changes,
    }
    return load_config(None, [f"{key}={value}" for key, value in overrides.items()])


def learner_of(config: Config) -> MultiAgentSAC:
    tracks = [Track.load(name) for name in config.env.tracks]
    return MultiAgentSAC(RaceBatch(config.env, tracks, config.num_cars), config, device="cpu")


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
    changes = {"live": 0.2, "pool": 0.4, "pure_pursuit": 0.3, "follow_the_gap": 0.1}
    learner = learner_of(settings(**{f"multi_agent.league.{name}": share for name, share in changes.items()}))
    league = league_of(learner)
    counts, races = np.zeros(POOL + 1), 1500
    for full in (False, True):
        counts[:] = 0
        if full:
            league.admit("another", learner.team.average_policy(0))
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
    league.admit("another", learner.team.average_policy(2))
    learner.env.counted[...] = league.live
    chosen = np.full((ENVS, CARS, 2), 0.25, dtype=np.float32)
    driven = league.drive(learner.observations, chosen)
    live = league.live
    assert np.array_equal(driven[live], chosen[live])
    assert not (driven[~live] == 0.25).any()
    expected = learner.team.average_policy(2).act(learner.observations[1, 1][None])[0]
    np.testing.assert_allclose(driven[1, 1], expected, rtol=1e-6)
    learner._step()
    assert not learner.agents[0].replay_buffer.has_any()
    assert learner.agents[1].replay_buffer.has_any()


def test_a_full_pool_is_thinned_out_and_its_drivers_keep_theirs(learner):
    """Every second generation goes; who drove one that went drives the one before it; other runs' policies stay."""
    league = league_of(learner)
    league.admit("another", learner.team.average_policy(0))
    nowhere = np.zeros(ENVS, dtype=np.bool_)
    for step in (40, 80):
        league.after_step(nowhere, step, learner.team)
    names = [one.name for one in league.pool]
    assert names == ["another", *(f"agent{a} of step {step}" for step in (40, 80) for a in range(CARS))]
    league.driver[0] = [POOL, POOL + 1 + 1, POOL + 1 + CARS + 2]  # another's; agent 1 of 40; agent 2 of 80
    league.driver[1:] = LIVE
    league.after_step(nowhere, 120, learner.team)
    assert [len(generation) for generation in league.generations] == [CARS, CARS]
    assert league.interval == 80
    driving = [league.pool[number - POOL] for number in league.driver[0]]
    assert [one.name for one in driving] == ["another", "agent1 of step 40", "agent2 of step 40"]
    assert all(isinstance(one, Frozen) for one in driving)


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
    league.admit("another", learner.team.average_policy(2))
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
    arrays, meta = league.state()
    other = league_of(learner)
    other.load_state(arrays, meta)
    np.testing.assert_array_equal(other.speed_factor, league.speed_factor)
    del arrays["league.speed_factor"]
    before = league_of(learner_of(settings()))
    before.load_state(arrays, meta)
    assert (before.speed_factor == 1.0).all()
