"""A run as training leaves it, made in a second: its policy is written by hand and laps all the same."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training import layout
from training.agents.policy import Policy
from training.config import Config, load_config
from training.envs import observation
from training.metrics.event_file import EventFile
from training.store.checkpoint import CheckpointData, CheckpointRef, RunWriter, claim
from training.store.storage import Storage

STEP, KEPT_STEP = 60_000, 41_000
# Short tracks: a lap takes ten seconds, and a test a fraction of one.
QUICK = (
    "env.tracks=[generated-1-l60]",
    "evaluation.tracks=[generated-3-l60]",
    "evaluation.starts=3",
    "training.max_minutes=2.0",
)


def driver_by_hand(config: Config, *, boldness: float = 1.2) -> Policy:
    """Return a network that steers where there is more room and drives faster the further it sees."""
    beams = config.env.beams
    policy = straight_on(config)
    weights, biases = policy.stack.weights, policy.stack.biases
    for weight in weights[:-1]:
        weight[0, :beams, :beams] = torch.eye(beams)  # the newest scan, handed on
    angle_rad = np.linspace(-2.35, 2.35, beams)
    sides = np.where(np.abs(angle_rad) < 1.6, np.sin(angle_rad), 0.0)
    ahead = np.exp(-((angle_rad / 0.25) ** 2))
    weights[-1][0, 0, :beams] = torch.from_numpy(8.0 * sides / np.abs(sides).sum())
    weights[-1][0, 1, :beams] = torch.from_numpy(boldness * ahead / ahead.sum())
    biases[-1][0, 0, 1] = -1.0
    return policy


def straight_on(config: Config) -> Policy:
    """Return a network without weights: it never steers, and hits the first wall in its way."""
    return Policy([observation.size(config.env), *config.sac.net_arch, 4])


def make_run(storage: Storage, name: str, *overrides: str, policy: Policy | None = None) -> Config:
    """Leave a finished run without curves in a store; its policy laps unless another one is given."""
    config = load_config(None, [*QUICK, *overrides], "local")
    storage.put(layout.config_key(name), json.dumps(config.to_json_dict()).encode())
    lineage = claim(storage, name, config.training.training_type, 1)
    save_policy(lineage, policy or driver_by_hand(config), STEP)
    return config


def save_policy(lineage: RunWriter, policy: Policy, step: int) -> CheckpointRef:
    """Commit a checkpoint with a kept policy, and what training says beside it."""
    return save_policies(lineage, [policy], step)


def save_policies(
    lineage: RunWriter, policies: Sequence[Policy], step: int, best_agent: int = 0
) -> CheckpointRef:
    """Commit a checkpoint with the kept policy of each agent, and which of them laps best."""
    kept = {"step": KEPT_STEP, "completed": 20, "starts": 20, "mean_speed_mps": 5.2}
    meta: dict[str, Any] = {
        "kept": [kept] * len(policies),
        "best_agent": best_agent,
        "elapsed_s": 118.0,
        "laps": 900,
    }
    members = {layout.kept_member(number): policy.encode() for number, policy in enumerate(policies)}
    return lineage.commit(step, CheckpointData(members, meta={**meta, "machine": {"torch": "2.13.0"}}))


def put_curves(storage: Storage, name: str, folder: Path) -> str:
    """Write an event file such as training does, and put it into the store; return its key."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    events = EventFile(folder, first_step=0)
    for step in range(1_000, STEP, 1_000):
        done = 1.0 - math.exp(-step / 15_000)
        values = {
            "rollout/reward": 110.0 * done + rng.normal(0.0, 6.0),
            "rollout/terms/progress": 115.0 * done + rng.normal(0.0, 6.0),
            "rollout/terms/collision": -5.0 * (1.0 - done),
            "rollout/crash_rate": max(0.0, 1.0 - done + rng.normal(0.0, 0.04)),
            "rollout/laps": float(step // 70),
            "train/critic_loss": 0.1 + 3.0 * (1.0 - done) * rng.uniform(0.6, 1.4),
            "train/ent_coef": math.exp(-4.0 * done),
            "time/steps_per_s": rng.normal(900.0, 60.0),
        }
        if step % 10_000 == 0:
            values |= {"evaluation/completed": min(1.0, done + 0.05), "evaluation/mean_speed_mps": 6.0 * done}
        events.add_scalars(step, values)
    events.close()
    key = f"{layout.metrics_prefix(name)}/{events.path.name}"
    storage.put(key, events.path)
    return key
