"""One car's scan and what it measures of its own motion: walls, cars, obstacles, noise and faults."""

from __future__ import annotations

import math

import numpy as np

from .array_types import EitherFloats, Floats
from .arrays import Cars, Rules, Scratch, TrackArrays
from .collision import fill_corners
from .compiled import inlined
from .draws import (
    BEAM_DROPOUT,
    BLOCK_DROPOUT,
    LIDAR_OFFSET,
    SCAN_BIAS,
    SCAN_LATENCY,
    SCAN_PERIOD,
    SCAN_PHASE,
    SPEED_BIAS,
    SPEED_NOISE,
    STEERING_BIAS,
    STEERING_NOISE,
    YAW_RATE_BIAS,
    YAW_RATE_NOISE,
)
from .lidar import View, cast, draw_car, exact_directions, table_directions, to_cells
from .noise import add_gaussian, chain, disturb, uniform
from .params import POSES_KEPT, SPEED, STEERING, YAW, YAW_RATE, X, Y

# Set a scan's keys apart: dropouts, what is measured.
_DISTURBED, _BLOCK, _MEASURED = 1 << 40, 1 << 41, 1 << 42
# Widest block of beams without a return, rad: a black tube at arm's length.
_WIDEST_BLOCK_RAD = 0.5


@inlined
def view_of(track_arrays: TrackArrays, e: int) -> View:
    """Return the map of an environment."""
    t = track_arrays.track_of[e]
    return View(
        track_arrays.first[t],
        track_arrays.width[t],
        track_arrays.height[t],
        track_arrays.origin_x[t],
        track_arrays.origin_y[t],
        track_arrays.cosine[t],
        track_arrays.sine[t],
        track_arrays.resolution_m[t],
        track_arrays.closed[t],
        track_arrays.thin[t],
    )


@inlined
def _age(cars: Cars, rules: Rules, e: int, n: int) -> int:
    """Return how many physics steps ago the newest scan that has arrived was taken."""
    if not rules.faulty:
        return 0
    faults, now = cars.faults[e, n], cars.tick[e]
    age = int(faults[SCAN_LATENCY])
    period = faults[SCAN_PERIOD] / rules.timestep_s
    if period > 0.0:
        beats = (now - age) / period - faults[SCAN_PHASE]
        age += int((beats - math.floor(beats)) * period)
    newest: int = min(age, now)
    return newest


@inlined
def _pose_then(cars: Cars, e: int, n: int, age: int) -> tuple[float, float, float]:
    """Return a car's pose some physics steps ago."""
    if age == 0:
        s = cars.states[e, n]
        return s[X], s[Y], s[YAW]
    pose = cars.past[e, n, (cars.tick[e] - age) % POSES_KEPT]
    return pose[0], pose[1], pose[2]


@inlined
def keep_pose(cars: Cars, e: int, n: int) -> None:
    """Keep where a car is at the end of a physics step."""
    s, kept = cars.states[e, n], cars.past[e, n, cars.tick[e] % POSES_KEPT]
    kept[0], kept[1], kept[2] = s[X], s[Y], s[YAW]


@inlined
def _scanner(cars: Cars, rules: Rules, e: int, n: int, age: int) -> tuple[float, float, float]:
    """Return the pose of a car's scanner when a scan was taken."""
    x, y, yaw = _pose_then(cars, e, n, age)
    ahead = rules.vehicle.lidar_x
    if rules.faulty:
        ahead += cars.faults[e, n, LIDAR_OFFSET]
    if ahead == 0.0:
        return x, y, yaw
    return x + ahead * math.cos(yaw), y + ahead * math.sin(yaw), yaw


@inlined
def scan_walls(
    cars: Cars, track_arrays: TrackArrays, rules: Rules, scratch: Scratch, e: int, n: int
) -> float:
    """Scan the walls; return a range, m, that no beam of the scan falls below."""
    view, rays = view_of(track_arrays, e), scratch.rays
    x, y, yaw = _scanner(cars, rules, e, n, _age(cars, rules, e, n))
    if rules.switches.exact_beams:
        exact_directions(yaw, rules.beams, view, rays)
    else:
        table_directions(yaw, rules.beams, view, rays)
    start = to_cells(x, y, view)
    shortest = cast(start, rays, track_arrays.field, view, rules.beams.max_range_m, cars.scans[e, n])
    if not rules.switches.independent_noise and cars.noise_m[e, n] > 0.0:
        add_gaussian(chain(rules.seeds[e], cars.tick[e]), cars.noise_m[e, n], cars.scans[e, n])
        return -np.inf
    return shortest


@inlined
def finish_scan(cars: Cars, rules: Rules, scratch: Scratch, e: int, n: int) -> None:
    """Draw what stands on the track into a scan, then add the noise and the faults of this car, episode and step."""
    age = _age(cars, rules, e, n)
    pose = _scanner(cars, rules, e, n, age)
    scan = cars.scans[e, n]
    for other in range(cars.states.shape[1]):
        if other != n and not cars.out[e, other]:
            if age == 0:
                draw_car(pose, scratch.corners[other], rules.beams, scan)
            else:
                x, y, yaw = _pose_then(cars, e, other, age)
                fill_corners(x, y, yaw, rules.vehicle.length, rules.vehicle.width, scratch.seen)
                draw_car(pose, scratch.seen, rules.beams, scan)
    for k in range(cars.obstacle_count[e]):
        draw_car(pose, cars.obstacles[e, k], rules.beams, scan)
    key = chain(chain(chain(rules.seeds[e], cars.episode[e]), n), cars.tick[e])
    if rules.faulty:
        faults = cars.faults[e, n]
        disturb(
            chain(key, _DISTURBED),
            faults[SCAN_BIAS],
            cars.noise_m[e, n],
            faults[BEAM_DROPOUT],
            rules.beams.max_range_m,
            scan,
        )
        _drop_block(faults[BLOCK_DROPOUT], rules, chain(key, _BLOCK), scan)
        _measure(cars, e, n, chain(key, _MEASURED))
    elif rules.switches.independent_noise and cars.noise_m[e, n] > 0.0:
        add_gaussian(key, cars.noise_m[e, n], scan)
        for i in range(scan.size):
            scan[i] = min(max(scan[i], 0.0), rules.beams.max_range_m)


@inlined
def _drop_block(share: float, rules: Rules, key: np.uint64, scan: EitherFloats) -> None:
    """Set a block of beams to the scanner's range, in this share of all scans."""
    if share > 0.0 and uniform(chain(key, 1), 0.0, 1.0) < share:
        wide = int(uniform(chain(key, 2), 0.0, _WIDEST_BLOCK_RAD) / rules.beams.fov_rad * scan.size) + 1
        first = int(uniform(chain(key, 3), 0.0, 1.0) * scan.size)
        for i in range(first, min(first + wide, scan.size)):
            scan[i] = rules.beams.max_range_m


@inlined
def _measure(cars: Cars, e: int, n: int, key: np.uint64) -> None:
    """Write what a car measures of its own motion: speed m/s, yaw rate rad/s, steering angle rad."""
    s, faults, measured = cars.states[e, n], cars.faults[e, n], cars.measured[e, n]
    measured[:] = 0.0
    add_gaussian(key, 1.0, measured)
    measured[0] = s[SPEED] + faults[SPEED_BIAS] + faults[SPEED_NOISE] * measured[0]
    measured[1] = s[YAW_RATE] + faults[YAW_RATE_BIAS] + faults[YAW_RATE_NOISE] * measured[1]
    measured[2] = s[STEERING] + faults[STEERING_BIAS] + faults[STEERING_NOISE] * measured[2]


def true_measurements(states: Floats) -> Floats:
    """Return what cars without faults measure, (E, N, 3): speed m/s, yaw rate rad/s, steering angle rad."""
    measured: Floats = states[..., [SPEED, YAW_RATE, STEERING]]
    return measured
