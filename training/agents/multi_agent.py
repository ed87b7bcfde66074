"""One or several agents that learn in the same races: act, step, store, update, for all of them at once.

Modes (setting `multi_agent.mode`):
    independent  agent n drives car n of every environment, and learns from what that car met
    shared       one agent drives all cars and learns from all: self-play
    league       as independent, but in each race some cars are driven by frozen policies or by drivers without learning

A single car (training_type sac) is one agent that drives car 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.agents.league import League
from training.agents.replay import Row
from training.agents.sac import Agent, Spaces
from training.agents.team import Team

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.agents.policy import Policy
    from training.config import Config
    from training.envs.batch import RaceBatch, Step


class MultiAgentSAC:
    """Let A agents learn in E environments of N cars.

    A timestep is one decision of one agent; all agents make as many: E in each step of the environments, E × N where
    one agent drives all cars. `at_boundary` is called at the one point where nothing is half done, before a round of
    steps: there a checkpoint is exact, and returning False ends `learn`. `on_step` sees every step.
    """

    def __init__(self, env: RaceBatch, config: Config, *, device: torch.device | str) -> None:
        self.env, self._settings = env, config.sac
        self.mode = config.multi_agent.mode if env.num_cars > 1 else "independent"
        count = config.num_agents
        surface = Spaces(env.observation_space, env.action_space, env.num_envs * env.num_cars // count)
        seed = config.training.seed
        self.agents = [Agent(surface, config.sac, seed=seed, device=device, number=a) for a in range(count)]
        compute = torch.bfloat16 if config.training.mixed_precision else torch.float32
        self.team = Team(self.agents, config.sac.average_tau, compute)
        self.league = League(config, env, self.team.average.sizes) if self.mode == "league" else None
        self._learnt_before = config.training.init_from is not None
        self.at_boundary: Callable[[], bool] = lambda: True
        self.on_episode: Callable[[int, dict[str, Any]], None] = lambda _agent, _figures: None
        self.num_timesteps = 0  # decisions of each agent
        self.observations: NDArray[np.float32] | None = None  # (E, N, D); None before the first step

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the widths of the policies' layers."""
        return self.team.average.sizes

    def average_policy(self, agent: int = 0) -> Policy:
        """Return a copy of an agent's averaged policy."""
        return self.team.average_policy(agent)

    def learn(self, total_timesteps: int) -> None:
        """Go on until each agent has made so many decisions, or the boundary says that it is time to stop."""
        if self.observations is None:
            self.observations = self.env.reset()
            if self.league is not None:
                self.league.redraw(np.ones(self.env.num_envs, dtype=np.bool_))
        while self.num_timesteps < total_timesteps and self.at_boundary():
            for _ in range(self._settings.train_freq):
                self._step()
            if self.num_timesteps > self._settings.learning_starts and self._all_can_learn():
                self.team.train(self._settings.gradient_steps, self._settings.batch_size)

    def _step(self) -> None:
        seen = self._by_agent(self.observations)
        chosen = self._explore(seen)
        actions = self._by_car(chosen)
        if self.league is not None:
            actions = self.league.drive(self.observations, actions)
        step = self.env.step(actions)
        self.num_timesteps += self.agents[0].n_envs
        self._store(seen, chosen, step)
        self.observations = step.observations
        self._tell(step)
        if self.league is not None:
            self.league.after_step(step.restarted, self.num_timesteps, self.team)

    def _explore(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return actions (A, K, 2): uniform ones until learning starts, then samples of the policies.

        Policies that have learnt in another run drive from the first step on.
        """
        if self._learnt_before or self.num_timesteps >= self._settings.learning_starts:
            return self.team.explore(seen)
        size = (self.agents[0].n_envs, 2)
        return np.stack([agent.rng.uniform(-1.0, 1.0, size=size).astype(np.float32) for agent in self.agents])

    def _store(self, seen: NDArray[np.float32], chosen: NDArray[np.float32], step: Step) -> None:
        used = step.active if self.league is None else step.active & self.league.live
        idle = None if used.all() else self._by_agent(~used)
        following, rewards, terminated, ended = (
            self._by_agent(part)
            for part in (
                step.next_observations,
                step.rewards,
                step.terminated,
                step.terminated | step.truncated,
            )
        )
        for a, agent in enumerate(self.agents):
            parts = (seen[a], chosen[a], rewards[a], following[a], terminated[a], ended[a])
            agent.replay_buffer.store(Row(*parts, None if idle is None else idle[a]))

    def _tell(self, step: Step) -> None:
        for e, n, figures in step.episodes:
            if self.league is None or self.league.live[e, n]:
                self.on_episode(0 if self.mode == "shared" else n, figures)

    def _all_can_learn(self) -> bool:
        return all(agent.replay_buffer.has_any() for agent in self.agents)

    def _by_agent(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values of cars (E, N, ·) as those of agents (A, K, ·)."""
        if self.mode == "shared":
            return values.reshape(1, -1, *values.shape[2:])
        return np.ascontiguousarray(np.moveaxis(values, 1, 0))

    def _by_car(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values of agents (A, K, ·) as those of cars (E, N, ·)."""
        if self.mode == "shared":
            return values.reshape(self.env.num_envs, self.env.num_cars, *values.shape[2:])
        return np.moveaxis(values, 0, 1)
