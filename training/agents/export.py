"""A kept policy as a stable-baselines3 model for people to download; we never read one back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import NStepReplayBuffer

from .batched_agents import actor_layers
from .stacked_mlp import StackedMlp

if TYPE_CHECKING:
    from .policy import Policy
    from .sac import Agent


def model_zip(agent: Agent, policy: Policy, step: int) -> bytes:
    """Return a zip for `stable_baselines3.SAC.load`: an agent's networks, with the given policy as actor.

    It contains the run's batch and buffer sizes, so that `SAC.load(file, env).learn(…)` continues as the run trained,
    except that the replay buffer begins empty. It needs numpy 2: the pickles of its spaces name modules that numpy 1
    does not have. `SAC.load` unpickles: load only files you trust.
    """
    steps = agent.replay_buffer.n_steps
    model = SAC(
        "MlpPolicy",
        None,
        learning_rate=agent.learning_rate,
        buffer_size=1,
        batch_size=agent.batch_size,
        gamma=agent.gamma,
        # stable-baselines3's own n_steps would warn at each load.
        replay_buffer_class=NStepReplayBuffer if steps > 1 else None,
        replay_buffer_kwargs={"n_steps": steps, "gamma": agent.gamma} if steps > 1 else None,
        tau=agent.tau,
        target_entropy=agent.target_entropy,
        policy_kwargs={"net_arch": list(agent.policy.net_arch)},
        device="cpu",
        _init_setup_model=False,
    )
    model.observation_space, model.action_space, model.n_envs = agent.observation_space, agent.action_space, 1
    model._setup_model()  # noqa: SLF001 - as stable-baselines3's own `load` does
    model.policy.load_state_dict(agent.policy.state_dict())
    with torch.no_grad():
        stack = StackedMlp(1, policy.stack.sizes)
        stack.bind(0, actor_layers(model.actor))
        stack.flat.copy_(policy.stack.flat)
    model.num_timesteps = step
    # Set after the set-up, which would ask for the memory of a whole buffer.
    for name in ("buffer_size", "learning_starts", "train_freq", "gradient_steps"):
        setattr(model, name, getattr(agent, name))
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()
