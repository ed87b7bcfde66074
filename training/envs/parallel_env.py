"""Several cars in one race, PettingZoo's parallel API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from . import observation
from .info import car_info
from .options import settings_from, tracks_from
from .race import Race
from .rendering.view import RENDER_MODES, Renderer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..sim import Track
    from .options import Settings


class RaceParallelEnv(ParallelEnv[str, np.ndarray, np.ndarray]):
    """Race N cars, "car_0" to "car_N-1", by actions in [-1, 1]: steering angle and speed.

    A car that crashes or drives the wrong way terminates, leaves `agents` and is taken off the track. With
    `env.race.after_crash: restart` it continues elsewhere instead and does not terminate, because the API lets no agent
    come back; info says "crashed" and has the "terminal_observation". All remaining cars are truncated at
    `max_episode_s`.

    info of a car: see `car_info`; after a crash with "terminal_observation". settings, track, render_mode: as
    `RaceEnv`; pictures follow car_0.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "f1tenth_race_v0",
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
    }

    def __init__(
        self,
        num_cars: int = 2,
        settings: Settings = None,
        track: Track | str | None = None,
        *,
        render_mode: str | None = None,
    ) -> None:
        self.settings = settings_from(settings)
        self.track = tracks_from(track, self.settings)[0]
        self.possible_agents = [f"car_{n}" for n in range(num_cars)]
        self.agents: list[str] = []
        self.render_mode, self._renderer = render_mode, Renderer(render_mode)
        low, high = observation.bounds(self.settings)
        self._observation_space = spaces.Box(low, high, dtype=np.float32)
        self._action_space = spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
        self.race = Race(self.settings, [self.track], 1, num_cars)
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.race.decision_s)}  # type: ignore[misc]

    def observation_space(self, agent: str) -> spaces.Box:  # noqa: ARG002 - all cars see alike
        """Return the observations' space, the same for every car."""
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Box:  # noqa: ARG002 - all cars drive alike
        """Return the actions' space, the same for every car."""
        return self._action_space

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Start a race; seed: a new stream of starts and noise; options: {"poses": (N, 3)}."""
        if seed is not None:
            self.race = Race(self.settings, [self.track], 1, len(self.possible_agents), seed=seed)
            self._seed_spaces(seed)
        self.agents = list(self.possible_agents)
        poses = None if not options or "poses" not in options else np.asarray(options["poses"])[None]
        observations = self.race.reset(poses=poses)
        self._renderer.begin(self.race)
        return {name: observations[0, n] for n, name in enumerate(self.agents)}, {a: {} for a in self.agents}

    def step(
        self, actions: dict[str, NDArray[Any]]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Take one decision of every car that is still racing."""
        everyone = np.zeros((1, len(self.possible_agents), 2))
        for name, action in actions.items():
            everyone[0, self._index(name)] = action
        outcome = self.race.step(everyone)
        self._renderer.show()
        late = bool(outcome.truncated[0])
        stays = self.settings.race.after_crash == "restart" and len(self.possible_agents) > 1
        racing = [(name, self._index(name)) for name in self.agents]
        terminated = {name: bool(outcome.terminated[0, n]) and not stays for name, n in racing}
        truncated = {name: late and not terminated[name] for name, _ in racing}
        infos = {name: car_info(self.race, outcome, n) for name, n in racing}
        for name, n in racing:
            if outcome.terminated[0, n]:
                infos[name]["terminal_observation"] = outcome.observations[0, n]
        self.agents = [name for name in self.agents if not (terminated[name] or truncated[name])]
        # No agent acts on the observations after the last step.
        observations = self.race.clear_crashed(outcome) if self.agents else outcome.observations
        return (
            {name: observations[0, n] for name, n in racing},
            {name: float(outcome.rewards[0, n]) for name, n in racing},
            terminated,
            truncated,
            infos,
        )

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture (540, 960, 3) in mode rgb_array; None in mode human, where each step shows its own."""
        return self._renderer.frame()

    def close(self) -> None:
        """Close the window."""
        self._renderer.close()

    def _index(self, name: str) -> int:
        return self.possible_agents.index(name)

    def _seed_spaces(self, seed: int) -> None:
        self._action_space.seed(seed)
        self._observation_space.seed(seed)
