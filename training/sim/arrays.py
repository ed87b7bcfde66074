"""The data that the kernels read and write: numbers, maps and rules of all environments, as parallel arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
from numba.experimental import structref

from .array_types import EitherFloats, Flags, Floats, Integers
from .compiled import kernel
from .lidar import Beams, Rays, make_rays
from .params import MAX_STEERING_DELAY, NUM_STATES, POSES_KEPT, Switches, Vehicle
from .thin_walls import lidar_field_cells
from .track.distance_transform import distance_transform_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .track.track import Track

# Occupied cells laid around a map whose border is closed; a beam's longest overshoot is under two cells.
_BORDER_CELLS = 2


class Cars(NamedTuple):
    """Hold all that a step or a reset changes: E environments, N cars, B beams."""

    states: Floats  # (E, N, 7)
    scans: EitherFloats  # (E, N, B) m
    collisions: Flags  # (E, N) bool
    collision_idx: Integers  # (E, N) the other car's index, -1 for none
    wall_contacts: Flags  # (E, N) bool
    at_fault: Flags  # (E, N) bool, drove into another car
    contact_part: NDArray[np.int8]  # (E, N) where another car touched: NO_CONTACT, FRONT, SIDE or REAR
    out: Flags  # (E, N) bool, taken out of the race
    arc_m: Floats  # (E, N) place along the centreline
    lateral_m: Floats  # (E, N) offset from it, left positive
    progress_m: Floats  # (E, N) way along the centreline since the reset, unwrapped
    line_index: Integers  # (E, N) where the last projection ended
    steering_queue: Floats  # (E, N, MAX_STEERING_DELAY) commands on their way, rad
    friction: Floats  # (E, N) this episode's draws
    mass_kg: Floats  # (E, N)
    delay: Integers  # (E, N) steps
    noise_m: Floats  # (E, N)
    tick: Integers  # (E,) physics steps since the reset
    episode: Integers  # (E,) resets so far
    # Of worlds with faults (training.sim.draws) or obstacles; otherwise empty.
    faults: Floats  # (E, N, NUM_FAULTS) this episode's draws
    speed_queue: Floats  # (E, N, MAX_STEERING_DELAY) commands on their way, m/s
    held: Floats  # (E, N, 2) what servo, rad, and motor, m/s, are asked for after play and lag
    past: Floats  # (E, N, POSES_KEPT, 3) x m, y m, yaw rad at the end of the last physics steps
    measured: Floats  # (E, N, 3) speed m/s, yaw rate rad/s, steering rad as the car observes them
    obstacles: Floats  # (E, K, 4, 2) m, corners of boxes
    obstacle_arc_m: Floats  # (E, K) place along the centreline
    obstacle_count: Integers  # (E,) boxes in this episode


# Arrays that checkpoints of before do not have; there they are empty, or what an environment without boxes has.
ADDED_LATER = (
    "faults",
    "speed_queue",
    "held",
    "past",
    "measured",
    "obstacles",
    "obstacle_arc_m",
    "obstacle_count",
)


def make_cars(
    num_envs: int, num_cars: int, beams: int, kind: type, num_faults: int = 0, most_obstacles: int = 0
) -> Cars:
    """Return the arrays of cars that have not been reset yet; kind: of the scans; num_faults: 0 in a world without."""
    cars, faulty = (num_envs, num_cars), int(num_faults > 0)
    return Cars(
        states=np.zeros((*cars, NUM_STATES)),
        scans=np.zeros((*cars, beams), dtype=kind),
        collisions=np.zeros(cars, dtype=np.bool_),
        collision_idx=np.full(cars, -1, dtype=np.int64),
        wall_contacts=np.zeros(cars, dtype=np.bool_),
        at_fault=np.zeros(cars, dtype=np.bool_),
        contact_part=np.zeros(cars, dtype=np.int8),
        out=np.zeros(cars, dtype=np.bool_),
        arc_m=np.zeros(cars),
        lateral_m=np.zeros(cars),
        progress_m=np.zeros(cars),
        line_index=np.zeros(cars, dtype=np.int64),
        steering_queue=np.zeros((*cars, MAX_STEERING_DELAY)),
        friction=np.zeros(cars),
        mass_kg=np.zeros(cars),
        delay=np.zeros(cars, dtype=np.int64),
        noise_m=np.zeros(cars),
        tick=np.zeros(num_envs, dtype=np.int64),
        episode=np.zeros(num_envs, dtype=np.int64),
        faults=np.zeros((*cars, num_faults)),
        speed_queue=np.zeros((*cars, faulty * MAX_STEERING_DELAY)),
        held=np.zeros((*cars, faulty * 2)),
        past=np.zeros((*cars, faulty * POSES_KEPT, 3)),
        measured=np.zeros((*cars, faulty * 3)),
        obstacles=np.zeros((num_envs, most_obstacles, 4, 2)),
        obstacle_arc_m=np.zeros((num_envs, most_obstacles)),
        obstacle_count=np.zeros(num_envs, dtype=np.int64),
    )


class TrackArrays(NamedTuple):
    """Hold all maps one after the other, and which environment drives on which."""

    field: EitherFloats  # flat, cells
    first: Integers  # (T,)
    width: Integers
    height: Integers
    origin_x: Floats
    origin_y: Floats
    cosine: Floats
    sine: Floats
    resolution_m: Floats
    closed: Flags  # (T,) bool
    thin: Flags  # (T,) bool, its field is shortened around thin walls
    line: Floats  # (P, 2) all centrelines
    tangent: Floats  # (P, 2)
    arc_m: Floats  # (P,)
    right_m: Floats  # (P,) to the wall on the right
    left_m: Floats  # (P,)
    line_first: Integers  # (T,)
    line_count: Integers  # (T,) 0 for a map without a centreline
    length_m: Floats  # (T,)
    track_of: Integers  # (E,)


def make_track_arrays(tracks: tuple[Track, ...], switches: Switches, kind: type) -> TrackArrays:
    """Return the maps of all distinct tracks; tracks: of each environment; kind: of the distance field."""
    distinct = list({id(t): t for t in tracks}.values())
    index = {id(t): i for i, t in enumerate(distinct)}
    border = _BORDER_CELLS if switches.closed_border else 0
    fields, thin = zip(*(_field_cells(t, border, switches.solid_thin_walls) for t in distinct), strict=True)
    # If rounding puts a beam's end exactly on the edge of a closed map, it reads the wall that follows in memory.
    flat = [np.concatenate([f.ravel(), np.zeros(f.shape[1] + 1)]).astype(kind) for f in fields]
    yaws = [t.origin[2] for t in distinct]
    counts = [0 if t.centerline is None else len(t.centerline) for t in distinct]
    lined = [t for t in distinct if t.centerline is not None]
    # The border moves the corner of the map outwards, along the map's own axes.
    out = [-border * t.resolution_m for t in distinct]
    return TrackArrays(
        field=np.concatenate(flat),
        first=_starts([f.size for f in flat]),
        width=np.array([f.shape[1] for f in fields]),
        height=np.array([f.shape[0] for f in fields]),
        origin_x=np.array(
            [t.origin[0] + o * (np.cos(a) - np.sin(a)) for t, o, a in zip(distinct, out, yaws, strict=True)]
        ),
        origin_y=np.array(
            [t.origin[1] + o * (np.sin(a) + np.cos(a)) for t, o, a in zip(distinct, out, yaws, strict=True)]
        ),
        cosine=np.cos(yaws),
        sine=np.sin(yaws),
        resolution_m=np.array([t.resolution_m for t in distinct]),
        closed=np.array([_is_closed(f) for f in fields]),
        thin=np.array(thin),
        line=np.concatenate([np.empty((0, 2)), *[t.centerline for t in lined]]),
        tangent=np.concatenate([np.empty((0, 2)), *[t.tangent for t in lined]]),
        arc_m=np.concatenate([np.empty(0), *[t.arc_length_m for t in lined]]),
        right_m=np.concatenate([np.empty(0), *[t.widths_m[0] for t in lined]]),
        left_m=np.concatenate([np.empty(0), *[t.widths_m[1] for t in lined]]),
        line_first=_starts(counts),
        line_count=np.array(counts),
        length_m=np.array([1.0 if t.centerline is None else t.length_m for t in distinct]),
        track_of=np.array([index[id(t)] for t in tracks]),
    )


def _starts(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)


def _is_closed(field: NDArray[np.float64]) -> bool:
    """Tell whether all cells along the map's edge are occupied."""
    edges = (field[0], field[-1], field[:, 0], field[:, -1])
    return not any(edge.any() for edge in edges)


def _field_cells(track: Track, border: int, solid_thin_walls: bool) -> tuple[NDArray[np.float64], bool]:
    """Return the distance field in cells, and whether it is shortened; with a border of occupied cells where asked."""
    free = np.pad(track.free, border, constant_values=False) if border else track.free
    field = distance_transform_cells(free)
    return lidar_field_cells(free, field) if solid_thin_walls else (field, False)


class Rules(NamedTuple):
    """Hold what never changes during a run."""

    beams: Beams
    vehicle: Vehicle
    switches: Switches
    timestep_s: float
    seeds: NDArray[np.uint64]  # (E,) uint64
    faulty: bool  # some car may have a fault: training.sim.draws


@structref.register
class _SimulationType(numba.types.StructRef):
    """The compiled code's type of a Simulation."""

    def preprocess_fields(self, fields: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        """Return the fields, whose types hold no constants."""
        return tuple((name, numba.types.unliteral(kind)) for name, kind in fields)


class Simulation(structref.StructRefProxy):
    """Hold all of the above for the compiled code, as one object: cars, atlas, rules.

    Numba unpacks every array that a kernel is called with, forty here, in each call: 8 us, as long as ten cars' steps.
    Of this object it takes only a pointer. Python cannot look into it, and need not: the arrays are the same.
    """


if not numba.config.DISABLE_JIT:
    structref.define_boxing(_SimulationType, Simulation)
    structref.define_constructor(Simulation, _SimulationType, ["cars", "track_arrays", "rules"])


class _PlainSimulation(NamedTuple):
    """The replacement of Simulation if numba is switched off."""

    cars: Cars
    track_arrays: TrackArrays
    rules: Rules


if numba.config.DISABLE_JIT:
    Simulation = _PlainSimulation  # type: ignore[misc,assignment]  # the same fields


@kernel
def bundle(cars: Cars, track_arrays: TrackArrays, rules: Rules) -> Simulation:
    """Return a simulation's arrays as one object."""
    return Simulation(cars, track_arrays, rules)


class Scratch(NamedTuple):
    """Hold a step's scratch memory for one environment; one for each thread."""

    rays: Rays
    corners: Floats  # (N, 4, 2) m
    before: Floats  # (N, 3) x m, y m, yaw rad ahead of a physics step
    met: Flags  # (N, N) bool, pairs that have touched in this step
    seen: Floats  # (4, 2) m, another car where an old scan saw it


@kernel
def make_scratch(cars: Cars, track_arrays: TrackArrays) -> Scratch:
    """Return one thread's scratch room."""
    num_cars = cars.states.shape[1]
    rays = make_rays(cars.scans.shape[2], track_arrays.field)
    met = np.zeros((num_cars, num_cars), np.bool_)
    return Scratch(rays, np.empty((num_cars, 4, 2)), np.empty((num_cars, 3)), met, np.empty((4, 2)))
