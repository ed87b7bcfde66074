"""The batched core of every environment: actions in, observations, rewards and terminations out, for E × N cars.

The wrappers (vec_env, race_env, parallel_env) only translate its results; all rules are here, so that all wrappers
follow the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..sim import Randomisation, World
from ..sim.params import PROFILES
from . import reward, standings
from .car import actions_of, commands_of, lidar_of, vehicle_of
from .grid import check_grid, check_obstacles, restart_pose, start_grid
from .observation import ScanStack
from .starts import clear_starts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..config import EnvSettings
    from ..sim import Track, Vehicle
    from .worlds import AnyWorld

    Array = NDArray[np.float64]

# A car this far behind its start drives the wrong way round: the episode ends as by a crash.
WRONG_WAY_M = 5.0


class LapCounter(NamedTuple):
    """Count laps and their times; arrays (E, N)."""

    done: NDArray[np.int64]
    started_s: Array  # when the running lap began
    last_s: Array  # duration of the lap before it, nan for none
    best_s: Array


class Contacts(NamedTuple):
    """The contacts of racing cars in a step; arrays (E, N) bool."""

    wall: NDArray[np.bool_]
    at_fault: NDArray[np.bool_]  # drove into another car
    hit: NDArray[np.bool_]  # was touched by another car without fault
    crashed: NDArray[np.bool_]  # of these, what ends the car's episode


class Outcome(NamedTuple):
    """The result of a step; arrays (E, N), observations (E, N, D)."""

    observations: NDArray[np.float32]
    rewards: Array
    active: NDArray[np.bool_]  # was racing when the step began; the results of the others do not count
    contacts: Contacts
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]  # (E,) time limit
    terms: dict[str, Array]


class Race:
    """Drive E × N cars by actions in [-1, 1]: steering angle, and speed between the slowest and the cap.

    One decision lasts `action_repeat` physics steps. Environment e drives on tracks[e % len(tracks)]. `reset` and
    `step` never restart an environment by themselves: the wrapper decides when, and calls `clear_crashed` after each
    step if several cars race.

    Raises:
        ConfigurationError: a track's starting grid holds fewer than num_cars, or an obstacle leaves no way past it.

    """

    def __init__(
        self, settings: EnvSettings, tracks: Sequence[Track], num_envs: int, num_cars: int = 1, seed: int = 0
    ) -> None:
        check_grid(settings, tracks, num_cars)
        check_obstacles(settings, tracks)
        self.settings, self.num_envs, self.num_cars = settings, num_envs, num_cars
        self.vehicle = vehicle_of(settings)
        self.world = make_world(settings, [tracks[e % len(tracks)] for e in range(num_envs)], num_cars, seed)
        self.lengths_m = np.array([t.length_m for t in self.world.tracks])[:, None]
        self.decision_s = settings.action_repeat * self.world.timestep_s
        self._rng = [np.random.default_rng([seed, e]) for e in range(num_envs)]
        self._stack = ScanStack(settings, num_envs, num_cars)
        self._guide = _pure_pursuit(settings, self.vehicle)
        cars = (num_envs, num_cars)
        self.previous_action: Array = np.zeros((*cars, 2))
        self.active = np.ones(cars, dtype=np.bool_)  # racing: neither crashed nor turned round
        self.standings = standings.make_standings(num_envs, num_cars)
        self.laps = LapCounter(
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
        self.active[chosen] = True
        self._forget(np.repeat(chosen[:, None], self.num_cars, axis=1))
        if self.num_cars > 1:
            standings.begin(self.standings, self.world, chosen, self.active)
        return self._stack.observe(self.world, self.previous_action)

    def clear_crashed(self, outcome: Outcome) -> NDArray[np.float32]:
        """Take the cars that a step ended out of the race, or put them elsewhere on the track, as the settings say.

        Return the observations (E, N, D) to act on next.
        """
        crashed = outcome.terminated
        if not crashed.any():
            return outcome.observations
        if self.settings.race.after_crash == "out":
            self.active &= ~crashed
            self.world.take_out(crashed)
            return outcome.observations
        crash_arc_m = self.world.arc_m.copy()
        self.world.place(self._restart_poses(crashed), crashed)
        self._stack.restart(self.world, crashed)
        self._forget(crashed)
        self.laps.started_s[crashed] = np.broadcast_to(self.world.time_s[:, None], crashed.shape)[crashed]
        standings.move(self.standings, self.world, crashed, crash_arc_m)
        return self._stack.observe(self.world, self.previous_action)

    def step(self, actions: NDArray[Any]) -> Outcome:
        """Take one decision of every car, actions (E, N, 2) in [-1, 1] (clipped).

        A car that is out ignores its action, gets no reward and does not terminate again.
        """
        action = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0)
        active = self.active.copy()
        reference = None if self._guide is None else self.actions_of(self._guide.act(self.world))
        before_m = self.world.progress_m.copy()
        self.world.step(self.commands_of(action), self.settings.action_repeat)
        self._stack.push(self.world)
        advance = self.world.progress_m - before_m
        self._count_laps(advance)
        contacts = self._contacts(active)
        terminated = contacts.crashed | (self.world.progress_m < -WRONG_WAY_M) & active
        places = gained_m = lead = None
        if self.num_cars > 1:
            racing = active & ~terminated
            if self.settings.reward.relative_progress != 0.0:
                gained_m = standings.gained_m(self.standings, advance, racing)
            places = standings.advance(self.standings, self.world, racing)
            if self.settings.reward.lead != 0.0:
                lead = standings.lead(self.standings, racing, self.vehicle.length)
        decision = reward.Decision(
            advance,
            contacts.wall | contacts.at_fault,  # not a victim, also where it has crashed too
            contacts.hit,
            places,
            gained_m,
            lead,
            action,
            self.previous_action,
            reference,
        )
        terms = reward.terms(self.settings.reward, decision)
        if self.num_cars > 1:
            terms = {name: values * active for name, values in terms.items()}
        self.previous_action = action
        return Outcome(
            observations=self._stack.observe(self.world, self.previous_action),
            rewards=np.add.reduce(list(terms.values())),
            active=active,
            contacts=contacts,
            terminated=terminated,
            truncated=self.world.time_s >= self.settings.max_episode_s - 1e-9,
            terms=terms,
        )

    def commands_of(self, actions: Array) -> Array:
        """Return the commands (E, N, 2), rad and m/s, that actions in [-1, 1] stand for."""
        return commands_of(self.settings, actions)

    def actions_of(self, commands: Array) -> Array:
        """Return the actions in [-1, 1] that stand for commands (E, N, 2), clipped if they are beyond."""
        return actions_of(self.settings, commands)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all that the next steps depend on: arrays, and the generators' states as JSON data."""
        return {
            "world": self.world.state_dict(),
            "arrays": {
                "scans": self._stack.scans.copy(),
                "previous_action": self.previous_action.copy(),
                "active": self.active.copy(),
                **standings.state_dict(self.standings),
                **{f"laps_{k}": v.copy() for k, v in self.laps._asdict().items()},
            },
            "generators": [g.bit_generator.state for g in self._rng],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore exactly what `state_dict` returned, in a Race made with the same arguments."""
        self.world.load_state_dict(state["world"])
        arrays = state["arrays"]
        self._stack.scans[...] = arrays["scans"]
        self.previous_action = arrays["previous_action"].copy()
        self.active[...] = arrays["active"]
        standings.load_state_dict(self.standings, arrays)
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

    def _contacts(self, active: NDArray[np.bool_]) -> Contacts:
        """Say what each racing car touched, and whether that ends its episode."""
        world = self.world
        if self.num_cars == 1:
            collided = world.collisions & active
            return Contacts(collided, np.zeros_like(collided), np.zeros_like(collided), collided)
        wall, at_fault = world.wall_contacts & active, world.at_fault & active
        hit = (world.collision_idx >= 0) & ~at_fault & active
        rules = self.settings.race
        crashed = wall | at_fault if rules.terminate_at_fault_contact else wall
        return Contacts(wall, at_fault, hit, crashed if rules.hit_cars_continue else crashed | hit)

    def _forget(self, where: NDArray[np.bool_]) -> None:
        """Reset the actions and laps of the chosen cars (E, N), at the race's time 0."""
        self.previous_action[where] = 0.0
        self.laps.done[where] = 0
        self.laps.started_s[where] = 0.0
        self.laps.last_s[where] = self.laps.best_s[where] = np.nan

    def _start_poses(self, where: NDArray[np.bool_]) -> Array:
        poses = np.zeros((self.num_envs, self.num_cars, 3))
        for e in np.flatnonzero(where):
            poses[e] = start_grid(self.settings, self.world.tracks[e], self.num_cars, self._rng[e])
        starting = np.repeat(where[:, None], self.num_cars, axis=1)
        return clear_starts(self.world, self.settings, poses, starting, self._rng)

    def _restart_poses(self, where: NDArray[np.bool_]) -> Array:
        """Return new places (E, N, 3) of the chosen cars, clear of the racing ones and of each other."""
        poses = np.zeros((self.num_envs, self.num_cars, 3))
        for e in np.flatnonzero(where.any(axis=1)):
            taken_m = list(self.world.arc_m[e, self.active[e] & ~where[e]])
            for n in np.flatnonzero(where[e]):
                track, arc_m = self.world.tracks[e], float(self.world.arc_m[e, n])
                poses[e, n] = restart_pose(self.settings, track, arc_m, np.array(taken_m), self._rng[e])
                taken_m.append(track.project(poses[e, n, :2])[0])
        return clear_starts(self.world, self.settings, poses, where, self._rng, self.active)


def make_world(settings: EnvSettings, tracks: Sequence[Track], num_cars: int, seed: int) -> AnyWorld:
    """Return the simulator that the settings ask for: ours, or the f1tenth_gym package behind the same surface."""
    if settings.backend == "f1tenth_gym":
        from .f1tenth_gym.gym_world import F1TenthGymWorld  # noqa: PLC0415 - the package is optional

        return F1TenthGymWorld(settings, tracks, num_cars, seed)
    switches = PROFILES[settings.profile]
    if not settings.solid_thin_walls:
        switches = switches._replace(solid_thin_walls=False)
    if settings.tyres == "lateral_circle":
        switches = switches._replace(tyre_saturation=True)
    if settings.tyres == "saturating":
        switches = switches._replace(slipping_tyres=True)
    lidar = lidar_of(settings)
    return World(
        tracks,
        len(tracks),
        num_cars,
        lidar.beams,
        profile=settings.profile,
        seed=seed,
        fov_rad=lidar.fov_rad,
        max_range_m=lidar.max_range_m,
        vehicle=vehicle_of(settings),
        switches=switches,
        randomisation=ranges_of(settings),
    )


def ranges_of(settings: EnvSettings) -> Randomisation:
    """Return the simulator's ranges for those of the settings; the lidar's noise is all in them."""
    given = settings.randomisation.model_dump(exclude={"preset"})
    for name in ("friction", "mass", "stiffness", "steering_rate"):
        given[f"{name}_scale"] = given.pop(f"{name}_factor")
    usual_m, factors = settings.scan_noise_m, given.pop("scan_noise_factor")
    given["scan_noise_m"] = tuple(
        usual_m * factor + more for factor, more in zip(factors, given["scan_noise_m"], strict=True)
    )
    return Randomisation(**given)


def _pure_pursuit(settings: EnvSettings, vehicle: Vehicle) -> Any:  # noqa: ANN401 - a Driver; the trajectory term alone needs it
    if settings.reward.trajectory == 0.0:
        return None
    from .drivers.registry import make_driver  # noqa: PLC0415 - the trajectory term alone needs it

    return make_driver("pure_pursuit", vehicle=vehicle, tyres=settings.tyres)
