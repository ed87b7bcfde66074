"""Gymnasium's VectorEnv straight over the batched core: all environments step in one call, on all processor cores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from .batch import RaceBatch
from .drivers.opponents import Opponents
from .options import check_opponents, settings_from, tracks_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..sim import Track
    from .options import Settings


class RaceVectorEnv(VectorEnv[Any, Any, Any]):
    """Drive the first car of each of E environments; what `gymnasium.make_vec("F1Tenth-v0", num_envs=E)` makes.

    An environment restarts in the step that ends its episode (AutoresetMode.SAME_STEP): infos has "final_obs" of it,
    and "episode" with the figures of `RaceBatch` (r return, l length, laps, best_lap_s …). Environment e drives on
    tracks[e % len(tracks)]: those of `track`, else of the settings. Other arguments: as `RaceEnv`.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - Gymnasium's own

    def __init__(
        self,
        num_envs: int = 1,
        settings: Settings = None,
        track: Track | str | Sequence[Track | str] | None = None,
        *,
        opponents: Sequence[str] = (),
    ) -> None:
        self.settings = settings_from(settings).model_copy(update={"num_envs": num_envs})
        self.num_envs = num_envs
        self._tracks = tracks_from(track, self.settings)
        self._opponents = Opponents(check_opponents(opponents), self.settings)
        self.batch = self._make_batch(0)
        self.single_observation_space = self.batch.observation_space
        self.single_action_space = self.batch.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002 - Gymnasium's signature
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Restart all environments; seed: a new stream of starts and noise, of a list its first."""
        first = seed[0] if isinstance(seed, list) else seed
        super().reset(seed=first)
        if first is not None:
            self.batch = self._make_batch(first)
        observations = self.batch.reset()
        self._opponents.reset()
        return observations[:, 0], {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Take one decision in each environment, actions (E, 2); return observations (E, D), rewards (E,) and ends."""
        all_cars = self._opponents.act(self.batch.race)
        all_cars[:, 0] = actions
        step = self.batch.step(all_cars)
        if step.restarted.any():
            self._opponents.reset(step.restarted)
        infos: dict[str, Any] = {}
        for e, n, figures in step.episodes:
            if n == 0:
                infos = self._add_info(
                    infos, {"final_obs": step.next_observations[e, 0], "episode": figures}, e
                )
        rewards = step.rewards[:, 0].astype(np.float64)
        return step.observations[:, 0], rewards, step.terminated[:, 0], step.truncated[:, 0], infos

    def _make_batch(self, seed: int) -> RaceBatch:
        batch = RaceBatch(self.settings, self._tracks, 1 + len(self._opponents.names), seed)
        batch.counted[:, 1:] = False  # a race ends with its learner's
        return batch
