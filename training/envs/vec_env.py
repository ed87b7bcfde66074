"""stable-baselines3's VecEnv straight over the batched core: no subprocesses, no copies per environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from .batch import RaceBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

    from ..config import EnvSettings
    from ..sim import Track


class RaceVecEnv(VecEnv):
    """Train one car per environment; an environment restarts in the step that ends its episode.

    `infos[e]` holds "terminal_observation" and "TimeLimit.truncated" (stable-baselines3's names; a truncated episode
    is not a terminated one) and "episode": return r, length l, laps, best_lap_s, progress_m, lap_share (progress
    over the length of a lap), collided, reward terms.
    """

    def __init__(self, settings: EnvSettings, tracks: Sequence[Track], seed: int = 0) -> None:
        self.render_mode = None  # stable-baselines3 asks for it
        self.batch = RaceBatch(settings, tracks, 1, seed)
        self.race = self.batch.race
        super().__init__(settings.num_envs, self.batch.observation_space, self.batch.action_space)
        self._actions: NDArray[Any] = np.zeros((settings.num_envs, 1, 2))

    def reset(self) -> VecEnvObs:
        """Restart all environments; return observations (E, D)."""
        return self.batch.reset()[:, 0]

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions (E, 2) for `step_wait`."""
        self._actions = np.asarray(actions)[:, None, :]

    def step_wait(self) -> VecEnvStepReturn:
        """Step; return observations (E, D), rewards (E,), dones (E,) and an info dict per environment."""
        step = self.batch.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for e, _, figures in step.episodes:
            infos[e]["terminal_observation"] = step.next_observations[e, 0]
            infos[e]["TimeLimit.truncated"] = bool(step.truncated[e, 0])
            infos[e]["episode"] = figures
        return step.observations[:, 0], step.rewards[:, 0], step.restarted, infos

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        return self.batch.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exactly what `state_dict` returned."""
        self.batch.load_state_dict(state)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of this object, once for each chosen environment."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:  # noqa: ANN401
        """Refuse: the environments are one object."""
        msg = f"set_attr({attr_name!r}): the environments of a RaceVecEnv are one object; change its settings instead"
        raise NotImplementedError(msg)

    def env_method(
        self,
        method_name: str,
        *args: Any,  # noqa: ANN401 - stable-baselines3's signature
        indices: VecEnvIndices = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[Any]:
        """Refuse: the environments are one object."""
        msg = f"env_method({method_name!r}): the environments of a RaceVecEnv are one object; call race.{method_name}"
        raise NotImplementedError(msg)

    def env_is_wrapped(
        self,
        wrapper_class: type,  # noqa: ARG002 - stable-baselines3's signature
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        """Tell stable-baselines3 that no wrapper is there; episode statistics are in the infos already."""
        return [False for _ in self._get_indices(indices)]
