"""A run that was interrupted ends in the same bits as one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from training.agents import replay_segments, state
from training.agents.codec import decode
from training.agents.replay import CompactReplay
from training.agents.sac import FastSAC
from training.config import Config, load_config
from training.envs.vec_env import RaceVecEnv
from training.keeper import Keeper
from training.rng import seed_everything
from training.saver import LEARNER, Parts, Saver
from training.sim import Track
from training.store.checkpoint import claim
from training.store.opening import open_store

RUN, TYPE = "exact", "sac"


class Session(NamedTuple):
    parts: Parts
    saver: Saver

    def train_to(self, steps: int) -> None:
        """Train to the first boundary at or after so many timesteps."""
        learner = self.parts.learner

        def boundary() -> bool:
            self.saver.collect()
            if self.parts.keeper.due(learner.num_timesteps):
                self.parts.keeper.judge(learner)
            return learner.num_timesteps < steps

        learner.at_boundary = boundary
        fresh = learner.num_timesteps == 0
        learner.learn(10**6 - learner.num_timesteps, log_interval=None, reset_num_timesteps=fresh)

    def save(self) -> None:
        self.saver.finish({})
        self.saver.close()

    def everything(self) -> dict[str, Any]:
        """Return all arrays and counters of the present state, replay included."""
        learner, env, keeper = self.parts
        captured = state.capture(learner, env)
        kept, kept_meta = keeper.state()
        replay = learner.replay_buffer
        newest = replay_segments.cut(replay, replay.steps - replay.size(), replay.steps - 1)
        return {
            **captured.arrays,
            **kept,
            **{f"replay.{name}": array for name, array in newest.items()},
            "meta": captured.meta,
            "kept_meta": kept_meta,
        }


def settings(num_envs: int, **changes: object) -> Config:
    overrides = {
        "env.tracks": "[generated-1, generated-2]",
        "env.num_envs": num_envs,
        "env.scan_noise_m": 0.01,
        "env.max_episode_s": 3.0,
        "env.randomisation.friction_factor": "[0.8, 1.2]",
        "sac.net_arch": "[32, 32]",
        "sac.batch_size": 32,
        "sac.buffer_size": 1500,
        "sac.learning_starts": 200,
        "sac.gradient_steps": 2,
        # Still there when a run is resumed, gone before its end.
        "guide.timesteps": 1100,
        "evaluation.frequency": 600,
        "evaluation.starts": 2,
        **changes,
    }
    return load_config(None, [f"{key}={value}" for key, value in overrides.items()])


def begin(config: Config, store: Path, *, resume: bool = False) -> Session:
    """Build a session as the runner does; `resume` restores the newest checkpoint."""
    seed = config.training.seed
    seed_everything(seed if not resume else seed + 99)  # a resume must not depend on what seeding left behind
    tracks = [Track.load(name) for name in config.env.tracks]
    env = RaceVecEnv(config.env, tracks, seed, config.guide.driver)
    learner = FastSAC(env, config.sac, seed=seed, device="cpu", guide=config.guide)
    parts = Parts(learner, env, Keeper(config, tracks))
    storage = open_store(str(store))
    lineage = claim(storage, RUN, TYPE, attempt=2 if resume else 1)
    saver = Saver(parts, lineage, config, say=pytest.fail)
    if resume:
        saver.restore(lineage.load())
    return Session(parts, saver)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other[name], err_msg=name)
        else:
            # As JSON text: nan must equal nan.
            assert json.dumps(value, sort_keys=True) == json.dumps(other[name], sort_keys=True), name


class Kind(NamedTuple):
    """A kind of run, with its number of updates a timestep in its name."""

    num_envs: int
    train_freq: int
    gradient_steps: int
    total: int

    @property
    def config(self) -> Config:
        changes = {"sac.train_freq": self.train_freq, "sac.gradient_steps": self.gradient_steps}
        return settings(self.num_envs, **changes, **{"sac.buffer_size": 1000})


KINDS = {
    "1 environment, 1 update": Kind(1, 1, 1, 500),
    "1 environment, 1/4 update": Kind(1, 4, 1, 1200),
    "16 environments, 1 update": Kind(16, 1, 16, 640),
    "16 environments, 1/24 update": Kind(16, 3, 2, 2400),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[Kind, dict[str, Any]]:
    """Return where each kind of run ends if nobody interrupts it; filled as it is needed."""

    class Ends(dict[Kind, dict[str, Any]]):
        def __missing__(self, kind: Kind) -> dict[str, Any]:
            whole = begin(kind.config, tmp_path_factory.mktemp("whole"))
            whole.train_to(kind.total)
            self[kind] = whole.everything()
            return self[kind]

    return Ends()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("part", [0.2, 0.75])
def test_resumed_equals_uninterrupted(tmp_path, uninterrupted, kind, part):
    """Before and after learning starts, with a ring that has wrapped, every array is the same to the last bit.

    The save goes up in the background while training goes on, and what is trained after it is lost.
    """
    first = begin(kind.config, tmp_path)
    first.train_to(int(kind.total * part))
    saved = first.everything()
    assert first.saver.start({})
    first.train_to(int(kind.total * (part + 0.1)))
    first.saver._running.result()
    second = begin(kind.config, tmp_path, resume=True)
    assert_same(saved, second.everything())
    second.train_to(kind.total)
    assert_same(uninterrupted[kind], second.everything())


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
    "generators.batches",
    "generators.starts",
    "replay",
    "guides",
    "keeper",
)


class Saved(NamedTuple):
    store: Path
    whole: dict[str, Any]
    fresh: state.Captured


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Saved:
    """Return a run saved in the middle, where the uninterrupted one ended, and the state of a run just begun."""
    config = mutant_settings()
    store = tmp_path_factory.mktemp("mutants")
    begun = begin(config, store / "fresh")
    begun.parts.learner._setup_learn(1)
    fresh = state.capture(begun.parts.learner, begun.parts.env)
    whole = begin(config, store / "whole")
    whole.train_to(1400)
    first = begin(config, store / "cut")
    first.train_to(1000)
    first.save()
    return Saved(store / "cut", whole.everything(), fresh)


def mutant_settings() -> Config:
    return settings(4, **{"env.reward.steering_smoothness": -0.5, "evaluation.frequency": 500})


def test_the_unharmed_state_resumes_exactly(saved):
    """The control of the test below: with nothing left out the run is the same."""
    second = begin(mutant_settings(), saved.store, resume=True)
    second.train_to(1400)
    assert_same(saved.whole, second.everything())


@pytest.mark.slow
@pytest.mark.parametrize("item", ITEMS)
def test_a_state_item_left_out_is_noticed(saved, monkeypatch, item):
    """Whatever part of the state stays as in a run just begun, the resumed run ends elsewhere."""
    honest = state.restore

    def forgetful(learner: FastSAC, env: RaceVecEnv, captured: state.Captured) -> None:
        arrays = {
            name: saved.fresh.arrays.get(name, np.zeros_like(array)) if name.startswith(item) else array
            for name, array in captured.arrays.items()
        }
        meta = json.loads(json.dumps(captured.meta))
        if item.startswith("generators."):
            name = item.removeprefix("generators.")
            meta["generators"][name] = saved.fresh.meta["generators"][name]
        honest(learner, env, state.Captured(arrays, meta))

    monkeypatch.setattr(state, "restore", forgetful)
    if item == "replay":
        monkeypatch.setattr(replay_segments, "paste", lambda *_: None)
    if item == "guides":
        honest_paste = replay_segments.paste

        def unguided(replay: CompactReplay, *arguments: Any) -> None:
            honest_paste(replay, *arguments)
            replay.guides[:] = 0.0

        monkeypatch.setattr(replay_segments, "paste", unguided)
    if item == "keeper":
        monkeypatch.setattr(Keeper, "load_state", lambda *_: None)
    second = begin(mutant_settings(), saved.store, resume=True)
    second.train_to(1400)
    with pytest.raises(AssertionError):
        assert_same(saved.whole, second.everything())


def test_the_checkpoint_holds_no_pickle(tmp_path, monkeypatch):
    """A resume never unpickles: every such call raises here."""
    config = settings(4)
    first = begin(config, tmp_path)
    first.train_to(700)
    first.save()
    import pickle

    import torch

    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("something was unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    second = begin(config, tmp_path, resume=True)
    assert second.parts.learner.num_timesteps == first.parts.learner.num_timesteps


def test_other_settings_are_refused_by_name(tmp_path):
    """A checkpoint of another network is an error that names the array, not a run that learns nonsense."""
    first = begin(settings(4), tmp_path)
    first.train_to(300)
    first.save()
    with pytest.raises(Exception, match="actor"):
        begin(settings(4, **{"sac.net_arch": "[16, 16]"}), tmp_path, resume=True)


def test_the_learner_member_holds_what_its_name_says(tmp_path):
    """The stored arrays decode by themselves and name networks, optimizers, generators and the simulator."""
    first = begin(settings(4), tmp_path)
    first.train_to(300)
    first.save()
    checkpoint = claim(open_store(str(tmp_path)), RUN, TYPE, attempt=2).load()
    arrays = decode(checkpoint.read(LEARNER), what=LEARNER)
    for name in (
        "actor",
        "critic",
        "target",
        "average",
        "log_alpha",
        "adam.critic.exp_avg_sq",
        "world.states",
    ):
        assert name in arrays
