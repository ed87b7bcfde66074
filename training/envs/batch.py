"""Races that restart by themselves: what learners step, for any number of cars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium import spaces

from . import observation
from .race import Race

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..config import EnvSettings
    from ..sim import Track
    from .race import Contacts, Outcome


class Step(NamedTuple):
    """The result of one decision of every car; E environments, N cars.

    The transition of car n in environment e counts for learning if `active[e, n]`: from the previous observation, by
    its action, to next_observations[e, n] with rewards[e, n]; terminated[e, n] says whether it ended the episode for
    good.
    """

    observations: NDArray[np.float32]  # (E, N, D) to act on next: after restarts
    next_observations: NDArray[np.float32]  # (E, N, D) after the step, before restarts
    rewards: NDArray[np.float32]  # (E, N)
    terminated: NDArray[np.bool_]  # (E, N) by a crash or the wrong way
    truncated: NDArray[np.bool_]  # (E, N) by the time limit or the end of the race
    active: NDArray[np.bool_]  # (E, N) was racing when the step began
    restarted: NDArray[np.bool_]  # (E,) a new race has begun
    episodes: list[tuple[int, int, dict[str, Any]]]  # (e, n, figures) of each car whose episode ended


class RaceBatch:
    """Step E races of N cars; each restarts in the step that ends it.

    A race ends at `max_episode_s`, or when none of its cars that count is racing any more. A car that crashes before
    that is out or is put elsewhere on the track, as `env.race.after_crash` says. The caller passes the actions of all
    cars, so any driver may drive any car.

    The figures of an episode: r return, l length, t s, laps, best_lap_s, progress_m, lap_share (progress over the
    length of a lap), collided, terms of the reward; with several cars also race: position, start_position, overtakes,
    overtaken, at_fault, hit (decisions in which another car touched it without its fault), wall, gap_to_leader_m.

    Attributes:
        counted: (E, N) bool, the cars whose race matters; all at first. May be changed between steps.

    """

    def __init__(
        self, settings: EnvSettings, tracks: Sequence[Track], num_cars: int = 1, seed: int = 0
    ) -> None:
        self.race = Race(settings, tracks, settings.num_envs, num_cars, seed)
        self.num_envs, self.num_cars = settings.num_envs, num_cars
        low, high = observation.bounds(settings)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
        cars = (self.num_envs, num_cars)
        self.counted = np.ones(cars, dtype=np.bool_)
        self._length = np.zeros(cars, dtype=np.int64)
        self._hits = np.zeros(cars, dtype=np.int64)
        self._faults = np.zeros(cars, dtype=np.int64)  # above one if a contact does not end it
        self._overtakes_before = np.zeros((2, *cars), dtype=np.int64)  # won and lost in earlier episodes
        self._sums: dict[str, NDArray[np.float64]] = {}

    @property
    def active(self) -> NDArray[np.bool_]:
        """(E, N): the cars that are racing now, whose actions the next step takes."""
        return self.race.active

    def reset(self) -> NDArray[np.float32]:
        """Restart all races; return observations (E, N, D)."""
        self._forget(np.ones((self.num_envs, self.num_cars), dtype=np.bool_))
        self._overtakes_before[:] = 0
        return self.race.reset()

    def step(self, actions: NDArray[Any]) -> Step:
        """Take one decision of every car, actions (E, N, 2) in [-1, 1]; those of cars that are out are ignored."""
        outcome = self.race.step(actions)
        self._length += 1
        self._hits += outcome.contacts.hit
        self._faults += outcome.contacts.at_fault
        for name, values in outcome.terms.items():
            total = self._sums.setdefault(name, np.zeros((self.num_envs, self.num_cars)))
            total += values
        going = outcome.active & ~outcome.terminated
        if self.num_cars > 1 and self.race.settings.race.after_crash == "restart":
            going = outcome.active
        restarted = outcome.truncated | ~(going & self.counted).any(axis=1)
        truncated = outcome.active & ~outcome.terminated & restarted[:, None]
        ended = outcome.terminated | truncated
        observations, episodes = outcome.observations, []
        if ended.any():
            episodes = [
                (int(e), int(n), self._figures(int(e), int(n), outcome.contacts))
                for e, n in np.argwhere(ended)
            ]
            observations = self._go_on(outcome, restarted)
            self._forget(ended | restarted[:, None])
        return Step(
            observations=observations,
            next_observations=outcome.observations,
            rewards=outcome.rewards.astype(np.float32),
            terminated=outcome.terminated,
            truncated=truncated,
            active=outcome.active,
            restarted=restarted,
            episodes=episodes,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        state = self.race.state_dict()
        state["arrays"] |= {
            "counted": self.counted.copy(),
            "hits": self._hits.copy(),
            "faults": self._faults.copy(),
            "overtakes_before": self._overtakes_before.copy(),
        }
        sums = {name: total.copy() for name, total in self._sums.items()}
        return {**state, "length": self._length.copy(), "sums": sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore exactly what `state_dict` returned."""
        self.race.load_state_dict(state)
        self.counted[...] = state["arrays"]["counted"]
        self._hits[...] = state["arrays"]["hits"]
        self._faults[...] = state["arrays"].get(
            "faults", 0
        )  # not in checkpoints from before terminate_at_fault_contact
        self._overtakes_before[...] = state["arrays"]["overtakes_before"]
        self._length[...] = state["length"]
        self._sums = {name: total.copy() for name, total in state["sums"].items()}

    def _go_on(self, outcome: Outcome, restarted: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Clear crashed cars and restart ended races; return the observations (E, N, D) to act on next."""
        observations = outcome.observations
        crashed = outcome.terminated & ~restarted[:, None]
        if crashed.any():
            observations = self.race.clear_crashed(outcome._replace(terminated=crashed))
        return self.race.reset(restarted) if restarted.any() else observations

    def _forget(self, ended: NDArray[np.bool_]) -> None:
        """Reset the sums of the chosen cars (E, N)."""
        self._length[ended] = self._hits[ended] = self._faults[ended] = 0
        for total in self._sums.values():
            total[ended] = 0.0
        standings = self.race.standings
        for before, now in zip(
            self._overtakes_before, (standings.overtakes, standings.overtaken), strict=True
        ):
            before[ended] = now[ended]

    def _figures(self, e: int, n: int, contacts: Contacts) -> dict[str, Any]:
        # Sorted: the sum must not depend on the order in which a resume happened to restore the terms.
        terms = {name: float(self._sums[name][e, n]) for name in sorted(self._sums)}
        figures = {
            "r": sum(terms.values()),
            "l": int(self._length[e, n]),
            "t": float(self._length[e, n] * self.race.decision_s),
            "laps": int(self.race.laps.done[e, n]),
            "best_lap_s": float(self.race.laps.best_s[e, n]),
            "progress_m": float(self.race.world.progress_m[e, n]),
            "lap_share": float(self.race.world.progress_m[e, n] / self.race.lengths_m[e, 0]),
            "collided": bool(contacts.crashed[e, n]),
            "terms": terms,
        }
        if self.num_cars > 1:
            standings, (won, lost) = self.race.standings, self._overtakes_before
            figures["race"] = {
                "position": int(standings.position[e, n]),
                "start_position": int(standings.start_position[e, n]),
                "overtakes": int(standings.overtakes[e, n] - won[e, n]),
                "overtaken": int(standings.overtaken[e, n] - lost[e, n]),
                "at_fault": bool(self._faults[e, n]),
                "hit": int(self._hits[e, n]),
                "wall": bool(contacts.wall[e, n]),
                "gap_to_leader_m": float(standings.gap_to_leader_m[e, n]),
            }
        return figures
