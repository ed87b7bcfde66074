"""A small run without a runner: begun, trained, saved, and compared with another in every array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from training import layout
from training.agents import replay_segments, snapshot
from training.agents.league import PromotionResult
from training.agents.multi_agent import MultiAgentSAC
from training.agents.policy import Policy
from training.config import Config, load_config
from training.envs.batch import RaceBatch
from training.evaluation.policy_selection import BestPolicyTracker
from training.rng import seed_everything
from training.run.checkpointing import SavedParts, Saver
from training.run.step_hooks import Episodes
from training.sim import Track
from training.store.checkpoint import claim
from training.store.open import open_store

RUN = "exact"


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
        """Return what the runner puts into a checkpoint besides the learner's state, as far as a resume needs it."""
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
        "sac.lr_decay_start": 0,
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
    """Let every second challenger become champion; by laps and races none would here."""
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
