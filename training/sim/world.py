"""The batched simulator: E environments of N cars in one set of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from . import kernels
from .arrays import ADDED_LATER, Rules, bundle, make_cars, make_track_arrays
from .draws import NUM_FAULTS, check_randomisation, has_faults, to_draws
from .driving import TIMESTEP_S
from .lidar import make_beams
from .params import (
    PROFILES,
    SLIP,
    SPEED,
    YAW_RATE,
    Lidar,
    Randomisation,
    Switches,
    Vehicle,
)
from .scanning import true_measurements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from .track.track import Track

# Below this many environments a second thread costs more than it brings.
PARALLEL_FROM = 4


class World:
    """Simulate E environments of N F1TENTH cars each, on one track or on one track per environment.

    The arrays that `states`, `scans`, `collisions`, `collision_idx` and the others return are the simulator's own:
    the next step or reset overwrites them. Copy what you keep.

    Args:
        track: one Track for all environments, or a sequence of E.
        num_envs: E.
        num_cars: N, cars in each environment.
        beams: lidar beams over `fov_rad`.
        scan_noise_m: standard deviation of the ranges' noise, m.
        profile: "training" (the corrected physics) or "f1tenth_gym" (v1.0.0 as it is).
        seed: environment e draws from the stream of seed + e, so that it equals World(num_envs=1, seed=seed + e);
            or a sequence of E seeds.
        switches: deviations one by one, instead of the profile's.
        randomisation: what each car draws again at each reset.

    Raises:
        ValueError: an argument out of its range; says which, the value and what is allowed.

    """

    def __init__(
        self,
        track: Track | Sequence[Track],
        num_envs: int,
        num_cars: int = 1,
        beams: int = 1080,
        scan_noise_m: float = 0.0,
        profile: str = "training",
        seed: int | Sequence[int] = 0,
        *,
        fov_rad: float = 4.7,
        max_range_m: float = 30.0,
        vehicle: Vehicle | None = None,
        switches: Switches | None = None,
        randomisation: Randomisation | None = None,
        timestep_s: float = TIMESTEP_S,
    ) -> None:
        if profile not in PROFILES:
            msg = f"profile={profile!r} is unknown; choose one of {', '.join(map(repr, PROFILES))}"
            raise ValueError(msg)
        _check_numbers(
            {"num_envs": num_envs, "num_cars": num_cars, "beams": beams},
            {"fov_rad": fov_rad, "max_range_m": max_range_m, "timestep_s": timestep_s},
            {"scan_noise_m": scan_noise_m},
        )
        self.num_envs, self.num_cars, self.beams = num_envs, num_cars, beams
        self.profile, self.timestep_s = profile, timestep_s
        self.tracks = _one_per_environment(track, num_envs)
        car = vehicle or Vehicle()
        chosen = switches if switches is not None else PROFILES[profile]
        ranges = randomisation or Randomisation()
        check_randomisation(
            ranges,
            slipping=chosen.slipping_tyres,
            footprint=chosen.footprint_contact,
            timestep_s=float(timestep_s),
        )
        self._varies = has_faults(ranges) or ranges.obstacles[1] > 0
        self._draws, faulty = to_draws(ranges, scan_noise_m), has_faults(ranges)
        self.vehicle = car
        # The reference computes in float64. For training, single precision of the field halves its memory; a cell's
        # distance is then exact to 1e-7 of itself.
        kind = np.float64 if profile == "f1tenth_gym" else np.float32
        self._rules = Rules(
            make_beams(Lidar(beams, fov_rad, max_range_m), car.width, car.lf + car.lr),
            car,
            chosen,
            float(timestep_s),
            _seeds(seed, num_envs),
            faulty,
        )
        self._track_arrays = make_track_arrays(self.tracks, chosen, kind)
        faults, boxes = NUM_FAULTS if faulty else 0, int(ranges.obstacles[1])
        self._cars = make_cars(num_envs, num_cars, beams, kind, faults, boxes)
        self._simulation = bundle(self._cars, self._track_arrays, self._rules)
        self._everywhere = np.ones(num_envs, dtype=np.bool_)

    @property
    def states(self) -> NDArray[np.float64]:
        """(E, N, 7): x m, y m, steering rad, speed m/s, yaw rad, yaw rate rad/s, slip rad."""
        return self._cars.states

    @property
    def scans(self) -> NDArray[Any]:
        """(E, N, beams) m; float64 in the f1tenth_gym profile, float32 in the training profile."""
        return self._cars.scans

    @property
    def measured(self) -> NDArray[np.float64]:
        """(E, N, 3): speed m/s, yaw rate rad/s and steering rad as each car observes them; true without faults."""
        return self._cars.measured if self._rules.faulty else true_measurements(self._cars.states)

    @property
    def obstacles(self) -> list[NDArray[np.float64]]:
        """Of each environment the corners (k, 4, 2) m of this episode's boxes."""
        return [
            boxes[:count]
            for boxes, count in zip(self._cars.obstacles, self._cars.obstacle_count, strict=True)
        ]

    @property
    def collisions(self) -> NDArray[np.bool_]:
        """(E, N): a wall or another car was touched during the last step."""
        return self._cars.collisions

    @property
    def collision_idx(self) -> NDArray[np.int64]:
        """(E, N): the index of the car that was touched, -1 for none."""
        return self._cars.collision_idx

    @property
    def wall_contacts(self) -> NDArray[np.bool_]:
        """(E, N): a wall was touched during the last step."""
        return self._cars.wall_contacts

    @property
    def at_fault(self) -> NDArray[np.bool_]:
        """(E, N): drove into another car during the last step; the rules: training.sim.contact_fault.judge_contact."""
        return self._cars.at_fault

    @property
    def contact_part(self) -> NDArray[np.int8]:
        """(E, N): where another car touched during the last step: 0 nowhere, 1 front, 2 side, 3 rear."""
        return self._cars.contact_part

    @property
    def out(self) -> NDArray[np.bool_]:
        """(E, N): taken out of the race: neither moves nor scans, is not seen and not touched."""
        return self._cars.out

    @property
    def arc_m(self) -> NDArray[np.float64]:
        """(E, N) m: place along the track's centreline; 0 on a track without one."""
        return self._cars.arc_m

    @property
    def lateral_m(self) -> NDArray[np.float64]:
        """(E, N) m: offset from the centreline, positive to its left."""
        return self._cars.lateral_m

    @property
    def progress_m(self) -> NDArray[np.float64]:
        """(E, N) m: way along the centreline since the reset; backwards counts down, a lap is one length."""
        return self._cars.progress_m

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(E,) s since each environment's reset."""
        return np.asarray(self._cars.tick * self.timestep_s, dtype=np.float64)

    def reset(self, poses: ArrayLike, where: ArrayLike | None = None) -> None:
        """Put cars at rest and scan.

        Args:
            poses: (E, N, 3) x m, y m, yaw rad; rows of environments that are not reset are ignored.
            where: (E,) bool, the environments to reset; all if None.

        Raises:
            ValueError: wrong shape, a number that is not finite, or (training profile) a car inside a wall.

        """
        chosen = self._everywhere if where is None else np.asarray(where, dtype=np.bool_)
        if chosen.shape != (self.num_envs,):
            msg = f"where has shape {chosen.shape}; it must be ({self.num_envs},)"
            raise ValueError(msg)
        placed = self._checked(poses, 3, "poses", chosen)
        self._refuse_blocked(placed, np.repeat(chosen[:, None], self.num_cars, axis=1))
        kernels.reset(self._cars, self._track_arrays, self._rules, self._draws, placed, chosen)

    def take_out(self, where: ArrayLike) -> None:
        """Take cars, where (E, N) bool, out of the race until a reset or `place` puts them back.

        They keep their place and stand; scans see, and others touch, them from the next step on no more.
        """
        chosen = self._of_cars(where)
        self._cars.out[chosen] = True
        self._cars.states[..., [SPEED, YAW_RATE, SLIP]] *= ~chosen[..., None]

    def place(self, poses: ArrayLike, where: ArrayLike) -> None:
        """Put single cars at rest while the others drive on, and scan from there; their progress begins at 0.

        Args:
            poses: (E, N, 3) x m, y m, yaw rad; rows of cars that are not chosen are ignored.
            where: (E, N) bool, the cars to place.

        Raises:
            ValueError: as `reset`.

        """
        chosen = self._of_cars(where)
        placed = self._checked(poses, 3, "poses", np.any(chosen, axis=1))
        self._refuse_blocked(placed, chosen, boxes=True)
        kernels.place(self._cars, self._track_arrays, self._rules, placed, chosen)

    def blocked(
        self, environments: NDArray[np.int64], poses: NDArray[np.float64], *, boxes: bool = False
    ) -> NDArray[np.bool_]:
        """Tell, (k,), at which poses (k, 3) of environments (k,) a body touches a wall, so that `reset` refuses it.

        boxes: or one of the running episode's obstacles, so that `place` refuses it. Nowhere in the f1tenth_gym
        profile, which starts anywhere.
        """
        if not self._rules.switches.footprint_contact:
            return np.zeros(len(poses), dtype=np.bool_)
        return kernels.blocked(self._simulation, environments, poses, boxes)

    def step(self, actions: ArrayLike, repeat: int = 1) -> None:
        """Advance every environment by `repeat` physics steps under the same commands.

        Args:
            actions: (E, N, 2) steering angle rad, speed m/s.
            repeat: physics steps (10 ms each by default). Collisions of all of them are reported. With the training
                profile a car that touches a wall stands for the rest of them.

        Raises:
            ValueError: wrong shape, a number that is not finite, or repeat below 1.

        """
        _check_numbers({"repeat": repeat})
        commands = self._shaped(actions, 2, "actions")
        if self.num_envs >= PARALLEL_FROM:
            wrong = kernels.step_parallel(self._simulation, commands, int(repeat), numba.get_num_threads())
        else:
            wrong = kernels.step_serial(self._simulation, commands, int(repeat))
        if wrong >= 0:
            raise _not_finite("actions", commands, wrong)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what holds the arrays for the kernels: it cannot be copied, and would hold another world's."""
        return {name: value for name, value in self.__dict__.items() if name != "_simulation"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._simulation = bundle(self._cars, self._track_arrays, self._rules)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that a later step depends on; `load_state_dict` continues exactly from there."""
        return {name: array.copy() for name, array in self._cars._asdict().items()}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over the state of a World of the same shape.

        Raises:
            ValueError: an array is missing, or has another shape or type.

        """
        for name, array in self._cars._asdict().items():
            given = arrays.get(name)
            if given is None and name in ADDED_LATER and not self._varies:
                continue  # a checkpoint of before, of a world without faults
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                found = "missing" if given is None else f"{given.dtype} {given.shape}"
                msg = f"simulator state {name!r} is {found}; this world needs {array.dtype} {array.shape}"
                raise ValueError(msg)
        for name, array in self._cars._asdict().items():
            if name in arrays:
                array[...] = arrays[name]

    def _of_cars(self, where: ArrayLike) -> NDArray[np.bool_]:
        chosen = np.asarray(where, dtype=np.bool_)
        if chosen.shape != (self.num_envs, self.num_cars):
            msg = f"where has shape {chosen.shape}; it must be {(self.num_envs, self.num_cars)}"
            raise ValueError(msg)
        return chosen

    def _refuse_blocked(
        self, poses: NDArray[np.float64], chosen: NDArray[np.bool_], *, boxes: bool = False
    ) -> None:
        environments, cars = np.nonzero(chosen)
        blocked = self.blocked(environments, poses[environments, cars], boxes=boxes)
        if blocked.any():
            first = int(np.argmax(blocked))
            e, n = environments[first], cars[first]
            msg = (
                f"poses[{e}, {n}] = {poses[e, n].tolist()} touches a wall or an obstacle, or is off track "
                f"{self.tracks[e].name!r}; start where the car's body is clear, e.g. at track.pose_at(0.0)"
            )
            raise ValueError(msg)

    def _checked(
        self, values: ArrayLike, last: int, name: str, chosen: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        array = self._shaped(values, last, name)
        wrong = ~np.isfinite(array).all(axis=(1, 2)) & chosen
        if wrong.any():
            raise _not_finite(name, array, int(np.argmax(wrong)))
        return array

    def _shaped(self, values: ArrayLike, last: int, name: str) -> NDArray[np.float64]:
        array = np.ascontiguousarray(values, dtype=np.float64)
        shape = (self.num_envs, self.num_cars, last)
        if array.shape != shape:
            msg = f"{name} has shape {array.shape}; it must be {shape}"
            raise ValueError(msg)
        return array


def _not_finite(name: str, array: NDArray[np.float64], e: int) -> ValueError:
    return ValueError(f"{name}[{e}] = {array[e].tolist()} is not finite")


def set_threads(count: int) -> None:
    """Use this many threads for the steps of large worlds (at most the machine's cores)."""
    numba.set_num_threads(max(1, min(count, numba.config.NUMBA_NUM_THREADS)))


def _check_numbers(
    counts: Mapping[str, float],
    sizes: Mapping[str, float] | None = None,
    amounts: Mapping[str, float] | None = None,
) -> None:
    """Refuse counts below 1, sizes that are not positive and amounts that are negative, NaN and infinity among them."""
    for name, value in counts.items():
        if not (value >= 1 and value == int(value)):
            msg = f"{name}={value} must be a whole number, at least 1"
            raise ValueError(msg)
    for name, value in (sizes or {}).items():
        if not 0.0 < value < np.inf:
            msg = f"{name}={value} must be more than 0"
            raise ValueError(msg)
    for name, value in (amounts or {}).items():
        if not 0.0 <= value < np.inf:
            msg = f"{name}={value} must be 0 or more"
            raise ValueError(msg)


def _one_per_environment(track: Track | Sequence[Track], num_envs: int) -> tuple[Track, ...]:
    if hasattr(track, "free"):
        return (track,) * num_envs  # type: ignore[return-value]
    tracks = tuple(track)
    if len(tracks) != num_envs:
        msg = f"{len(tracks)} tracks for num_envs={num_envs}; give one Track, or one for each environment"
        raise ValueError(msg)
    return tracks


def _seeds(seed: int | Sequence[int], num_envs: int) -> NDArray[np.uint64]:
    values = [seed + e for e in range(num_envs)] if isinstance(seed, (int, np.integer)) else list(seed)
    if len(values) != num_envs:
        msg = f"{len(values)} seeds for num_envs={num_envs}; give one number, or one for each environment"
        raise ValueError(msg)
    return np.array([int(v) % 2**64 for v in values], dtype=np.uint64)
