"""The kept policy as a stable-baselines3 model for people to download; we never read one back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import torch
from stable_baselines3 import SAC

if TYPE_CHECKING:
    from training.agents.policy import Policy
    from training.agents.sac import FastSAC


def model_zip(learner: FastSAC, policy: Policy) -> bytes:
    """Return a zip for `stable_baselines3.SAC.load`: the learner's networks, the actor being the given policy.

    `SAC.load` unpickles: load only files you trust.
    """
    model = SAC(
        "MlpPolicy",
        learner.env,
        learning_rate=learner.learning_rate,
        buffer_size=1,
        batch_size=learner.batch_size,
        gamma=learner.gamma,
        tau=learner.tau,
        policy_kwargs={"net_arch": list(learner.policy.net_arch)},
        device="cpu",
    )
    held = learner.update.actor.flat.clone()
    with torch.no_grad():
        try:
            learner.update.actor.flat.copy_(policy.stack.flat)
            model.policy.load_state_dict(learner.policy.state_dict())
        finally:
            learner.update.actor.flat.copy_(held)
    model.num_timesteps = learner.num_timesteps
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()
