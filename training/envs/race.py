"""The batched core of every environment: actions in, observations, rewards and ends out, for E × N cars.

The faces (vec_env, race_env, parallel_env) only translate; meaning lives here, so that all of them mean the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training.envs import reward
from training.envs.observation import ScanStack
from training.sim import Randomisation, Vehicle, World
from training.sim.params import PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.config import EnvSettings
    from training.sim import Track

    Array = NDArray[np.float64]

# A car this far behind its start drives the wrong way round: the episode ends as by a crash.
WRONG_WAY_M = 5.0
# Random starts keep the car's middle this far from the walls and its heading this near to the track's.
START_CLEARANCE_M = 0.5
START_HEADING_RAD = 0.3


class Laps(NamedTuple):
    """Count laps and their times; arrays (E, N)."""

    done: NDArray[np.int64]
    started_s: Array  # when the running lap began
    last_s: Array  # duration of the lap before it, nan for none
    best_s: Array


class Outcome(NamedTuple):
    """What a step gave; arrays (E, N), observations (E, N, D)."""

    observations: NDArray[np.float32]
    rewards: Array
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]  # (E,) time limit
    terms: dict[str, Array]


class Race:
    """Drive E × N cars by actions in [-1, 1]: steering angle, and speed between the slowest and the cap.

    One decision lasts `action_repeat` physics steps. Environment e drives on tracks[e % len(tracks)]. `reset` and
    `step` never restart an environment by themselves: the face decides when.
    """

    def __init__(
        self, settings: EnvSettings, tracks: Sequence[Track], num_envs: int, num_cars: int = 1, seed: int = 0
    ) -> None:
        self.settings, self.num_envs, self.num_cars = settings, num_envs, num_cars
        self.vehicle = Vehicle()
        self.world = make_world(settings, [tracks[e % len(tracks)] for e in range(num_envs)], num_cars, seed)
        self.lengths_m = np.array([t.length_m for t in self.world.tracks])[:, None]
        self.decision_s = settings.action_repeat * self.world.timestep_s
        self._rng = [np.random.default_rng([seed, e]) for e in range(num_envs)]
        self._stack = ScanStack(settings, num_envs, num_cars)
        self._guide = _pure_pursuit(settings)
        cars = (num_envs, num_cars)
        self.previous_action = np.zeros((*cars, 2))
        self.laps = Laps(
            np.zeros(cars, dtype=np.int64), np.zeros(cars), np.full(cars, np.nan), np.full(cars, np.nan)
        )

    def reset(
        self, where: NDArray[np.bool_] | None = None, poses: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Restart the chosen environments (all if None), at given poses (E, N, 3) or as the settings say.

        Return the observations (E, N, D) of all.
        """
        chosen = np.ones(self.num_envs, dtype=np.bool_) if where is None else where
        self.world.reset(self._start_poses(chosen) if poses is None else poses, chosen)
        self._stack.restart(self.world, chosen)
        self.previous_action[chosen] = 0.0
        self.laps.done[chosen] = 0
        self.laps.started_s[chosen] = 0.0
        self.laps.last_s[chosen] = self.laps.best_s[chosen] = np.nan
        return self._stack.observe(self.world, self.previous_action)

    def step(self, actions: NDArray[Any]) -> Outcome:
        """Take one decision of every car, actions (E, N, 2) in [-1, 1] (clipped)."""
        action = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0)
        reference = None if self._guide is None else self.actions_of(self._guide.act(self.world))
        before_m = self.world.progress_m.copy()
        self.world.step(self.commands_of(action), self.settings.action_repeat)
        self._stack.push(self.world)
        advance = self.world.progress_m - before_m
        self._count_laps(advance)
        collided = self.world.collisions.copy()
        decision = reward.Decision(advance, collided, action, self.previous_action, reference)
        terms = reward.terms(self.settings.reward, decision)
        self.previous_action = action
        return Outcome(
            observations=self._stack.observe(self.world, self.previous_action),
            rewards=np.add.reduce(list(terms.values())),
            terminated=collided | (self.world.progress_m < -WRONG_WAY_M),
            truncated=self.world.time_s >= self.settings.max_episode_s - 1e-9,
            terms=terms,
        )

    def commands_of(self, actions: Array) -> Array:
        """Return the commands (E, N, 2), rad and m/s, that actions in [-1, 1] stand for."""
        low, high = self.settings.min_speed_mps, self.settings.speed_cap_mps
        commands = np.empty_like(actions)
        commands[..., 0] = actions[..., 0] * self.vehicle.s_max
        commands[..., 1] = low + (actions[..., 1] + 1.0) * (0.5 * (high - low))
        return commands

    def actions_of(self, commands: Array) -> Array:
        """Return the actions in [-1, 1] that stand for commands (E, N, 2), clipped where they go beyond."""
        low, high = self.settings.min_speed_mps, self.settings.speed_cap_mps
        actions = np.empty_like(commands)
        actions[..., 0] = commands[..., 0] / self.vehicle.s_max
        actions[..., 1] = (commands[..., 1] - low) / (0.5 * (high - low)) - 1.0
        return np.clip(actions, -1.0, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all that the next steps depend on: arrays, and the generators' states as JSON data."""
        return {
            "world": self.world.state_dict(),
            "arrays": {
                "scans": self._stack.scans.copy(),
                "previous_action": self.previous_action.copy(),
                **{f"laps_{k}": v.copy() for k, v in self.laps._asdict().items()},
            },
            "generators": [g.bit_generator.state for g in self._rng],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken, in a Race made with the same arguments."""
        self.world.load_state_dict(state["world"])
        arrays = state["arrays"]
        self._stack.scans[...] = arrays["scans"]
        self.previous_action = arrays["previous_action"].copy()
        for name, array in self.laps._asdict().items():
            array[...] = arrays[f"laps_{name}"]
        for generator, saved in zip(self._rng, state["generators"], strict=True):
            generator.bit_generator.state = saved

    def _count_laps(self, advance: Array) -> None:
        """Notice finished laps; the line's crossing is interpolated within the decision."""
        progress = self.world.progress_m
        finished = progress >= (self.laps.done + 1) * self.lengths_m
        if not finished.any():
            return
        now = np.broadcast_to(self.world.time_s[:, None], progress.shape)
        beyond = progress - (self.laps.done + 1) * self.lengths_m
        crossing = now - self.decision_s * np.clip(beyond / np.maximum(advance, 1e-9), 0.0, 1.0)
        lap_s = crossing - self.laps.started_s
        np.copyto(self.laps.last_s, lap_s, where=finished)
        np.copyto(self.laps.best_s, np.fmin(self.laps.best_s, lap_s), where=finished)
        np.copyto(self.laps.started_s, crossing, where=finished)
        self.laps.done[finished] += 1

    def _start_poses(self, where: NDArray[np.bool_]) -> Array:
        poses = np.zeros((self.num_envs, self.num_cars, 3))
        for e in np.flatnonzero(where):
            poses[e] = self._start_grid(self.world.tracks[e], self._rng[e])
        return poses

    def _start_grid(self, track: Track, rng: np.random.Generator) -> Array:
        """Return (N, 3) starting poses: a single car anywhere, several in a row two metres apart, shuffled."""
        first_m = rng.uniform(0.0, track.length_m) if self.settings.random_starts else 0.0
        places = rng.permutation(self.num_cars) if self.num_cars > 1 else np.zeros(1)
        poses = np.empty((self.num_cars, 3))
        for n, place in enumerate(places):
            s_m = (first_m - GRID_SPACING_M * float(place)) % track.length_m
            poses[n] = self._start_pose(track, s_m, rng)
        return poses

    def _start_pose(self, track: Track, s_m: float, rng: np.random.Generator) -> tuple[float, float, float]:
        if not self.settings.random_starts:
            return track.pose_at(s_m)
        nearest = int(np.searchsorted(track.arc_length_m, s_m, side="right")) - 1
        right = max(float(track.width_right_m[nearest]) - START_CLEARANCE_M, 0.0)
        left = max(float(track.width_left_m[nearest]) - START_CLEARANCE_M, 0.0)
        lateral = rng.uniform(-right, left)
        return track.pose_at(s_m, lateral, rng.uniform(-START_HEADING_RAD, START_HEADING_RAD))


GRID_SPACING_M = 2.0


def make_world(settings: EnvSettings, tracks: Sequence[Track], num_cars: int, seed: int) -> World:
    """Return the simulator that the settings ask for: ours, or the f1tenth_gym package behind the same surface."""
    if settings.backend == "f1tenth_gym":
        from training.envs.f1tenth_gym import F1TenthGymWorld  # noqa: PLC0415 - the package is optional

        return F1TenthGymWorld(settings, tracks, num_cars, seed)
    switches = PROFILES[settings.profile]
    if settings.friction_circle:
        switches = switches._replace(tyre_saturation=True)
    draws = settings.randomisation
    noise = settings.scan_noise_m
    return World(
        tracks,
        len(tracks),
        num_cars,
        settings.beams,
        profile=settings.profile,
        seed=seed,
        switches=switches,
        randomisation=Randomisation(
            friction_scale=draws.friction_factor,
            mass_scale=draws.mass_factor,
            steering_delay_steps=draws.steering_delay_steps,
            scan_noise_m=(noise * draws.scan_noise_factor[0], noise * draws.scan_noise_factor[1]),
        ),
    )


def _pure_pursuit(settings: EnvSettings) -> Any:  # noqa: ANN401 - a Driver; the trajectory term alone needs it
    if settings.reward.trajectory == 0.0:
        return None
    from training.envs.opponents import PurePursuit  # noqa: PLC0415 - the trajectory term alone needs it

    return PurePursuit()
