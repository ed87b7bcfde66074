"""What the kernels read and write: all environments' numbers, maps and rules, as arrays side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.experimental import structref

from training.sim.compiled import kernel
from training.sim.lidar import Beams, Rays, make_rays
from training.sim.params import Switches, Vehicle


class Cars(NamedTuple):
    """Hold all that a step or a reset changes: E environments, N cars, B beams."""

    states: np.ndarray  # (E, N, 7)
    scans: np.ndarray  # (E, N, B) m
    collisions: np.ndarray  # (E, N) bool
    collision_idx: np.ndarray  # (E, N) the other car's index, -1 for none
    wall_contacts: np.ndarray  # (E, N) bool
    at_fault: np.ndarray  # (E, N) bool, drove into another car
    contact_part: np.ndarray  # (E, N) where another car touched: NO_CONTACT, FRONT, SIDE or REAR
    out: np.ndarray  # (E, N) bool, taken out of the race
    arc_m: np.ndarray  # (E, N) place along the centreline
    lateral_m: np.ndarray  # (E, N) offset from it, left positive
    progress_m: np.ndarray  # (E, N) way along the centreline since the reset, unwrapped
    line_index: np.ndarray  # (E, N) where the last projection ended
    steering_queue: np.ndarray  # (E, N, MAX_STEERING_DELAY) commands on their way, rad
    friction: np.ndarray  # (E, N) this episode's draws
    mass_kg: np.ndarray  # (E, N)
    delay: np.ndarray  # (E, N) steps
    noise_m: np.ndarray  # (E, N)
    tick: np.ndarray  # (E,) physics steps since the reset
    episode: np.ndarray  # (E,) resets so far


class Atlas(NamedTuple):
    """Hold all maps one after the other, and which environment drives on which."""

    field: np.ndarray  # flat, cells
    first: np.ndarray  # (T,)
    width: np.ndarray
    height: np.ndarray
    origin_x: np.ndarray
    origin_y: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    resolution_m: np.ndarray
    closed: np.ndarray  # (T,) bool
    line: np.ndarray  # (P, 2) all centrelines
    tangent: np.ndarray  # (P, 2)
    arc_m: np.ndarray  # (P,)
    line_first: np.ndarray  # (T,)
    line_count: np.ndarray  # (T,) 0 for a map without a centreline
    length_m: np.ndarray  # (T,)
    track_of: np.ndarray  # (E,)


class Rules(NamedTuple):
    """Hold what never changes during a run."""

    beams: Beams
    vehicle: Vehicle
    switches: Switches
    timestep_s: float
    seeds: np.ndarray  # (E,) uint64


@structref.register
class _SimulationType(numba.types.StructRef):
    """The compiled code's type of a Simulation."""

    def preprocess_fields(self, fields: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        """Return the fields, whose types hold no constants."""
        return tuple((name, numba.types.unliteral(kind)) for name, kind in fields)


class Simulation(structref.StructRefProxy):
    """Hold all of the above for the compiled code, as one object: cars, atlas, rules.

    Numba looks at every array that a kernel is called with, forty here, anew in each call: 8 us, as long as ten cars'
    steps. Of this it takes a pointer. Python cannot look into it, and need not: the arrays are the same.
    """


if not numba.config.DISABLE_JIT:
    structref.define_boxing(_SimulationType, Simulation)
    structref.define_constructor(Simulation, _SimulationType, ["cars", "atlas", "rules"])


class _PlainSimulation(NamedTuple):
    """What a Simulation is where numba is switched off."""

    cars: Cars
    atlas: Atlas
    rules: Rules


if numba.config.DISABLE_JIT:
    Simulation = _PlainSimulation


@kernel
def hold(cars: Cars, atlas: Atlas, rules: Rules) -> Simulation:
    """Return a simulation's arrays as one object."""
    return Simulation(cars, atlas, rules)


class Scratch(NamedTuple):
    """Hold what a step writes down for one environment and needs no longer; one for each thread."""

    rays: Rays
    corners: np.ndarray  # (N, 4, 2) m
    before: np.ndarray  # (N, 3) x m, y m, yaw rad ahead of a physics step
    met: np.ndarray  # (N, N) bool, pairs that have touched in this step


@kernel
def make_scratch(cars: Cars, atlas: Atlas) -> Scratch:
    """Return one thread's scratch room."""
    num_cars = cars.states.shape[1]
    rays = make_rays(cars.scans.shape[2], atlas.field)
    met = np.zeros((num_cars, num_cars), np.bool_)
    return Scratch(rays, np.empty((num_cars, 4, 2)), np.empty((num_cars, 3)), met)
