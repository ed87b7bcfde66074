"""Follow the gap: steer for the middle of the widest-reaching free way that the lidar sees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
from numba import prange

from ...sim import Vehicle
from ...sim.params import SPEED, YAW_RATE
from .grip import CarModel, car_model, clipped_steering, slipping_steering, speed_within_grip
from .kernel_cache import inner_ieee, kernel, parallel_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..worlds import AnyWorld

    Array = NDArray[np.float64]

FEWEST_BEAMS = 20
# Scans are thinned to this many obstacles by the nearest of neighbouring beams, and filled up to as many by
# points between beams: cost and meaning then hardly depend on the number of beams.
_OBSTACLES = 120
_BEARING_ERROR_RAD = 0.004
# Of the grip, that braking may take in any case, on tyres that slip.
_BRAKING_SHARE = 0.3
# Headings are asked in groups, and the loops over points and headings have no branch: so the compiler makes vector
# instructions of them, which take half the time (docs/notes/performance.md).
_GROUP = 8
_PARALLEL_FROM = 16  # environments: fewer are quicker on one thread


class GapSettings(NamedTuple):
    """Tune the driver.

    The defaults complete every lap of 30 generated tracks that they were not searched on, from three starts
    each, at 10, 25, 50 and 100 Hz, with 20, 108 and 1080 beams: 7.1 to 7.2 m/s from standing, at the cap of 8.
    Later braking reaches 7.8 m/s there and fails on narrow tracks.
    """

    max_speed_mps: float = 8.0
    min_speed_mps: float = 1.0
    half_width_m: float = 0.155  # of the car
    margin_m: float = 0.23  # next to the car, on both sides
    horizon_m: float = 4.5  # free space further ahead does not count
    gap_share: float = 0.73  # headings free this share of the best one's way are of one gap
    lookahead_m: float = 1.4  # steer along the arc to a point this far in the gap
    lateral_mps2: float = 18.0
    braking_mps2: float = 6.0  # be able to stop within the free way
    headings: int = 61
    half_view_rad: float = 0.85  # headings looked at, on both sides
    fov_rad: float = 4.7  # of the lidar
    # Of the grip left lengthways, on tyres that slip, that the speed controller may take; 0: tyres without a limit.
    spare_share: float = 0.0


class FollowTheGap:
    """Drive by the newest scan alone: no map, no memory; no speed but on tyres that slip.

    Every beam's end is grown by the car's half width and a margin (Otterness 2019, The disparity extender
    algorithm, here for every beam and not only at disparities), which leaves a free way for each heading. The
    car steers for the middle of the headings around the longest.

    Args:
        settings: how to drive.
        vehicle: the car that it drives.

    """

    def __init__(self, settings: GapSettings | None = None, vehicle: Vehicle | None = None) -> None:
        self.settings = settings or GapSettings()
        self._car = car_model(vehicle or Vehicle())
        self._sight = _see(self.settings, FEWEST_BEAMS)

    def reset(self, where: NDArray[np.bool_] | None = None) -> None:
        """Do nothing: this driver keeps no state."""

    def act(self, world: AnyWorld) -> Array:
        """Return commands (E, N, 2): steering rad, speed m/s.

        Raises:
            ValueError: the scans have fewer than 20 beams.

        """
        if world.beams < FEWEST_BEAMS:
            raise ValueError(f"beams={world.beams}: follow-the-gap needs at least {FEWEST_BEAMS}")
        if world.beams != self._sight.beams.shape[1]:
            self._sight = _see(self.settings, world.beams)
        commands = np.empty((world.num_envs, world.num_cars, 2))
        given = (world.scans, world.states, self.settings, self._sight, self._car)
        if world.num_envs >= _PARALLEL_FROM:
            _follow_in_parallel(*given, numba.get_num_threads(), commands)
        else:
            _follow(*given, (0, world.num_envs), commands)
        return commands


class _Directions(NamedTuple):
    """Hold cosine and sine of the directions that every car checks."""

    looks: Array  # (2, headings), filled up to whole groups by zeros, which nothing stands in the way of
    beams: Array  # (2, B)


def _see(settings: GapSettings, beams: int) -> _Directions:
    headings = np.linspace(-settings.half_view_rad, settings.half_view_rad, settings.headings)
    angles = np.linspace(-0.5 * settings.fov_rad, 0.5 * settings.fov_rad, beams)
    looks = np.stack([np.cos(headings), np.sin(headings)])
    return _Directions(
        looks=np.pad(looks, ((0, 0), (0, -settings.headings % _GROUP))),
        beams=np.stack([np.cos(angles), np.sin(angles)]),
    )


@parallel_kernel
def _follow_in_parallel(  # noqa: PLR0913, PLR0917 - a parallel kernel takes no tuple of tuples
    scans: NDArray[np.floating],
    states: Array,
    settings: GapSettings,
    sight: _Directions,
    car: CarModel,
    parts: int,
    commands: Array,
) -> None:
    envs = scans.shape[0]
    for part in prange(parts):
        span = (part * envs // parts, (part + 1) * envs // parts)
        _follow(scans, states, settings, sight, car, span, commands)


@kernel
def _follow(  # noqa: PLR0913, PLR0917 - as above
    scans: NDArray[np.floating],
    states: Array,
    settings: GapSettings,
    sight: _Directions,
    car: CarModel,
    span: tuple[int, int],
    commands: Array,
) -> None:
    """Write the commands (E, N, 2) of the span's environments from their scans (E, N, B) and states (E, N, 7)."""
    room = _make_room(scans.shape[2], sight)
    for e in range(span[0], span[1]):
        for n in range(scans.shape[1]):
            _find_obstacles(scans[e, n], settings, sight.beams, room.points)
            _find_free_ways(room, settings, sight.looks)
            _command(room.free[: settings.headings], states[e, n], settings, car, commands[e, n])


class _Room(NamedTuple):
    """Hold the scratch memory for one car; one for each thread."""

    points: Array  # (2, P): where the scan ends, x and y in metres in the car's frame
    first: NDArray[np.int64]  # (P,) of the headings that a point may stand in the way of
    stop: NDArray[np.int64]  # (P,)
    free: Array  # (headings,), filled up as looks are: how far, m, the car can move


@kernel
def _make_room(beams: int, sight: _Directions) -> _Room:
    points = (_ends(beams) - 1) * _points_per_end(beams) + 1
    first, stop = np.empty(points, np.int64), np.empty(points, np.int64)
    return _Room(np.empty((2, points)), first, stop, np.empty(sight.looks.shape[1]))


@inner_ieee
def _command(free: Array, state: Array, settings: GapSettings, car: CarModel, command: Array) -> None:
    """Write steering and speed (2,) towards the middle of the gap."""
    heading, way = _middle_of_gap(free, settings)
    curvature = 2.0 * math.sin(heading) / settings.lookahead_m
    speed = min(settings.max_speed_mps, math.sqrt(settings.lateral_mps2 / max(abs(curvature), 1e-9)))
    speed = min(speed, math.sqrt(2.0 * settings.braking_mps2 * max(way, 0.0)))
    speed = max(speed, settings.min_speed_mps)
    steering = curvature * (car.wheelbase_m + car.understeer_s2pm * speed * speed)
    if settings.spare_share > 0.0:
        now = max(state[SPEED], 0.0)
        steering = slipping_steering(curvature, now, car)
        lateral = max(abs(now * state[YAW_RATE]), min(abs(curvature) * now * now, car.grip_mps2))
        speed = max(
            speed_within_grip(speed, now, lateral, (settings.spare_share, _BRAKING_SHARE), car),
            settings.min_speed_mps,
        )
    command[0] = clipped_steering(steering, car)
    command[1] = speed


@inner_ieee
def _ends(beams: int) -> int:
    """Return how many beams' ends are left of a scan where the nearest of neighbouring beams stands for all."""
    pooled = max(1, beams // _OBSTACLES)
    return (beams + pooled - 1) // pooled


@inner_ieee
def _points_per_end(beams: int) -> int:
    return max(1, _OBSTACLES // _ends(beams))


@inner_ieee
def _find_obstacles(scan: NDArray[np.floating], settings: GapSettings, beams: Array, points: Array) -> None:
    """Write where the scan ends, x and y in metres in the car's frame, about _OBSTACLES points (2, P)."""
    pooled, apart = max(1, scan.size // _OBSTACLES), _points_per_end(scan.size)
    for k in range(_ends(scan.size)):
        near = k * pooled
        for i in range(k * pooled, min((k + 1) * pooled, scan.size)):
            if scan[i] < scan[near]:
                near = i
        reach = min(scan[near], 2.0 * settings.horizon_m)
        here, before = k * apart, (k - 1) * apart
        for axis in range(2):
            points[axis, here] = reach * beams[axis, near]
            if k == 0:
                continue
            way = points[axis, here] - points[axis, before]
            for m in range(1, apart):
                points[axis, before + m] = points[axis, before] + m / apart * way


@inner_ieee
def _rough_bearing(x: float, y: float) -> float:
    """Return atan2(y, x) to within _BEARING_ERROR_RAD.

    Rajan et al. 2006, Efficient approximations for the arctangent function, IEEE Signal Processing Magazine 23.
    """
    ax, ay = abs(x), abs(y)
    ratio = min(ax, ay) / max(ax, ay, 1e-12)
    angle = ratio * (0.25 * math.pi + 0.273 * (1.0 - ratio))
    if ay > ax:
        angle = 0.5 * math.pi - angle
    if x < 0.0:
        angle = math.pi - angle
    return -angle if y < 0.0 else angle


@inner_ieee
def _find_free_ways(room: _Room, settings: GapSettings, looks: Array) -> None:
    """Write how far, m, a disc as wide as the car and its margins can move at each heading.

    A point stands only in the way of the few headings that pass it nearer than the disc's radius; the others are
    skipped.
    """
    _find_headings(room, settings)
    radius = settings.half_width_m + settings.margin_m
    room.free[:] = settings.horizon_m
    for k in range(room.first.size):
        low = room.first[k] // _GROUP * _GROUP
        stop = (room.stop[k] + _GROUP - 1) // _GROUP * _GROUP
        if low < stop:
            place = (room.points[0, k], room.points[1, k])
            _shorten(room.free[low:stop], place, radius, looks[0, low:stop], looks[1, low:stop])


@inner_ieee
def _find_headings(room: _Room, settings: GapSettings) -> None:
    """Write which headings each point may stand in the way of: none too few."""
    radius = settings.half_width_m + settings.margin_m
    per_rad = 0.5 * (settings.headings - 1) / settings.half_view_rad
    for k in range(room.first.size):
        x, y = room.points[0, k], room.points[1, k]
        distance = math.sqrt(x * x + y * y)
        sine = radius / max(distance, 1e-9)
        # Above the arc sine of the disc's half width as seen from the car.
        spread = _BEARING_ERROR_RAD + (
            sine * (1.0 + (0.5 * math.pi - 1.0) * sine * sine) if sine < 1.0 else 0.5 * math.pi
        )
        bearing = _rough_bearing(x, y) + settings.half_view_rad
        beyond = distance >= settings.horizon_m + radius
        room.first[k] = max(math.floor((bearing - spread) * per_rad), 0)
        room.stop[k] = 0 if beyond else min(math.ceil((bearing + spread) * per_rad) + 1, settings.headings)


@inner_ieee
def _shorten(free: Array, place: tuple[float, float], radius: float, cosine: Array, sine: Array) -> None:
    """Shorten the free ways at some headings to where the disc meets a point."""
    x, y = place
    for h in range(free.size):
        along = cosine[h] * x + sine[h] * y
        across = cosine[h] * y - sine[h] * x
        way = along - math.sqrt(max(radius * radius - across * across, 0.0))
        meets = (along > 0.0) & (abs(across) < radius) & (way < free[h])
        free[h] = way if meets else free[h]


@inner_ieee
def _middle_of_gap(free: Array, settings: GapSettings) -> tuple[float, float]:
    """Return the middle heading, rad, of the gap around the longest free way, and that way, m.

    Of equally long ones the straightest counts.
    """
    middle = (free.size - 1) // 2
    best = middle
    for k in range(1, middle + 1):
        for h in (middle - k, middle + k):
            if free[h] > free[best] + 1e-9:
                best = h
    least = settings.gap_share * free[best]
    low = high = best
    while low > 0 and free[low - 1] >= least:
        low -= 1
    while high < free.size - 1 and free[high + 1] >= least:
        high += 1
    total = weight = 0.0
    for h in range(low, high + 1):
        total += free[h] * h
        weight += free[h]
    centre = total / weight if weight > 0.0 else float(best)
    return settings.half_view_rad * (2.0 * centre / (free.size - 1) - 1.0), free[best]
