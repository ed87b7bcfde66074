"""stable-baselines3's VecEnv straight over the batched core: no subprocesses, no copies per environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from training.envs import observation
from training.envs.opponents import make_driver
from training.envs.race import Race

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

    from training.config import EnvSettings
    from training.sim import Track


class RaceVecEnv(VecEnv):
    """Train one car per environment; an environment restarts in the step that ends its episode.

    `infos[e]` holds "terminal_observation" and "TimeLimit.truncated" (stable-baselines3's names; a truncated episode
    is not a terminated one) and "episode": return r, length l, laps, best_lap_s, progress_m, collided, reward terms.
    """

    def __init__(
        self, settings: EnvSettings, tracks: Sequence[Track], seed: int = 0, guide: str = "none"
    ) -> None:
        self.render_mode = None  # stable-baselines3 asks for it
        self.race = Race(settings, tracks, settings.num_envs, 1, seed)
        self.guide = None if guide == "none" else make_driver(guide, settings.speed_cap_mps)
        low, high = observation.bounds(settings)
        super().__init__(
            settings.num_envs,
            spaces.Box(low, high, dtype=np.float32),
            spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
        )
        self._actions = np.zeros((settings.num_envs, 1, 2))
        self._length = np.zeros(settings.num_envs, dtype=np.int64)
        self._sums: dict[str, NDArray[np.float64]] = {}

    def reset(self) -> VecEnvObs:
        """Restart all environments; return observations (E, D)."""
        self._length[:] = 0
        for total in self._sums.values():
            total[:] = 0.0
        return self.race.reset()[:, 0]

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions (E, 2) for `step_wait`."""
        self._actions = np.asarray(actions)[:, None, :]

    def step_wait(self) -> VecEnvStepReturn:
        """Step; return observations (E, D), rewards (E,), dones (E,) and an info dict per environment."""
        outcome = self.race.step(self._actions)
        terminated = outcome.terminated[:, 0]
        dones = terminated | outcome.truncated
        self._add_up(outcome.terms)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        observations = outcome.observations[:, 0]
        if dones.any():
            for e in np.flatnonzero(dones):
                infos[e]["terminal_observation"] = observations[e]
                infos[e]["TimeLimit.truncated"] = bool(not terminated[e])
                infos[e]["episode"] = self._episode(e)
            observations = self.race.reset(dones)[:, 0]
            self._length[dones] = 0
            for total in self._sums.values():
                total[dones] = 0.0
        return observations, outcome.rewards[:, 0].astype(np.float32), dones, infos

    def guide_actions(self) -> NDArray[np.float64]:
        """Return what the guide would do now, actions (E, 2); the map is known to it."""
        return self.race.actions_of(self.guide.act(self.race.world))[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        return {
            **self.race.state_dict(),
            "length": self._length.copy(),
            "sums": {name: total.copy() for name, total in self._sums.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.race.load_state_dict(state)
        self._length[...] = state["length"]
        self._sums = {name: total.copy() for name, total in state["sums"].items()}

    def _add_up(self, terms: dict[str, NDArray[np.float64]]) -> None:
        self._length += 1
        for name, values in terms.items():
            total = self._sums.setdefault(name, np.zeros(self.num_envs))
            total += values[:, 0]

    def _episode(self, e: int) -> dict[str, Any]:
        # Sorted: the sum must not depend on the order in which a resume happened to restore the terms.
        terms = {name: float(self._sums[name][e]) for name in sorted(self._sums)}
        return {
            "r": sum(terms.values()),
            "l": int(self._length[e]),
            "t": float(self.race.world.time_s[e]),
            "laps": int(self.race.laps.done[e, 0]),
            "best_lap_s": float(self.race.laps.best_s[e, 0]),
            "progress_m": float(self.race.world.progress_m[e, 0]),
            "collided": bool(self.race.world.collisions[e, 0]),
            "terms": terms,
        }

    def close(self) -> None:
        """Nothing is open."""

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
