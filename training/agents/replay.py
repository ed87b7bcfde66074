"""The replay buffer: every observation stored once, sampled in one gather for a whole round of updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

if TYPE_CHECKING:
    from gymnasium import spaces
    from numpy.typing import NDArray
    from stable_baselines3.common.vec_env import VecNormalize


class Transitions(NamedTuple):
    """Sampled transitions, each (n, ·) float32."""

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    rewards: NDArray[np.float32]
    discounts: NDArray[np.float32]  # of the value of the next observation; 0 where the episode terminated
    guides: NDArray[np.float32]  # actions of the imitation term's expert; (n, 0) without one


class ReplayRow(NamedTuple):
    """One step of E cars, arrays (E, ·)."""

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    next_observations: NDArray[np.float32]  # that the step led to, at an episode's end its last one
    terminated: NDArray[np.bool_]
    ended: NDArray[np.bool_]  # terminated or truncated
    # Actions of the imitation term's expert, NO_GUIDE where it teaches nothing.
    guides: NDArray[np.float32] | None = None
    masked: NDArray[np.bool_] | None = None  # nothing to learn from: out of the race, or driven by others


# Instead of the number of an episode's end.
WITHIN, IDLE = -1, -2


class CompactReplay(ReplayBuffer):
    """Keep `buffer_size` transitions of E cars in a ring of rows, one row a step.

    A transition's next observation is the next row's observation, except at the end of an episode, where it is stored
    separately in `final_observations`. Memory per transition: 4 (D + actions + 1) + 9 bytes, with an expert 4 more for
    each of its actions, and 4 D per episode.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - stable-baselines3's signature
        self,
        buffer_size: int,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        device: Any = "cpu",  # noqa: ANN401 - stable-baselines3's signature
        n_envs: int = 1,
        guide_dim: int = 0,
        n_steps: int = 1,
        gamma: float = 0.99,
        **_unused: object,
    ) -> None:
        """Take stable-baselines3's arguments, the width of a guide's action, and how returns are summed.

        n_steps: rewards of so many steps are summed, each discounted by gamma, before the next value.
        """
        self.n_steps, self.gamma = n_steps, gamma
        rows = max(buffer_size // n_envs, 2)
        super(ReplayBuffer, self).__init__(rows, observation_space, action_space, device, n_envs=n_envs)
        width = observation_space.shape[0]
        # np.zeros maps untouched pages lazily: a large ring costs memory only as it fills. One row more than
        # transitions: the newest row's next observation.
        self.observations = np.zeros((rows + 1, n_envs, width), dtype=np.float32)
        self.actions = np.zeros((rows + 1, n_envs, self.action_dim), dtype=np.float32)
        self.rewards = np.zeros((rows + 1, n_envs), dtype=np.float32)
        self.dones = np.zeros((rows + 1, n_envs), dtype=np.bool_)
        # The actions of the imitation term's expert in each step, if there was one.
        self.guides = np.zeros((rows + 1, n_envs, guide_dim), dtype=np.float32)
        # Number of the episode's end among all ends so far; WITHIN an episode; IDLE where there is no transition.
        self.final_number = np.full((rows + 1, n_envs), WITHIN, dtype=np.int64)
        self.final_observations = np.zeros((64, width), dtype=np.float32)
        self.episode_ends = 0  # ends so far
        self.dropped = 0  # ends whose rows have been overwritten; rows and ends go in the same order
        self.steps = 0  # rows written so far
        self.last_used = -1  # the newest row, by that count, with anything to learn from

    @property
    def rows(self) -> int:
        """Rows of the ring, one more than it holds transitions per environment."""
        return len(self.observations)

    def size(self) -> int:
        """Return the number of complete rows."""
        return min(self.steps, self.rows - 1)

    def store(self, step: ReplayRow) -> None:
        """Store one step of all cars."""
        row = self.steps % self.rows
        self.observations[row] = step.observations
        self.actions[row] = step.actions
        self.rewards[row] = step.rewards
        self.dones[row] = step.terminated
        self.guides[row] = 0.0 if step.guides is None else step.guides
        self.dropped += int((self.final_number[row] >= 0).sum())
        self.final_number[row] = WITHIN if step.masked is None else np.where(step.masked, IDLE, WITHIN)
        ended = step.ended if step.masked is None else step.ended & ~step.masked
        for e in np.flatnonzero(ended):
            self.final_number[row, e] = self.keep_final(step.next_observations[e])
        if step.masked is None or not step.masked.all():
            self.last_used = self.steps
        self.steps += 1
        self.observations[self.steps % self.rows] = step.next_observations
        self.pos, self.full = self.steps % self.rows, self.steps >= self.rows - 1

    def can_sample(self) -> bool:
        """Tell whether there is a transition to learn from."""
        return self.last_used >= max(0, self.steps - self.size())

    def truncate_open_episodes(self) -> None:
        """End every episode at the newest row, as if truncated there: the next row does not follow from it."""
        if self.steps == 0:
            return
        row = (self.steps - 1) % self.rows
        for e in np.flatnonzero(self.final_number[row] == WITHIN):
            self.final_number[row, e] = self.keep_final(self.observations[self.steps % self.rows, e])

    def sample_transitions(self, rng: np.random.Generator, count: int) -> Transitions:
        """Draw `count` transitions uniformly, with replacement; there must be one (`can_sample`)."""
        row, env = self._draw(rng, count)
        while (masked := self.final_number[row, env] == IDLE).any():
            row[masked], env[masked] = self._draw(rng, int(masked.sum()))
        return self.at(row, env)

    def _draw(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        size = self.size()
        row = (self.steps - size + rng.integers(0, size, size=count)) % self.rows
        return row, rng.integers(0, self.n_envs, size=count)

    def at(self, row: NDArray[np.int64], env: NDArray[np.int64]) -> Transitions:
        """Return the transitions at ring rows and environments, both (n,).

        One of several steps ends with its episode, and before what a car did not do itself or has not done yet: as
        truncated there, so that its rewards are fewer and its discount is that of fewer steps.
        """
        rewards, last, discounts = self._returns(row, env)
        next_observations = self.observations[(last + 1) % self.rows, env]
        number = self.final_number[last, env]
        ended = number >= 0
        if ended.any():
            next_observations[ended] = self.final_observations[number[ended] % len(self.final_observations)]
        return Transitions(
            self.observations[row, env],
            self.actions[row, env],
            next_observations,
            rewards,
            np.where(self.dones[last, env], np.float32(0.0), discounts),
            self.guides[row, env],
        )

    def _returns(
        self, row: NDArray[np.int64], env: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Return the discounted rewards of up to n_steps, the row of the last, and the discount of what follows."""
        rewards, last = self.rewards[row, env], row.copy()
        discounts = np.full(len(row), self.gamma, dtype=np.float32)
        newest = (self.steps - 1) % self.rows
        goes_on = self.final_number[row, env] == WITHIN
        for _ in range(self.n_steps - 1):
            following = (last + 1) % self.rows
            number = self.final_number[following, env]
            goes_on &= (last != newest) & (number != IDLE)
            rewards += np.where(goes_on, discounts * self.rewards[following, env], np.float32(0.0))
            discounts *= np.where(goes_on, np.float32(self.gamma), np.float32(1.0))
            last = np.where(goes_on, following, last)
            goes_on &= number == WITHIN
        return rewards, last, discounts

    def add(self, *_step: object) -> None:
        """Refuse stable-baselines3's way of storing: `store` knows of cars that are out of the race."""
        raise NotImplementedError("CompactReplay is filled by store(row)")

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:  # noqa: ANN401
        """Refuse this method: `sample_transitions` takes the generator that a resume restores."""
        raise NotImplementedError("CompactReplay is sampled by sample_transitions(rng, count)")

    def keep_final(self, observation: NDArray[np.float32]) -> int:
        """Keep an episode's last observation and return its number; ends leave in the order they came."""
        capacity = len(self.final_observations)
        if self.episode_ends - self.dropped >= capacity:
            live = np.arange(self.episode_ends - capacity, self.episode_ends)
            grown = np.zeros((2 * capacity, self.final_observations.shape[1]), dtype=np.float32)
            grown[live % (2 * capacity)] = self.final_observations[live % capacity]
            self.final_observations = grown
        self.final_observations[self.episode_ends % len(self.final_observations)] = observation
        self.episode_ends += 1
        return self.episode_ends - 1
