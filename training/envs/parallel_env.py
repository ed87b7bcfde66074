"""Several cars in one race, PettingZoo's parallel API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from ..config import EnvSettings
from ..sim import Track
from . import observation
from .race import Race

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .race import Outcome


class RaceParallelEnv(ParallelEnv[str, np.ndarray, np.ndarray]):
    """Race N cars, "car_0" to "car_N-1", by actions in [-1, 1]: steering angle and speed.

    A car that crashes or drives the wrong way terminates, leaves `agents` and is taken off the track. With
    `env.race.after_crash: restart` it continues elsewhere instead and does not terminate, because the API lets no agent
    come back; info says "crashed" and has the "terminal_observation". All remaining cars are truncated at
    `max_episode_s`.

    info of a car: reward terms, progress_m, laps, position, gap_ahead_m, gap_behind_m, overtakes, overtaken, crashed,
    wall, at_fault, hit (by another car, without fault), hit_car (its number, -1 for none).
    """

    metadata = {"name": "f1tenth_race_v0", "render_modes": []}  # noqa: RUF012 - PettingZoo's own declaration

    def __init__(
        self, num_cars: int = 2, settings: EnvSettings | None = None, track: Track | None = None
    ) -> None:
        self.settings = settings or EnvSettings()
        self.track = track or Track.load(self.settings.tracks[0])
        self.possible_agents = [f"car_{n}" for n in range(num_cars)]
        self.agents: list[str] = []
        self.render_mode = None
        low, high = observation.bounds(self.settings)
        self._observation_space = spaces.Box(low, high, dtype=np.float32)
        self._action_space = spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
        self.race = Race(self.settings, [self.track], 1, num_cars)

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
        late = bool(outcome.truncated[0])
        stays = self.settings.race.after_crash == "restart" and len(self.possible_agents) > 1
        racing = [(name, self._index(name)) for name in self.agents]
        terminated = {name: bool(outcome.terminated[0, n]) and not stays for name, n in racing}
        truncated = {name: late and not terminated[name] for name, _ in racing}
        infos = {name: self._info(outcome, n) for name, n in racing}
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

    def _info(self, outcome: Outcome, n: int) -> dict[str, Any]:
        standings, contacts = self.race.standings, outcome.contacts
        info = {
            "terms": {name: float(values[0, n]) for name, values in outcome.terms.items()},
            "progress_m": float(self.race.world.progress_m[0, n]),
            "laps": int(self.race.laps.done[0, n]),
            "position": int(standings.position[0, n]),
            "gap_ahead_m": float(standings.gap_ahead_m[0, n]),
            "gap_behind_m": float(standings.gap_behind_m[0, n]),
            "overtakes": int(standings.overtakes[0, n]),
            "overtaken": int(standings.overtaken[0, n]),
            "crashed": bool(outcome.terminated[0, n]),
            "wall": bool(contacts.wall[0, n]),
            "at_fault": bool(contacts.at_fault[0, n]),
            "hit": bool(contacts.hit[0, n]),
            "hit_car": int(self.race.world.collision_idx[0, n]),
        }
        if outcome.terminated[0, n]:
            info["terminal_observation"] = outcome.observations[0, n]
        return info

    def _index(self, name: str) -> int:
        return self.possible_agents.index(name)

    def _seed_spaces(self, seed: int) -> None:
        self._action_space.seed(seed)
        self._observation_space.seed(seed)
