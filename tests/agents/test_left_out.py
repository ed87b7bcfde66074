"""Whatever part of the state a resume leaves out, the run ends elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.training_sessions import assert_same, begin, settings, several
from training.agents import replay_segments, snapshot
from training.agents.codec import SavedState
from training.agents.multi_agent import MultiAgentSAC
from training.agents.replay import CompactReplay
from training.config import Config
from training.evaluation.policy_selection import BestPolicyTracker

# Every part of the state whose loss must show in what is learnt afterwards.
ITEMS = (
    "actor",
    "critic",
    "target",
    "average",
    "log_alpha",
    "adam.actor.",
    "adam.critic.",
    "adam.alpha.",
    "world.states",
    "world.steering_queue",
    "world.tick",
    "world.episode",
    "world.friction",
    "race.scans",
    "race.previous_action",
    "episode.progress",
    "episode_length",
    "last_observations",
    "random.noise",
    "generator",  # of an agent's batches
    "generators.starts",
    "replay",
    "guides",
    "keeper",
)
# What only a league has.
LEAGUE_ITEMS = (
    "race.active",
    "race.counted",
    "league.driver",
    "league.races",
    "league.pool",
    "league.generator",
    "league.speed_factor",
)


# What only a race with places to win has.
RACE_ITEMS = (
    "race.standings_ahead",
    "race.standings_base_m",
    "race.standings_overtakes",
    "race.standings_overtaken",
    "race.standings_start_position",
    "race.overtakes_before",
    "race.faults",
)


class Saved(NamedTuple):
    config: Config
    total: int
    store: Path
    whole: dict[str, Any]
    fresh: list[SavedState]  # of the environments, then of each agent


def saved_in_the_middle(
    config: Config, store: Path, cut: int, *, until: Callable[[MultiAgentSAC], bool] = lambda _: True
) -> Saved:
    """Return a run saved at the first step from `cut` on at which `until` holds, where the uninterrupted one is 400
    steps later, and the state of a run just begun."""
    begun = begin(config, store / "fresh").parts.learner
    begun.observations = begun.env.reset()
    fresh = [snapshot.world_state_dict(begun)]
    fresh += [snapshot.agent_state_dict(begun, number) for number in range(config.num_agents)]
    first = begin(config, store / "cut")
    learner = first.parts.learner
    first.train_to(cut)
    while not until(learner):
        assert learner.num_timesteps < 2 * cut, "what the run is to be saved with has not come about"
        first.train_to(learner.num_timesteps + 1)
    first.save()
    total = learner.num_timesteps + 400
    whole = begin(config, store / "whole")
    whole.train_to(total)
    return Saved(config, total, store / "cut", whole.everything(), fresh)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Saved:
    return saved_in_the_middle(mutant_settings(), tmp_path_factory.mktemp("mutants"), 1000)


@pytest.fixture(scope="module")
def saved_league(tmp_path_factory) -> Saved:
    """Return a league of three, its pool in use, saved while a car that an agent learns from is out.

    When that is depends on the last bit of the processor's arithmetic.
    """
    return saved_in_the_middle(
        several(3, "league"),
        tmp_path_factory.mktemp("league"),
        600,
        until=lambda learner: bool((learner.league.live & ~learner.env.active).any()),
    )


@pytest.fixture(scope="module")
def saved_race(tmp_path_factory) -> Saved:
    """Return a race that pays for overtaking, saved while each count of places, earlier episodes' too, is in use."""

    def in_use(learner: MultiAgentSAC) -> bool:
        env = learner.env
        now = env.race.standings.overtakes - env._overtakes_before[0]
        return bool(env._overtakes_before.any() and now.any() and env._faults.any())

    changes = {
        "env.race.after_crash": "restart",
        "env.race.terminate_at_fault_contact": False,
        "env.race.grid_spacing_m": 1.0,
        "env.reward.overtake": 2.0,
    }
    config = several(3, "independent", **changes)
    return saved_in_the_middle(config, tmp_path_factory.mktemp("race"), 600, until=in_use)


def mutant_settings() -> Config:
    return settings(4, **{"env.reward.steering_smoothness": -0.5, "evaluation.frequency": 500})


def test_the_unharmed_state_resumes_exactly(saved):
    """The control of the tests below: with nothing left out the run is the same."""
    second = begin(saved.config, saved.store, resume=True)
    second.train_to(saved.total)
    assert_same(saved.whole, second.everything())


def without(item: str, captured: SavedState, fresh: SavedState) -> SavedState:
    """Return a state with one item as in a run just begun."""
    arrays = {
        name: fresh.arrays.get(name, np.zeros_like(array)) if name.startswith(item) else array
        for name, array in captured.arrays.items()
    }
    meta = json.loads(json.dumps(captured.meta))
    *path, name = item.split(".")
    there, new = meta, fresh.meta
    for key in path:
        there, new = there.get(key, {}), new.get(key, {})
    if name in there:
        there[name] = new[name]
    return SavedState(arrays, meta)


def resume_without(item: str, saved: Saved, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Resume with one item of the state forgotten; return where the run ends."""
    world, agent = snapshot.load_world_state_dict, snapshot.load_agent_state_dict
    monkeypatch.setattr(
        snapshot,
        "load_world_state_dict",
        lambda learner, held: world(learner, without(item, held, saved.fresh[0])),
    )
    monkeypatch.setattr(
        snapshot,
        "load_agent_state_dict",
        lambda learner, number, held: agent(learner, number, without(item, held, saved.fresh[1 + number])),
    )
    second = begin(saved.config, saved.store, resume=True)
    second.train_to(saved.total)
    return second.everything()


@pytest.mark.slow
@pytest.mark.parametrize("item", ITEMS)
def test_a_state_item_left_out_is_noticed(saved, monkeypatch, item):
    """Whatever part of the state stays as in a run just begun, the resumed run ends elsewhere."""
    if item == "replay":
        monkeypatch.setattr(replay_segments, "paste", lambda *_: None)
    if item == "guides":
        honest_paste = replay_segments.paste

        def unguided(replay: CompactReplay, *arguments: Any) -> None:
            honest_paste(replay, *arguments)
            replay.guides[:] = 0.0

        monkeypatch.setattr(replay_segments, "paste", unguided)
    if item == "keeper":
        monkeypatch.setattr(BestPolicyTracker, "load_state_dict", lambda *_: None)
    ended = resume_without(item, saved, monkeypatch)
    with pytest.raises(AssertionError):
        assert_same(saved.whole, ended)


@pytest.mark.slow
@pytest.mark.parametrize("item", LEAGUE_ITEMS)
def test_an_item_of_a_league_left_out_is_noticed(saved_league, monkeypatch, item):
    """Who is out, who drives what, and the pool are part of the state."""
    ended = resume_without(item, saved_league, monkeypatch)
    with pytest.raises(AssertionError):
        assert_same(saved_league.whole, ended)


@pytest.mark.slow
def test_an_unharmed_race_resumes_exactly(saved_race):
    """The control of the test below."""
    second = begin(saved_race.config, saved_race.store, resume=True)
    second.train_to(saved_race.total)
    assert_same(saved_race.whole, second.everything())


@pytest.mark.slow
@pytest.mark.parametrize("item", RACE_ITEMS)
def test_an_item_of_the_standings_left_out_is_noticed(saved_race, monkeypatch, item):
    """Who is ahead of whom decides what overtaking pays; how many places were won is told of each episode."""
    ended = resume_without(item, saved_race, monkeypatch)
    with pytest.raises(AssertionError):
        assert_same(saved_race.whole, ended)
