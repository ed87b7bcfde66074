"""The real f1tenth_gym v1.0.0 behind the surface of `training.sim.World` (`env.backend: f1tenth_gym`).

Its physics and its lidar are its own. What it does badly for training is set right from outside:

- its lidar, and with it the map, is an attribute of the class RaceCar: a second map replaces the first.
  We keep one lidar per track and put the right one there before each environment's turn: several tracks, and
  several worlds in a process, do not disturb each other;
- its noise (0.01 m) is always on, and the same for every car and episode. Its generator is replaced by ours:
  deviation as set, drawn from seed, environment, episode, car and step: only counters have to be saved;
- its beams are always 1080: where fewer are asked for, those nearest to evenly spaced ones are picked;
- it scans only after a step: after a reset we do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from training.envs.f1tenth_package import load_package, make_scanner, make_simulator
from training.errors import ConfigurationError
from training.sim import Lidar, Vehicle, centerline
from training.sim.params import MAX_STEERING_DELAY, NUM_STATES, YAW, X, Y

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from training.config import EnvSettings
    from training.sim import Track


class _State(NamedTuple):
    """Hold copies of all that the package's objects know, and what World adds; (E, N, ...) or (E,)."""

    states: NDArray[np.float64]
    scans: NDArray[np.float64]
    collisions: NDArray[np.bool_]
    collision_idx: NDArray[np.int64]
    wall_contacts: NDArray[np.bool_]
    arc_m: NDArray[np.float64]
    lateral_m: NDArray[np.float64]
    progress_m: NDArray[np.float64]
    line_index: NDArray[np.int64]
    steering_queue: NDArray[np.float64]  # newest first, nan where nothing is queued yet
    friction: NDArray[np.float64]  # this episode's draws
    mass_kg: NDArray[np.float64]
    delay: NDArray[np.int64]
    noise_m: NDArray[np.float64]
    tick: NDArray[np.int64]
    episode: NDArray[np.int64]


class _Noise:
    """Stand in for the generator that the package draws its scan noise from."""

    def __init__(self, deviation_m: float, key: list[int]) -> None:
        self._deviation_m, self._key = deviation_m, key

    def normal(self, _mean: float, _deviation: float, size: int) -> NDArray[np.float64] | float:
        """Return noise of our deviation instead of the asked one."""
        if self._deviation_m == 0.0:
            return 0.0
        return np.random.default_rng(self._key).normal(0.0, self._deviation_m, size)


class F1TenthGymWorld:
    """Simulate E environments of N cars with the f1tenth_gym package; see `training.sim.World` for each name.

    Args:
        settings: of them beams, scan_noise_m and randomisation are used; the physics is always the package's,
            whatever `profile` says.
        tracks: one for each environment.
        num_cars: N.
        seed: of noise and randomisation; environment e draws from seed + e.

    Raises:
        ConfigurationError: the package is missing, or a setting asks for what it cannot do.

    """

    profile = "f1tenth_gym"
    timestep_s = 0.01

    def __init__(
        self, settings: EnvSettings, tracks: Sequence[Track], num_cars: int = 1, seed: int = 0
    ) -> None:
        _refuse_what_it_cannot(settings)
        self._package = load_package()
        self.tracks, self.num_envs, self.num_cars = tuple(tracks), len(tracks), num_cars
        self.beams, self._seed = settings.beams, seed
        self._draws, self._noise_m = settings.randomisation, settings.scan_noise_m
        self._picked = np.round(np.linspace(0, Lidar().beams - 1, settings.beams)).astype(np.int64)
        scanners = {id(t): make_scanner(self._package, t) for t in self.tracks}
        self._scanners = [scanners[id(t)] for t in self.tracks]
        self._simulators = [make_simulator(self._package, num_cars) for _ in self.tracks]
        self._at = _empty_state(self.num_envs, num_cars, settings.beams)

    @property
    def states(self) -> NDArray[np.float64]:
        """(E, N, 7): x m, y m, steering rad, speed m/s, yaw rad, yaw rate rad/s, slip rad."""
        return self._at.states

    @property
    def scans(self) -> NDArray[np.float64]:
        """(E, N, beams) m."""
        return self._at.scans

    @property
    def collisions(self) -> NDArray[np.bool_]:
        """(E, N): a wall or another car was touched during the last step."""
        return self._at.collisions

    @property
    def collision_idx(self) -> NDArray[np.int64]:
        """(E, N): the index of the car that was touched, -1 for none."""
        return self._at.collision_idx

    @property
    def wall_contacts(self) -> NDArray[np.bool_]:
        """(E, N): a wall was touched during the last step."""
        return self._at.wall_contacts

    @property
    def arc_m(self) -> NDArray[np.float64]:
        """(E, N) m: place along the track's centreline; 0 on a track without one."""
        return self._at.arc_m

    @property
    def lateral_m(self) -> NDArray[np.float64]:
        """(E, N) m: offset from the centreline, positive to its left."""
        return self._at.lateral_m

    @property
    def progress_m(self) -> NDArray[np.float64]:
        """(E, N) m: way along the centreline since the reset."""
        return self._at.progress_m

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(E,) s since each environment's reset."""
        return self._at.tick * self.timestep_s

    def reset(self, poses: ArrayLike, where: ArrayLike | None = None) -> None:
        """Put cars at rest and scan; poses (E, N, 3) x m, y m, yaw rad; where (E,) bool, all if None.

        Raises:
            ValueError: wrong shape, or a number that is not finite.

        """
        chosen = (
            np.ones(self.num_envs, dtype=np.bool_) if where is None else np.asarray(where, dtype=np.bool_)
        )
        if chosen.shape != (self.num_envs,):
            raise ValueError(f"where has shape {chosen.shape}; it must be ({self.num_envs},)")
        placed = self._checked(poses, 3, "poses", chosen)
        for e in np.flatnonzero(chosen):
            self._at.episode[e] += 1
            self._at.tick[e] = 0
            self._simulators[e].reset(placed[e])
            self._draw_episode(e)
            self._tune(e)
            self._equip(e)
            self._first_scans(e)
            self._at.collisions[e] = self._at.wall_contacts[e] = False
            self._at.collision_idx[e] = -1
            self._at.steering_queue[e] = np.nan
            self._copy_out(e)
            self._follow_line(e, search_all=True)

    def step(self, actions: ArrayLike, repeat: int = 1) -> None:
        """Advance every environment by `repeat` physics steps; actions (E, N, 2) steering rad, speed m/s.

        Raises:
            ValueError: wrong shape, or a number that is not finite.

        """
        commands = self._checked(actions, 2, "actions", np.ones(self.num_envs, dtype=np.bool_))
        at = self._at
        for e, simulator in enumerate(self._simulators):
            at.collisions[e] = at.wall_contacts[e] = False
            at.collision_idx[e] = -1
            for _ in range(repeat):
                at.tick[e] += 1
                self._equip(e)
                simulator.step(commands[e])
                at.collisions[e] |= simulator.collisions > 0.0
                at.wall_contacts[e] |= [car.in_collision for car in simulator.agents]
                touched = simulator.collision_idx.astype(np.int64)
                np.copyto(at.collision_idx[e], touched, where=touched >= 0)
            self._copy_out(e)
            self._follow_line(e, search_all=False)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that a later step depends on; `load_state_dict` goes on exactly from there."""
        return {name: array.copy() for name, array in self._at._asdict().items()}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over the state of a world of the same shape.

        Raises:
            ValueError: an array is missing, or has another shape or type.

        """
        for name, array in self._at._asdict().items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                found = "missing" if given is None else f"{given.dtype} {given.shape}"
                raise ValueError(
                    f"simulator state {name!r} is {found}; this world needs {array.dtype} {array.shape}"
                )
        for name, array in self._at._asdict().items():
            array[...] = arrays[name]
        for e, simulator in enumerate(self._simulators):
            self._tune(e)
            for n, car in enumerate(simulator.agents):
                car.state = self._at.states[e, n].copy()
                queue = self._at.steering_queue[e, n]
                car.steer_buffer = queue[~np.isnan(queue)]

    def _draw_episode(self, e: int) -> None:
        """Draw this episode's friction, mass, delay and noise of each car."""
        at, draws, car = self._at, self._draws, Vehicle()
        for n in range(self.num_cars):
            rng = np.random.default_rng([self._seed + int(e), int(at.episode[e]), n])
            at.friction[e, n] = car.mu * rng.uniform(*draws.friction_factor)
            at.mass_kg[e, n] = car.m * rng.uniform(*draws.mass_factor)
            at.delay[e, n] = rng.integers(*draws.steering_delay_steps, endpoint=True)
            at.noise_m[e, n] = self._noise_m * rng.uniform(*draws.scan_noise_factor)

    def _tune(self, e: int) -> None:
        """Give the cars of environment e their episode's draws."""
        for n, car in enumerate(self._simulators[e].agents):
            car.params = car.params | {
                "mu": float(self._at.friction[e, n]),
                "m": float(self._at.mass_kg[e, n]),
            }
            car.steer_buffer_size = int(self._at.delay[e, n])

    def _equip(self, e: int) -> None:
        """Put the lidar of environment e where the package looks for it, and this step's noise."""
        self._package.race_car.scan_simulator = self._scanners[e]
        for n, car in enumerate(self._simulators[e].agents):
            key = [self._seed + int(e), int(self._at.episode[e]), n, int(self._at.tick[e])]
            car.scan_rng = _Noise(float(self._at.noise_m[e, n]), key)

    def _first_scans(self, e: int) -> None:
        """Scan from the starting poses, for the package scans only after a step."""
        cars = self._simulators[e].agents
        vehicle = Vehicle()
        for n, car in enumerate(cars):
            pose = car.state[[X, Y, YAW]]
            scan = self._scanners[e].scan(pose, car.scan_rng)
            for other in cars[:n] + cars[n + 1 :]:
                box = self._package.vertices(other.state[[X, Y, YAW]], vehicle.length, vehicle.width)
                scan = self._package.ray_cast(pose, scan, car.scan_angles, box)
            self._simulators[e].agent_scans[n] = scan

    def _copy_out(self, e: int) -> None:
        at, simulator = self._at, self._simulators[e]
        np.clip(simulator.agent_scans[:, self._picked], 0.0, Lidar().max_range_m, out=at.scans[e])
        for n, car in enumerate(simulator.agents):
            at.states[e, n] = car.state
            at.steering_queue[e, n] = np.nan
            at.steering_queue[e, n, : car.steer_buffer.size] = car.steer_buffer

    def _follow_line(self, e: int, *, search_all: bool) -> None:
        """Update the places along the centreline and the unwrapped progress, as World does."""
        at, track = self._at, self.tracks[e]
        if track.centerline is None:
            return
        for n in range(self.num_cars):
            hint = -1 if search_all else int(at.line_index[e, n])
            x_m, y_m = float(at.states[e, n, X]), float(at.states[e, n, Y])
            arc_m, at.lateral_m[e, n], at.line_index[e, n] = centerline.project(track.curve, x_m, y_m, hint)
            way_m = arc_m - at.arc_m[e, n]
            way_m -= track.length_m * np.floor(way_m / track.length_m + 0.5)  # the shorter way round
            at.progress_m[e, n] = 0.0 if search_all else at.progress_m[e, n] + way_m
            at.arc_m[e, n] = arc_m

    def _checked(
        self, values: ArrayLike, last: int, name: str, chosen: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        shape = (self.num_envs, self.num_cars, last)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; it must be {shape}")
        wrong = ~np.isfinite(array).all(axis=(1, 2)) & chosen
        if wrong.any():
            e = int(np.argmax(wrong))
            raise ValueError(f"{name}[{e}] = {array[e].tolist()} is not finite")
        return array


def _refuse_what_it_cannot(settings: EnvSettings) -> None:
    if settings.friction_circle:
        raise ConfigurationError(
            "env.friction_circle = true: f1tenth_gym has no friction circle",
            next_step="Use env.friction_circle = false, or env.backend = native.",
        )
    low, high = settings.randomisation.steering_delay_steps
    if not 1 <= low <= high < MAX_STEERING_DELAY:
        raise ConfigurationError(
            f"env.randomisation.steering_delay_steps = [{low}, {high}]: "
            f"f1tenth_gym's cars take 1 to {MAX_STEERING_DELAY - 1}",
            next_step="Change its ends, or use env.backend = native.",
        )


def _empty_state(num_envs: int, num_cars: int, beams: int) -> _State:
    cars = (num_envs, num_cars)
    return _State(
        states=np.zeros((*cars, NUM_STATES)),
        scans=np.zeros((*cars, beams)),
        collisions=np.zeros(cars, dtype=np.bool_),
        collision_idx=np.full(cars, -1, dtype=np.int64),
        wall_contacts=np.zeros(cars, dtype=np.bool_),
        arc_m=np.zeros(cars),
        lateral_m=np.zeros(cars),
        progress_m=np.zeros(cars),
        line_index=np.zeros(cars, dtype=np.int64),
        steering_queue=np.full((*cars, MAX_STEERING_DELAY), np.nan),
        friction=np.zeros(cars),
        mass_kg=np.zeros(cars),
        delay=np.zeros(cars, dtype=np.int64),
        noise_m=np.zeros(cars),
        tick=np.zeros(num_envs, dtype=np.int64),
        episode=np.zeros(num_envs, dtype=np.int64),
    )
