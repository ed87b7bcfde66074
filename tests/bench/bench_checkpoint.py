"""What a checkpoint costs, with a million transitions of the default observation in the buffer.

    make bench ARGS="-k bench_checkpoint"

Goals: training with a checkpoint every 50,000 steps less than 1 % slower than without; the final save after a notice
under 5 s and the restore under 15 s, to a real S3 server (seaweedfs) on this machine; beside them stable-baselines3's
own save and save_replay_buffer of the same state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.buffers import ReplayBuffer

from tests.support.servers import Bucket
from training.agents.multi_agent import MultiAgentSAC
from training.agents.replay import ReplayRow
from training.config import Config, load_config
from training.envs.batch import RaceBatch
from training.evaluation.policy_selection import BestPolicyTracker
from training.run.checkpointing import SavedParts, Saver
from training.sim import Track
from training.store.checkpoint import claim
from training.store.open import open_store

TRANSITIONS = 1_000_000
RUN, TYPE = "cost", "sac"
Record = Callable[[str, dict[str, object]], None]
Seconds = Callable[..., None]


def build(bucket: Bucket, config: Config, attempt: int) -> tuple[SavedParts, Saver]:
    tracks = [Track.load(name) for name in config.env.tracks]
    learner = MultiAgentSAC(RaceBatch(config.env, tracks), config, device="cpu")
    parts = SavedParts(
        learner, [BestPolicyTracker(config.evaluation, config.env, tracks, sizes=learner.sizes)]
    )
    lineage = claim(open_store(bucket.url, bucket.aws), RUN, TYPE, attempt)
    return parts, Saver(parts, lineage, config.training, say=pytest.fail)


def drive(parts: SavedParts, saver: Saver, steps: int) -> None:
    """Fill the replay with what random driving gives, uploading as training does."""
    learner = parts.learner
    env, replay = learner.env, learner.agents[0].replay_buffer
    learner.observations = env.reset()
    rng = np.random.default_rng(0)
    while learner.num_timesteps < steps:
        # Gentle random driving: episodes of some length, observations like those of a driver.
        actions = np.column_stack([0.3 * rng.standard_normal(env.num_envs), rng.uniform(-1, 0, env.num_envs)])
        actions = np.clip(actions, -1, 1).astype(np.float32)[:, None]
        step = env.step(actions)
        ended = step.terminated | step.truncated
        parts_of_row = (learner.observations, actions, step.rewards, step.next_observations)
        replay.store(ReplayRow(*(part[:, 0] for part in (*parts_of_row, step.terminated, ended))))
        learner.observations = step.observations
        learner.num_timesteps += env.num_envs
        saver.collect()


@pytest.mark.bench
def test_the_final_save_and_the_restore(
    weed_url: Bucket, tmp_path: Path, record_bench: Record, record_seconds: Seconds
) -> None:
    """The tail, weights and optimizers are all that a notice has to wait for; the rest is there already."""
    config = load_config(None, [f"sac.buffer_size={TRANSITIONS}"], preset="local")
    parts, saver = build(weed_url, config, 1)
    drive(parts, saver, TRANSITIONS)
    saver.finish({})  # everything up to here is durable, as in a run that saves every 50,000 steps
    drive(parts, saver, TRANSITIONS + 25_000)
    began = time.perf_counter()
    saver.finish({}, not_after=time.monotonic() + 100)
    save_s = time.perf_counter() - began
    saver.close()

    again, restorer = build(weed_url, config, 2)
    began = time.perf_counter()
    restorer.restore(restorer._lineage.load())
    restore_s = time.perf_counter() - began
    agent = parts.learner.agents[0]
    replay = agent.replay_buffer
    assert again.learner.agents[0].replay_buffer.size() == replay.size()

    plain = ReplayBuffer(
        TRANSITIONS, agent.observation_space, agent.action_space, n_envs=agent.n_envs, device="cpu"
    )
    rows = min(plain.buffer_size, replay.rows - 1)
    plain.observations[:rows] = replay.observations[:rows]
    plain.next_observations[:rows] = replay.observations[1 : rows + 1]
    plain.full = True
    began = time.perf_counter()
    agent.replay_buffer = plain
    agent.save_replay_buffer(tmp_path / "buffer.pkl")
    agent.replay_buffer = replay
    buffer_s = time.perf_counter() - began
    began = time.perf_counter()
    agent.save(tmp_path / "model.zip")
    model_s = time.perf_counter() - began
    record_bench(
        "checkpoint",
        {
            "transitions": TRANSITIONS,
            "final save s": round(save_s, 2),
            "restore s": round(restore_s, 2),
            "stable-baselines3 save s": round(model_s, 2),
            "stable-baselines3 save_replay_buffer s": round(buffer_s, 2),
            "stable-baselines3 bytes": sum(
                (tmp_path / n).stat().st_size for n in ("buffer.pkl", "model.zip")
            ),
            "our bytes in S3": sum(e.size for e in open_store(weed_url.url, weed_url.aws).list("runs/")),
        },
    )
    taken, goals = {"final save": save_s, "restore": restore_s}, {"final save": 5.0, "restore": 15.0}
    record_seconds("checkpoint", taken, goals)
    assert save_s < 5
    assert restore_s < 15


@pytest.mark.bench
def test_training_with_checkpoints_beside_training_without(
    weed_url: Bucket, record_bench: Record, record_seconds: Seconds
) -> None:
    """The same steps, in turns, with a save every 50,000 steps and with none; the trainer's own time is compared."""
    config = load_config(None, ["env.tracks=[generated-1]"], preset="local")
    parts, saver = build(weed_url, config, 1)
    learner = parts.learner
    spent = {"training": 0.0, "collecting": 0.0, "copying": 0.0}
    marks = {"next": 50_000, "saves": 0}
    began = time.perf_counter()

    def boundary() -> bool:
        start = time.perf_counter()
        saver.collect()
        spent["collecting"] += time.perf_counter() - start
        if learner.num_timesteps >= marks["next"]:
            start = time.perf_counter()
            marks["saves"] += saver.start({})
            spent["copying"] += time.perf_counter() - start
            marks["next"] += 50_000
        return learner.num_timesteps < 110_000

    learner.at_boundary = boundary
    learner.learn(10**9)
    spent["training"] = time.perf_counter() - began
    saver.finish({})
    saver.close()
    share = (spent["collecting"] + spent["copying"]) / spent["training"]
    row = {k: round(v, 3) for k, v in spent.items()}
    record_bench("checkpoint overhead", {**row, "saves": marks["saves"], "share %": round(100 * share, 3)})
    what = "what 110,000 steps spend on two checkpoints"
    record_seconds(
        "checkpoint", {what: spent["collecting"] + spent["copying"]}, {what: 0.01 * spent["training"]}
    )
    assert marks["saves"] == 2
    assert share < 0.01
