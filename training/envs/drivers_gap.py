"""Follow the gap: steer for the middle of the widest-reaching free way that the lidar sees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import prange

from training.sim import Vehicle
from training.sim.compiled import inner_ieee, kernel, parallel_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.sim import World

    Array = NDArray[np.float64]

FEWEST_BEAMS = 20
_GRAVITY_MPS2 = 9.81
# Scans are thinned to this many obstacles by the nearest of neighbouring beams, and filled up to as many by
# points between beams: cost and meaning then hardly depend on the number of beams.
_OBSTACLES = 120
_BEARING_ERROR_RAD = 0.004
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
    margin_m: float = 0.23  # beside it, on both sides
    horizon_m: float = 4.5  # what is free further ahead does not count
    gap_share: float = 0.73  # headings free this share of the best one's way are of one gap
    lookahead_m: float = 1.4  # steer along the arc to a point this far in the gap
    lateral_mps2: float = 18.0
    braking_mps2: float = 6.0  # be able to stop within the free way
    headings: int = 61
    half_view_rad: float = 0.85  # headings looked at, on both sides
    fov_rad: float = 4.7  # of the lidar


class FollowTheGap:
    """Drive by the newest scan alone: no map, no speed, no memory.

    Every beam's end is grown by the car's half width and a margin (Otterness 2019, The disparity extender
    algorithm, here for every beam and not only at disparities), which leaves a free way for each heading. The
    car steers for the middle of the headings around the longest.
    """

    def __init__(self, settings: GapSettings | None = None) -> None:
        self.settings = settings or GapSettings()
        view = self.settings.half_view_rad
        headings = np.linspace(-view, view, self.settings.headings)
        self._looks = np.stack([np.cos(headings), np.sin(headings)], axis=1)

    def reset(self, where: NDArray[np.bool_] | None = None) -> None:
        """Forget nothing: there is nothing to forget."""

    def act(self, world: World) -> Array:
        """Return commands (E, N, 2): steering rad, speed m/s.

        Raises:
            ValueError: the scans have fewer than 20 beams.

        """
        if world.beams < FEWEST_BEAMS:
            raise ValueError(f"beams={world.beams}: follow-the-gap needs at least {FEWEST_BEAMS}")
        commands = np.empty((world.num_envs, world.num_cars, 2))
        if world.num_envs >= _PARALLEL_FROM:
            _follow_in_parallel(world.scans, self.settings, Vehicle(), self._looks, commands)
        else:
            for scans, told in zip(world.scans, commands, strict=True):
                _follow(scans, self.settings, Vehicle(), self._looks, told)
        return commands


@parallel_kernel
def _follow_in_parallel(
    scans: NDArray[np.floating], settings: GapSettings, car: Vehicle, looks: Array, commands: Array
) -> None:
    for e in prange(scans.shape[0]):
        _follow(scans[e], settings, car, looks, commands[e])


@kernel
def _follow(
    scans: NDArray[np.floating], settings: GapSettings, car: Vehicle, looks: Array, commands: Array
) -> None:
    """Write the commands (N, 2) of the cars of one environment from their scans (N, B)."""
    understeer = (1.0 / car.C_Sf - 1.0 / car.C_Sr) / (car.mu * _GRAVITY_MPS2)
    free = np.empty(settings.headings)
    for n in range(scans.shape[0]):
        px, py = _obstacles(scans[n], settings)
        _free_ways(px, py, settings, looks, free)
        heading, way = _middle_of_gap(free, settings)
        curvature = 2.0 * math.sin(heading) / settings.lookahead_m
        speed = min(settings.max_speed_mps, math.sqrt(settings.lateral_mps2 / max(abs(curvature), 1e-9)))
        speed = min(speed, math.sqrt(2.0 * settings.braking_mps2 * max(way, 0.0)))
        speed = max(speed, settings.min_speed_mps)
        steering = curvature * (car.lf + car.lr + understeer * speed * speed)
        commands[n, 0] = min(max(steering, car.s_min), car.s_max)
        commands[n, 1] = speed


@kernel
def _obstacles(scan: NDArray[np.floating], settings: GapSettings) -> tuple[Array, Array]:
    """Return where the scan ends, x and y in metres in the car's frame, about _OBSTACLES points."""
    beams = scan.size
    increment = settings.fov_rad / (beams - 1)
    pooled = max(1, beams // _OBSTACLES)
    count = (beams + pooled - 1) // pooled
    x, y = np.empty(count), np.empty(count)
    for k in range(count):
        near = k * pooled
        for i in range(k * pooled, min((k + 1) * pooled, beams)):
            if scan[i] < scan[near]:
                near = i
        angle = near * increment - 0.5 * settings.fov_rad
        reach = min(scan[near], 2.0 * settings.horizon_m)
        x[k], y[k] = reach * math.cos(angle), reach * math.sin(angle)
    filled = max(1, _OBSTACLES // count)
    if filled == 1:
        return x, y
    fx, fy = np.empty((count - 1) * filled + 1), np.empty((count - 1) * filled + 1)
    for k in range(count - 1):
        for m in range(filled):
            part = m / filled
            fx[k * filled + m] = x[k] + part * (x[k + 1] - x[k])
            fy[k * filled + m] = y[k] + part * (y[k + 1] - y[k])
    fx[-1], fy[-1] = x[-1], y[-1]
    return fx, fy


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
def _free_ways(px: Array, py: Array, settings: GapSettings, looks: Array, free: Array) -> None:
    """Write how far, m, a disc as wide as the car and its margins can move at each heading.

    looks: cosine and sine of each heading, (headings, 2). A point stands only in the way of the few headings that
    pass it nearer than the disc's radius; the others are not asked.
    """
    radius = settings.half_width_m + settings.margin_m
    per_rad = 0.5 * (settings.headings - 1) / settings.half_view_rad
    rearmost = math.cos(settings.half_view_rad)  # of the outermost heading
    free[:] = settings.horizon_m
    for k in range(px.size):
        distance = math.sqrt(px[k] * px[k] + py[k] * py[k])
        if distance >= settings.horizon_m + radius or px[k] < rearmost * distance - 1.5 * radius:
            continue
        sine = radius / max(distance, 1e-9)
        # Above the arc sine of the disc's half width as seen from the car; the exact test below narrows it.
        spread = _BEARING_ERROR_RAD + (
            sine * (1.0 + (0.5 * math.pi - 1.0) * sine * sine) if sine < 1.0 else 0.5 * math.pi
        )
        bearing = _rough_bearing(px[k], py[k]) + settings.half_view_rad
        low = max(math.floor((bearing - spread) * per_rad), 0)
        high = min(math.ceil((bearing + spread) * per_rad), settings.headings - 1)
        for h in range(low, high + 1):
            along = looks[h, 0] * px[k] + looks[h, 1] * py[k]
            across = looks[h, 0] * py[k] - looks[h, 1] * px[k]
            # Nothing nearer than its middle less the radius: most points need no root.
            if along > 0.0 and abs(across) < radius and along - radius < free[h]:
                free[h] = min(free[h], along - math.sqrt(radius * radius - across * across))


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
