"""A run that was interrupted ends in the same bits as one that was not, with one agent and with several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.devices import DEVICES
from training import layout
from training.agents import replay_segments, snapshot
from training.agents.codec import decode
from training.agents.league import POOL, PromotionResult
from training.agents.multi_agent import MultiAgentSAC
from training.agents.policy import Policy
from training.config import Config, load_config
from training.envs.batch import RaceBatch
from training.errors import DataError
from training.evaluation.policy_selection import BestPolicyTracker
from training.rng import seed_everything
from training.run.checkpointing import SavedParts, Saver
from training.run.step_hooks import Episodes
from training.sim import Track
from training.store.checkpoint import claim
from training.store.open import open_store

RUN = "exact"
MODES = ("independent", "shared", "league")


class Session(NamedTuple):
    parts: SavedParts
    saver: Saver
    episodes: list[Episodes]  # of each agent

    def train_to(self, steps: int) -> None:
        """Train to the first boundary at or after so many timesteps."""
        learner = self.parts.learner

        def boundary() -> bool:
            self.saver.collect()
            for keeper in self.parts.keepers:
                if keeper.due(learner.num_timesteps):
                    keeper.evaluate(learner)
            return learner.num_timesteps < steps

        learner.at_boundary = boundary
        learner.learn(10**6)

    def meta(self) -> dict[str, Any]:
        """Return what the runner puts into a checkpoint beside the learner's state, as far as a resume needs it."""
        return {"episodes": [own.state_dict() for own in self.episodes]}

    def save(self) -> None:
        self.saver.finish(self.meta())
        self.saver.close()

    def everything(self) -> dict[str, Any]:
        """Return all arrays and counters of the present state, replay included."""
        learner, keepers = self.parts
        world = snapshot.world_state_dict(learner)
        found: dict[str, Any] = {**world.arrays, "meta": world.meta}
        for number, (agent, keeper) in enumerate(zip(learner.agents, keepers, strict=True)):
            captured = snapshot.agent_state_dict(learner, number)
            kept, kept_meta = keeper.state_dict()
            replay = agent.replay_buffer
            rows = replay_segments.cut(replay, replay.steps - replay.size(), replay.steps - 1)
            own = {**captured.arrays, **kept, **{f"replay.{name}": array for name, array in rows.items()}}
            own |= {"meta": captured.meta, "kept_meta": kept_meta}
            found |= {f"{layout.agent_name(number)}.{name}": value for name, value in own.items()}
        return found | self.meta()


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
        "sac.learning_rate_end": 1e-4,
        "sac.lr_decay_timesteps": 1100,
        # Still there when a run is resumed, gone before its end.
        "imitation.timesteps": 1100,
        "evaluation.frequency": 600,
        "evaluation.starts": 2,
        **changes,
    }
    return load_config(None, [f"{key}={value}" for key, value in overrides.items()])


def several(agents: int, mode: str, **changes: object) -> Config:
    """Return settings of a few cars that learn together, crash often and meet a pool that grows."""
    return settings(
        4,
        **{
            "training.training_type": "sac_multiagent",
            "training.num_agents": agents,
            "multi_agent.mode": mode,
            "multi_agent.league.snapshot_interval": 200,
            "multi_agent.league.pool_size": 2,
            "multi_agent.league.speed_factor": "[0.6, 1.0]",
            "sac.buffer_size": 1000,
            "sac.learning_starts": 100,
            "imitation.timesteps": 1000,
            **changes,
        },
    )


def policy_of_another_run(sizes: Sequence[int]) -> Policy:
    policy = Policy(sizes)
    policy.stack.flat.normal_(std=0.1, generator=torch.Generator().manual_seed(5))
    return policy


def every_second(_challenger: Policy, _champions: Sequence[Policy], step: int) -> PromotionResult:
    """Let every second challenger become champion; nobody here would by laps and races."""
    return PromotionResult(step // 200 % 2 == 1)


def begin(config: Config, store: Path, *, resume: bool = False, device: str = "cpu") -> Session:
    """Build a session as the runner does; `resume` restores the newest checkpoint."""
    seed = config.training.seed
    seed_everything(seed if not resume else seed + 99)  # a resume must not depend on what seeding left behind
    tracks = [Track.load(name) for name in config.env.tracks]
    env = RaceBatch(config.env, tracks, config.num_cars, seed)
    learner = MultiAgentSAC(env, config, device=device, contest=every_second)
    if learner.league is not None and not resume:  # a resume has them from the checkpoint
        for name in config.multi_agent.league.checkpoints:
            learner.league.add(name, policy_of_another_run(learner.sizes))
    keepers = [
        BestPolicyTracker(
            config.evaluation, config.env, tracks,
            sizes=learner.sizes, num_cars=config.num_cars, agent=number,
        )
        for number in range(config.num_agents)
    ]  # fmt: skip
    parts = SavedParts(learner, keepers)
    storage = open_store(str(store))
    lineage = claim(storage, RUN, config.training.training_type, attempt=2 if resume else 1)
    saver = Saver(parts, lineage, config.training, say=pytest.fail)
    episodes = [Episodes() for _ in learner.agents]
    learner.on_episode = lambda number, figures: episodes[number].note(figures)
    if resume:
        for own, held in zip(episodes, saver.restore(lineage.load())["episodes"], strict=True):
            own.load_state_dict(held)
    return Session(parts, saver, episodes)


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
    assert first.saver.start(first.meta())
    first.train_to(int(kind.total * (part + 0.1)))
    first.saver._running.result()
    second = begin(kind.config, tmp_path, resume=True)
    assert_same(saved, second.everything())
    second.train_to(kind.total)
    assert_same(uninterrupted[kind], second.everything())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("agents", "mode"),
    [
        *((2, mode) for mode in MODES),
        *(pytest.param(4, mode, marks=pytest.mark.slow) for mode in MODES),
    ],
)
def test_several_agents_resume_exactly(tmp_path, agents, mode, device):
    """Networks, replay and generators of every agent, the pool and who drives what: all as without the break."""
    config = several(agents, mode, **{"multi_agent.league.checkpoints": "[other]"})
    total = 1400 if mode != "shared" else 1400 * agents
    whole = begin(config, tmp_path / "whole", device=device)
    whole.train_to(total)
    first = begin(config, tmp_path / "cut", device=device)
    first.train_to(int(0.6 * total))
    first.save()
    second = begin(config, tmp_path / "cut", resume=True, device=device)
    assert_same(first.everything(), second.everything())
    second.train_to(total)
    assert_same(whole.everything(), second.everything())
    if mode == "league":
        assert [one.name for one in second.parts.learner.league.external] == ["other"]
        assert len(whole.parts.learner.league.pool) > agents
        assert whole.parts.learner.league.interval > 200, "the pool has never been thinned out"


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shared_policy", [False, True])
def test_a_league_of_champions_resumes_exactly(tmp_path, shared_policy, device):
    """Each agent's line, and what is kept: the newest champion; rewards hang on who is ahead."""
    changes = {"champions": True, "shared_policy": shared_policy}
    config = several(
        2,
        "league",
        **{f"multi_agent.league.{key}": value for key, value in changes.items()},
        **{"evaluation.frequency": 200, "env.reward.lead": 0.2},
    )
    whole = begin(config, tmp_path / "whole", device=device)
    whole.train_to(1700)
    first = begin(config, tmp_path / "cut", device=device)
    first.train_to(900)
    first.save()
    assert (first.parts.learner.league.driver >= POOL).any(), "no champion drives when it is saved"
    second = begin(config, tmp_path / "cut", resume=True, device=device)
    assert_same(first.everything(), second.everything())
    second.train_to(1700)
    assert_same(whole.everything(), second.everything())
    assert len(second.parts.learner.agents) == (1 if shared_policy else 2)
    for line, keeper in zip(second.parts.learner.league.champions, second.parts.keepers, strict=True):
        assert [one.step // 200 for one in line] == [5, 7], "of four champions the pool holds two"
        assert keeper.best.step == line[-1].step


def test_a_checkpoint_of_another_number_of_agents_is_refused(tmp_path):
    """What does not belong to this run's agents is an error that names both numbers."""
    first = begin(several(2, "independent"), tmp_path)
    first.train_to(100)
    first.save()
    with pytest.raises(DataError, match="holds 2 agents, the settings ask for 3"):
        begin(several(3, "independent"), tmp_path, resume=True)


def test_agents_that_were_not_saved_together_are_refused(tmp_path):
    """The optimizers' counters of steps are one for all agents; the error tells both numbers and a way out."""
    first = begin(several(2, "independent"), tmp_path / "first")
    first.train_to(200)
    early = snapshot.agent_state_dict(first.parts.learner, 0)
    first.train_to(300)
    late = snapshot.agent_state_dict(first.parts.learner, 1)
    made, more = (int(one.arrays["adam.actor.step"]) for one in (early, late))
    assert 0 < made < more
    learner = begin(several(2, "independent"), tmp_path / "second").parts.learner
    snapshot.load_agent_state_dict(learner, 0, early)
    with pytest.raises(
        DataError, match=f"agent 1 has made {more} updates, those before it {made}"
    ) as refused:
        snapshot.load_agent_state_dict(learner, 1, late)
    assert "--at STEP" in refused.value.next_step


def test_the_checkpoint_holds_no_pickle(tmp_path, monkeypatch):
    """A resume never unpickles: every such call raises here."""
    config = settings(4)
    first = begin(config, tmp_path)
    first.train_to(700)
    first.save()
    import pickle

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


def test_members_hold_what_their_names_say(tmp_path):
    """The stored arrays decode by themselves and name networks, optimizers, generators and the simulator."""
    first = begin(several(2, "independent"), tmp_path)
    first.train_to(300)
    first.save()
    checkpoint = claim(open_store(str(tmp_path)), RUN, "sac_multiagent", attempt=2).load()
    assert {segment.agent for segment in checkpoint.manifest.segments} <= {"agent0", "agent1"}
    for number in range(2):
        member = layout.learner_member(number)
        arrays = decode(checkpoint.read(member), what=member)
        for name in ("actor", "critic", "target", "average", "log_alpha", "adam.critic.exp_avg_sq"):
            assert name in arrays
    world = decode(checkpoint.read(layout.WORLD_MEMBER), what="world")
    assert "world.states" in world
