"""One agent: stable-baselines3's SAC with the compact replay and random generators of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from .replay import CompactReplay

if TYPE_CHECKING:
    from gymnasium import spaces

    from ..config import SacSettings

# Methods that torch excludes from its compiler; to exclude them, it would import the compiler: 1.8 s of a start of 8 s.
for _name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
    if hasattr(_plain := getattr(getattr(torch.optim.Optimizer, _name), "__wrapped__", None), "__code__"):
        setattr(_plain, "__dynamo_disable", _plain)  # looked up by this name in torch/_compile.py

# Far apart, so that no agent's streams are those of a run with the next seed.
_SEED_STRIDE = 1_000_003


class Spaces(NamedTuple):
    """The observation and action spaces of an agent, and the number of cars that it drives at once."""

    observation: spaces.Box
    action: spaces.Box
    num_cars: int


class Agent(SAC):
    """Hold the policy, critics, targets, entropy coefficient, replay buffer and generators of one agent.

    All of it is stable-baselines3's, and `predict` and `save` work; but `MultiAgentSAC` takes the steps and
    `BatchedAgents` makes the updates, for all agents of a run at once. number: the agent's number in its run, from 0.
    guided: its replay buffer stores the actions of the imitation term's expert.
    """

    replay_buffer: CompactReplay

    def __init__(  # noqa: PLR0913 - what it is for, and which one of its run
        self,
        spaces: Spaces,
        settings: SacSettings,
        *,
        seed: int,
        device: torch.device | str,
        number: int = 0,
        guided: bool = False,
    ) -> None:
        own_seed = (seed + number * _SEED_STRIDE) % 2**32
        super().__init__(
            "MlpPolicy",
            None,
            learning_rate=settings.learning_rate,
            buffer_size=settings.buffer_size,
            learning_starts=settings.learning_starts,
            batch_size=settings.batch_size,
            tau=settings.tau,
            gamma=settings.gamma,
            train_freq=settings.train_freq,
            gradient_steps=settings.gradient_steps,
            replay_buffer_class=CompactReplay,
            replay_buffer_kwargs={
                "guide_dim": spaces.action.shape[0] if guided else 0,
                "n_steps": settings.n_steps,
                "gamma": settings.gamma,
            },
            ent_coef=settings.ent_coef,
            # stable-baselines3's "auto", which it would look up in an environment
            target_entropy=-float(spaces.action.shape[0])
            if settings.target_entropy == "auto"
            else settings.target_entropy,
            policy_kwargs={"net_arch": list(settings.net_arch)},
            seed=own_seed,
            device=device,
            _init_setup_model=False,
        )
        # As stable-baselines3's own `load` makes a model without an environment.
        self.observation_space, self.action_space, self.n_envs = spaces
        self._setup_model()
        # Ours are written by training.metrics; the default logger would leave a folder in /tmp for every run.
        self.set_logger(Logger(None, []))
        # Batches and warm-up actions, and exploration noise, have generators of their own that a checkpoint keeps.
        self.rng = np.random.default_rng([own_seed, 1])
        self.noise = torch.Generator(device=self.device).manual_seed(own_seed)
        self.losses: dict[str, float] = {}

    @property
    def has_learnt(self) -> bool:
        """Tell whether an update was made."""
        return self._n_updates > 0
