"""One car with Gymnasium's API, for users with their own algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..config import EnvSettings
from ..sim import Track
from . import observation
from .race import Race

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RaceEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Drive one car on one track by actions in [-1, 1]: steering angle and speed.

    Observation (D,) float32: see training.envs.observation. An episode terminates by a collision or by driving the
    wrong way, and is truncated at `max_episode_s`. info: reward terms by name, progress_m, laps, and
    lap_s once there is one.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration; the report draws videos

    def __init__(self, settings: EnvSettings | None = None, track: Track | None = None) -> None:
        self.settings = settings or EnvSettings()
        self.track = track or Track.load(self.settings.tracks[0])
        low, high = observation.bounds(self.settings)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
        self.race = Race(self.settings, [self.track], 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Restart the race; seed: a new stream of starts and noise; options: {"pose": (x m, y m, yaw rad)}."""
        super().reset(seed=seed)
        if seed is not None:
            self.race = Race(self.settings, [self.track], 1, seed=seed)
        pose = None if not options else options.get("pose")
        poses = None if pose is None else np.asarray(pose, dtype=np.float64).reshape(1, 1, 3)
        return self.race.reset(poses=poses)[0, 0], self._info({})

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one decision."""
        outcome = self.race.step(np.asarray(action, dtype=np.float64).reshape(1, 1, 2))
        terminated = bool(outcome.terminated[0, 0])
        return (
            outcome.observations[0, 0],
            float(outcome.rewards[0, 0]),
            terminated,
            bool(outcome.truncated[0]) and not terminated,
            self._info({name: float(values[0, 0]) for name, values in outcome.terms.items()}),
        )

    def _info(self, terms: dict[str, float]) -> dict[str, Any]:
        laps = self.race.laps
        info: dict[str, Any] = {
            "terms": terms,
            "progress_m": float(self.race.world.progress_m[0, 0]),
            "laps": int(laps.done[0, 0]),
        }
        if info["laps"]:
            info["lap_s"] = float(laps.last_s[0, 0])
        return info
