"""The real f1tenth_gym v1.0.0 behind the surface of `training.sim.World` (`env.backend: f1tenth_gym`).

Its physics and its lidar are unchanged. Behaviour that is unsuitable for training is corrected from outside:

- its lidar, and with it the map, is an attribute of the class RaceCar: a second map replaces the first.
  We keep one lidar per track and put the right one there before each environment's turn: several tracks, and
  several worlds in a process, do not disturb each other;
- its noise (0.01 m) is always on, and the same for every car and episode. Its generator is replaced by ours:
  deviation as set, drawn from seed, environment, episode, car and step: only counters have to be saved;
- its beams are always 1080: where fewer are asked for, those nearest to evenly spaced ones are picked;
- it scans only after a step: after a reset we do;
- it knows no car that is out of the race: such a car is parked far off the map, each in a place of its own, and
  shown where it stopped.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config.checks import check_backend
from ...sim import Lidar, Vehicle, collision, contact_fault
from ...sim.params import NUM_STATES, SLIP, SPEED, YAW, YAW_RATE, X, Y
from ...sim.scanning import true_measurements
from ...sim.track import centerline
from .package import load_package, make_scanner, make_simulator
from .state import Noise, empty_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from ...config import EnvSettings
    from ...sim import Track


# Cars that are out stand at this place times their number, x and y; no map reaches there.
PARKED_M = 1e5


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
        check_backend(settings)
        self.vehicle = Vehicle()
        self._package = load_package()
        self.tracks, self.num_envs, self.num_cars = tuple(tracks), len(tracks), num_cars
        self.beams, self._seed = settings.beams, seed
        self._draws, self._noise_m = settings.randomisation, settings.scan_noise_m
        self._picked = np.round(np.linspace(0, Lidar().beams - 1, settings.beams)).astype(np.int64)
        scanners = {id(t): make_scanner(self._package, t) for t in self.tracks}
        self._scanners = [scanners[id(t)] for t in self.tracks]
        self._simulators = [make_simulator(self._package, num_cars) for _ in self.tracks]
        self._at = empty_state(self.num_envs, num_cars, settings.beams)

    @property
    def states(self) -> NDArray[np.float64]:
        """(E, N, 7): x m, y m, steering rad, speed m/s, yaw rad, yaw rate rad/s, slip rad."""
        return self._at.states

    @property
    def scans(self) -> NDArray[np.float64]:
        """(E, N, beams) m."""
        return self._at.scans

    @property
    def measured(self) -> NDArray[np.float64]:
        """(E, N, 3): speed m/s, yaw rate rad/s and steering rad, without faults."""
        return true_measurements(self._at.states)

    @property
    def obstacles(self) -> list[NDArray[np.float64]]:
        """Of each environment the corners (0, 4, 2): the package has no obstacles."""
        return [np.empty((0, 4, 2))] * self.num_envs

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
    def at_fault(self) -> NDArray[np.bool_]:
        """(E, N): drove into another car during the last step; by our rules, for the package has none."""
        return self._at.at_fault

    @property
    def contact_part(self) -> NDArray[np.int8]:
        """(E, N): where another car touched during the last step: 0 nowhere, 1 front, 2 side, 3 rear."""
        return self._at.contact_part

    @property
    def out(self) -> NDArray[np.bool_]:
        """(E, N): taken out of the race: neither moves nor scans, is not seen and not touched."""
        return self._at.out

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
        return np.asarray(self._at.tick * self.timestep_s, dtype=np.float64)

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
            self._at.out[e] = False
            self._forget_contacts(e)
            self._at.steering_queue[e] = np.nan
            self._copy_out(e)
            self._follow_line(e, np.ones(self.num_cars, dtype=np.bool_))

    @staticmethod
    def blocked(
        environments: NDArray[np.int64],  # noqa: ARG004
        poses: NDArray[np.float64],
        *,
        boxes: bool = False,  # noqa: ARG004
    ) -> NDArray[np.bool_]:
        """Tell, (k,), which starts are refused, as `World.blocked` does: none, the package starts anywhere."""
        return np.zeros(len(poses), dtype=np.bool_)

    def step(self, actions: ArrayLike, repeat: int = 1) -> None:
        """Advance every environment by `repeat` physics steps; actions (E, N, 2) steering rad, speed m/s.

        Raises:
            ValueError: wrong shape, or a number that is not finite.

        """
        commands = self._checked(actions, 2, "actions", np.ones(self.num_envs, dtype=np.bool_))
        at = self._at
        for e, simulator in enumerate(self._simulators):
            self._forget_contacts(e)
            racing = ~at.out[e]
            met: set[tuple[int, int]] = set()
            for _ in range(repeat):
                at.tick[e] += 1
                self._equip(e)
                simulator.step(commands[e] * racing[:, None])
                at.collisions[e] |= racing & (simulator.collisions > 0.0)
                at.wall_contacts[e] |= racing & [car.in_collision for car in simulator.agents]
                touched = np.where(racing, simulator.collision_idx.astype(np.int64), -1)
                np.copyto(at.collision_idx[e], touched, where=touched >= 0)
                if (touched >= 0).any():
                    self._judge(e, met)
            self._copy_out(e)
            self._follow_line(e)

    def take_out(self, where: ArrayLike) -> None:
        """Take cars, where (E, N) bool, out of the race until a reset or `place` puts them back."""
        for e, n in np.argwhere(self._of_cars(where)):
            self._at.out[e, n] = True
            self._at.states[e, n, [SPEED, YAW_RATE, SLIP]] = 0.0
            self._park(e, n)

    def place(self, poses: ArrayLike, where: ArrayLike) -> None:
        """Put single cars, where (E, N), at rest at poses (E, N, 3) while the others drive on, and scan from there.

        Raises:
            ValueError: as `reset`.

        """
        chosen = self._of_cars(where)
        placed = self._checked(poses, 3, "poses", np.any(chosen, axis=1))
        for e in np.flatnonzero(chosen.any(axis=1)):
            cars, simulator = np.flatnonzero(chosen[e]), self._simulators[e]
            for n in cars:
                simulator.agents[n].reset(placed[e, n])
                simulator.agents[n].steer_buffer = np.empty((0,))
                simulator.agent_poses[n] = placed[e, n]
                self._at.out[e, n] = False
            self._tune(e)
            self._equip(e)
            self._forget_contacts(e, cars)
            self._first_scans(e, cars)
            self._copy_out(e)
            self._follow_line(e, chosen[e])

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that a later step depends on; `load_state_dict` continues exactly from there."""
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
                if self._at.out[e, n]:
                    self._park(e, n)

    def _draw_episode(self, e: int) -> None:
        """Draw this episode's friction, mass, delay and noise of each car."""
        at, draws, car = self._at, self._draws, self.vehicle
        for n in range(self.num_cars):
            rng = np.random.default_rng([self._seed + int(e), int(at.episode[e]), n])
            at.friction[e, n] = car.mu * rng.uniform(*draws.friction_factor)
            at.mass_kg[e, n] = car.m * rng.uniform(*draws.mass_factor)
            at.delay[e, n] = rng.integers(*draws.steering_delay_steps, endpoint=True)
            at.noise_m[e, n] = self._noise_m * rng.uniform(*draws.scan_noise_factor)
            at.noise_m[e, n] += rng.uniform(*draws.scan_noise_m)

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
            car.scan_rng = Noise(float(self._at.noise_m[e, n]), key)

    def _park(self, e: int, n: int) -> None:
        """Put a car that is out where no other car reaches, sees or touches it."""
        car = self._simulators[e].agents[n]
        car.state = np.zeros(NUM_STATES)
        car.state[[X, Y]] = PARKED_M * (n + 1)
        self._simulators[e].agent_poses[n] = car.state[[X, Y, YAW]]

    def _forget_contacts(self, e: int, cars: slice | NDArray[np.intp] = slice(None)) -> None:
        at = self._at
        at.collisions[e, cars] = at.wall_contacts[e, cars] = at.at_fault[e, cars] = False
        at.collision_idx[e, cars] = -1
        at.contact_part[e, cars] = contact_fault.NO_CONTACT

    def _judge(self, e: int, met: set[tuple[int, int]]) -> None:
        """Say whose fault the contacts of this physics step are; met: pairs that have touched before in this step."""
        at, cars = self._at, self._simulators[e].agents
        boxes = np.empty((len(cars), 4, 2))
        for n, car in enumerate(cars):
            size = (self.vehicle.length, self.vehicle.width)
            collision.fill_corners(car.state[X], car.state[Y], car.state[YAW], *size, boxes[n])
        for i, j in itertools.combinations(np.flatnonzero(~at.out[e]).tolist(), 2):
            if (i, j) not in met and collision.boxes_overlap(boxes[i], boxes[j]):
                met.add((i, j))
                fault_i, fault_j, at.contact_part[e, i], at.contact_part[e, j] = contact_fault.judge_contact(
                    cars[i].state, cars[j].state, boxes[i], boxes[j]
                )
                at.at_fault[e, i] |= fault_i
                at.at_fault[e, j] |= fault_j

    def _first_scans(self, e: int, chosen: Iterable[int] | None = None) -> None:
        """Scan from the starting poses, for the package scans only after a step."""
        cars = self._simulators[e].agents
        vehicle = self.vehicle
        for n in range(self.num_cars) if chosen is None else chosen:
            car = cars[n]
            pose = car.state[[X, Y, YAW]]
            scan = self._scanners[e].scan(pose, car.scan_rng)
            for other in cars[:n] + cars[n + 1 :]:
                box = self._package.vertices(other.state[[X, Y, YAW]], vehicle.length, vehicle.width)
                scan = self._package.ray_cast(pose, scan, car.scan_angles, box)
            self._simulators[e].agent_scans[n] = scan

    def _copy_out(self, e: int) -> None:
        at, simulator = self._at, self._simulators[e]
        racing = np.flatnonzero(~at.out[e])
        at.scans[e, racing] = np.clip(
            simulator.agent_scans[racing][:, self._picked], 0.0, Lidar().max_range_m
        )
        for n in racing:
            car = simulator.agents[n]
            at.states[e, n] = car.state
            at.steering_queue[e, n] = np.nan
            at.steering_queue[e, n, : car.steer_buffer.size] = car.steer_buffer

    def _follow_line(self, e: int, restarted: NDArray[np.bool_] | None = None) -> None:
        """Update places along the centreline and the unwrapped progress, as World does; `restarted` (N,) from 0."""
        at, track = self._at, self.tracks[e]
        if track.centerline is None:
            return
        for n in np.flatnonzero(~at.out[e] if restarted is None else restarted):
            search_all = restarted is not None
            hint = -1 if search_all else int(at.line_index[e, n])
            x_m, y_m = float(at.states[e, n, X]), float(at.states[e, n, Y])
            arc_m, at.lateral_m[e, n], at.line_index[e, n] = centerline.project(track.curve, x_m, y_m, hint)
            way_m = arc_m - at.arc_m[e, n]
            way_m -= track.length_m * np.floor(way_m / track.length_m + 0.5)  # the shorter way round
            at.progress_m[e, n] = 0.0 if search_all else at.progress_m[e, n] + way_m
            at.arc_m[e, n] = arc_m

    def _of_cars(self, where: ArrayLike) -> NDArray[np.bool_]:
        chosen = np.asarray(where, dtype=np.bool_)
        if chosen.shape != (self.num_envs, self.num_cars):
            raise ValueError(f"where has shape {chosen.shape}; it must be {(self.num_envs, self.num_cars)}")
        return chosen

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
