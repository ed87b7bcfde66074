"""What a new run takes over from others, and several agents trained to the end as a user trains them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import SAC
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support import trainer_process
from training import layout
from training.agents.multi_agent import MultiAgentSAC
from training.config import Config, load_config
from training.config.resume import changed
from training.envs.batch import RaceBatch
from training.errors import ConfigurationError
from training.evaluation.load_run import config_of, policy_of, runs_in
from training.run import runner, warm_start
from training.sim import Track
from training.store.checkpoint import load
from training.store.open import open_store
from training.store.storage import Storage

pytestmark = pytest.mark.slow  # two agents are trained, in a process of their own

AGENTS = 2
QUICK = (*trainer_process.QUICK, "training.total_timesteps=2000", "tensorboard.interval_s=0.1")
SEVERAL = (*QUICK, "training.training_type=sac_multiagent", f"training.num_agents={AGENTS}")


def train(store: Path, *arguments: str, settings: tuple[str, ...] = QUICK) -> str:
    """Train in a process of its own; return what it printed."""
    given = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "training", "train", "--store", str(store), *given, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with one finished run of two agents."""
    where = tmp_path_factory.mktemp("two")
    train(where, settings=SEVERAL)
    return where


@pytest.fixture
def storage(store: Path) -> Storage:
    return open_store(str(store))


@pytest.fixture
def run(storage: Storage) -> str:
    """Return the name of the run of two agents, the first in the store."""
    return next(name for name in runs_in(storage) if config_of(storage, name).training.init_from is None)


def of(*overrides: str) -> Config:
    return load_config(None, [*SEVERAL, *overrides])


def test_two_agents_leave_one_pointer_and_for_each_a_model_and_curves(
    store: Path, storage: Storage, run: str
) -> None:
    """One checkpoint of both under one pointer; each has its own model for people, policy and curves."""
    pointers = [entry.key for entry in storage.list(f"runs/{run}/") if "latest_checkpoint" in entry.key]
    assert pointers == [f"runs/{run}/checkpoints/sac_multiagent_latest_checkpoint.json"]
    assert load(storage, run, "sac_multiagent").step == 2000
    curves = EventAccumulator(str(store / layout.metrics_prefix(run)))
    curves.Reload()
    for number in range(AGENTS):
        key = layout.model_key(run, "sac_multiagent", policy_of(storage, run, number).kept_step, number)
        model = SAC.load(store / key, device="cpu")
        assert model.predict(np.zeros(model.observation_space.shape, np.float32))[0].shape == (2,)
        losses = curves.Scalars(f"agent{number}/train/critic_loss")
        assert all(np.isfinite(point.value) for point in losses)
    both = [policy_of(storage, run, number).policy.stack.flat for number in range(AGENTS)]
    assert not np.array_equal(*both), "each learns by itself"


def test_the_way_to_another_number_of_agents_that_is_told_works(
    store: Path, storage: Storage, run: str
) -> None:
    """On a resume the number cannot change; the command of that error begins a run of so many, with these networks.

    It needs nothing of what the first run was begun with: here only what makes it short is given besides.
    """
    with pytest.raises(
        ConfigurationError, match=r"num_agents=3: training\.num_agents cannot change"
    ) as refused:
        changed(config_of(storage, run), ["training.num_agents=3"], run)
    told = str(refused.value.next_step).splitlines()[0]
    arguments = shlex.split(told[told.index("--init-from") :])
    short = tuple(setting for setting in QUICK if not setting.startswith("sac.net_arch"))
    assert f"3 agents begin with the networks of {AGENTS} of run {run}, step 2,000" in train(
        store, *arguments, settings=short
    )
    (begun,) = (name for name in runs_in(storage) if name != run)
    assert config_of(storage, begun).num_agents == 3


def test_agents_begin_with_the_networks_of_the_agents_of_the_other_run(storage: Storage, run: str) -> None:
    """Agent n gets those of agent n, counted round."""
    config = of("training.num_agents=3", f"training.init_from={run}")
    tracks = [Track.load(name) for name in config.env.tracks]
    learner = MultiAgentSAC(RaceBatch(config.env, tracks, config.num_cars), config, device="cpu")
    before = [agent.actor.mu.weight.detach().numpy().copy() for agent in learner.agents]
    said: list[str] = []
    warm_start.load_initial_policies(learner, config.policy_sources, storage, "new", said.append)
    assert said == [f"3 agents begin with the networks of {AGENTS} of run {run}, step 2,000"]
    assert learner.imitation_coef() == 0.0, "who has learnt needs no guide"
    after = [agent.actor.mu.weight.detach().numpy() for agent in learner.agents]
    assert np.array_equal(after[0], after[2])
    assert not np.array_equal(after[0], after[1])
    assert not any(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_networks_that_learnt_with_other_meanings_are_taken_and_that_is_said(
    storage: Storage, run: str
) -> None:
    """A higher cap is a way to go on learning; what the networks mean by full speed changes with it."""
    config = of(f"training.init_from={run}", "env.speed_cap_mps=9")
    tracks = [Track.load(name) for name in config.env.tracks]
    learner = MultiAgentSAC(RaceBatch(config.env, tracks, config.num_cars), config, device="cpu")
    said: list[str] = []
    warm_start.load_initial_policies(learner, config.policy_sources, storage, "new", said.append)
    assert said[1:] == [
        "they learnt with env.speed_cap_mps = 8.0, not 9.0 as here, and have to learn that again"
    ]


def test_a_run_that_goes_on_says_what_it_does_not_take_from_a_file(
    store: Path, run: str, tmp_path: Path
) -> None:
    """Its number of agents is its own; given as it is, a setting is no change."""
    file = tmp_path / "mine.yaml"
    same = ("training.training_type=sac_multiagent", f"training.num_agents={AGENTS}")
    for number in (AGENTS, 3):
        file.write_text(f"training:\n  num_agents: {number}\n", encoding="utf-8")
        said = train(store, "--resume", run, "--config", str(file), settings=same if number == AGENTS else ())
        told = f"not taken from {file}: training.num_agents = 3, here {AGENTS}"
        assert (told in said) == (number == 3)
        assert ("not taken" in said) == (number == 3)


def test_settings_that_would_do_nothing_begin_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="of 2 or more, not 1"):
        runner.train(of("training.num_agents=1", "multi_agent.mode=league"), store=str(tmp_path))
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize(
    ("override", "message", "way"),
    [
        ("training.init_from=nobody", "training.init_from = nobody: ", None),
        ("sac.net_arch=[16, 8]", r"layers of \d+-16-16-4 units, .* would have \d+-16-8-4", "sac.net_arch"),
        ("env.proprioception=false", "layers of", "env.proprioception"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    storage: Storage, run: str, override: str, message: str, way: str | None
) -> None:
    """A run that is not there, another shape: the error names it, and what to set."""
    with pytest.raises(ConfigurationError, match=message) as refused:
        warm_start.check(of(f"training.init_from={run}", override).policy_sources, storage)
    assert way is None or way in str(refused.value.next_step)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", "multi_agent.league.checkpoints: nobody: "),
        ("{run}:7", "has no agent 7"),
        ("{run}:first", "'{run}:first' names no policy of a run"),
        ("{run}@7", "has no policy of agent 0 at step 7; there are: "),
    ],
)
def test_a_pool_with_a_missing_checkpoint_is_refused(
    storage: Storage, run: str, name: str, message: str
) -> None:
    """A league is told before it begins which of its opponents is not there."""
    league = ("multi_agent.mode=league", f"multi_agent.league.checkpoints=[{name.format(run=run)!r}]")
    with pytest.raises(ConfigurationError, match=message.format(run=run)):
        warm_start.check(of(*league).policy_sources, storage)


def test_a_pool_whose_policies_have_another_shape_is_refused(storage: Storage, run: str) -> None:
    """The layers of both are named."""
    league = ("multi_agent.mode=league", f"multi_agent.league.checkpoints=[{run}]", "sac.net_arch=[8, 8]")
    with pytest.raises(ConfigurationError, match=rf"{run}: its policies have layers of \d+-16-16-4 units"):
        warm_start.check(of(*league).policy_sources, storage)
