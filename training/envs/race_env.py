"""One learning car with Gymnasium's API, alone or against drivers, for users with their own algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

from . import observation
from .drivers.opponents import Opponents
from .info import car_info
from .options import check_opponents, settings_from, tracks_from
from .race import Race
from .rendering.view import RENDER_MODES, Renderer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..sim import Track
    from .options import Settings


class RaceEnv(gymnasium.Env[np.ndarray[Any, Any], np.ndarray[Any, Any]]):
    """Drive one car on one track by actions (2,) in [-1, 1]: steering angle and speed; ids F1Tenth-v0, F1TenthRace-v0.

    Observation (D,) float32: see `ScanStack` in observation.py. An episode terminates by a collision or by driving the
    wrong way, and is truncated at `max_episode_s`. info: reward terms by name, progress_m, laps, lap_s (once there is
    one); against opponents also position, gaps, overtakes and contacts, as in the parallel environment.

    settings: of the group env, as an object or a mapping such as {"beams": 54, "reward": {"collision": -5}}. track: an
    object, a name or the path of a map's yaml; the first of the settings' tracks without it. opponents: names of
    drivers, one for each other car. render_mode: "human" (a window), "rgb_array" (pictures (540, 960, 3)) or None.

    Raises:
        ConfigurationError: a setting or an opponent is unknown, or the track's grid holds fewer cars.
        TrackError: there is no such track, or its map is broken.
        ValueError: there is no such render mode.

    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012 - Gymnasium's own

    def __init__(
        self,
        settings: Settings = None,
        track: Track | str | None = None,
        *,
        opponents: Sequence[str] = (),
        render_mode: str | None = None,
    ) -> None:
        self.settings = settings_from(settings)
        self.track = tracks_from(track, self.settings)[0]
        low, high = observation.bounds(self.settings)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
        self._opponents = Opponents(check_opponents(opponents), self.settings)
        self.render_mode, self._renderer = render_mode, Renderer(render_mode)
        self.race = self._make_race(0)
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.race.decision_s)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Restart the race; seed: a new stream of starts and noise.

        options: {"pose": (x m, y m, yaw rad)} of a car alone, or {"poses": (N, 3)} of all cars, the learner's first.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.race = self._make_race(seed)
        observations = self.race.reset(poses=self._poses(options or {}))
        self._opponents.reset()
        self._renderer.begin(self.race)
        return observations[0, 0], car_info(self.race, None, 0)

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one decision."""
        actions = self._opponents.act(self.race)
        actions[0, 0] = action
        outcome = self.race.step(actions)
        self._renderer.show()
        terminated = bool(outcome.terminated[0, 0])
        seen = outcome.observations
        if self.race.num_cars > 1 and not terminated:
            seen = self.race.clear_crashed(outcome)
        return (
            seen[0, 0],
            float(outcome.rewards[0, 0]),
            terminated,
            bool(outcome.truncated[0]) and not terminated,
            car_info(self.race, outcome, 0),
        )

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture (540, 960, 3) in mode rgb_array; None in mode human, where each step shows its own."""
        return self._renderer.frame()

    def close(self) -> None:
        """Close the window."""
        self._renderer.close()

    def _make_race(self, seed: int) -> Race:
        return Race(self.settings, [self.track], 1, 1 + len(self._opponents.names), seed=seed)

    def _poses(self, options: dict[str, Any]) -> NDArray[np.float64] | None:
        given = options.get("poses", options.get("pose"))
        if given is None:
            return None
        return np.asarray(given, dtype=np.float64).reshape(1, self.race.num_cars, 3)
