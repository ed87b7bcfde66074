"""Pure pursuit on tyres that slip: along a line without kinks, at a speed that the tyres hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...sim import Vehicle
from ...sim.params import SLIP, SPEED, YAW, YAW_RATE, X, Y
from ...sim.track import centerline
from .grip import CarModel, car_model, clipped_steering, slipping_steering, speed_within_grip
from .grip_profile import grip_limits, grip_profile
from .kernel_cache import inner, kernel
from .smooth_line import LineShape, sharpest_bend_1pm, smooth_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...sim import Track
    from ..worlds import AnyWorld

    Array = NDArray[np.float64]

# The nearest point of the line is looked for so far behind and ahead of the car's place along the centreline.
_SEARCHED_M = 3.0
# Points of the line searched for each next point of the centreline: lines differ in length round a bend.
_BEFORE, _AFTER = 3, 12
# Slower than this the curvature that the tyres can give has no limit of use.
_CRAWL_MPS = 0.03
# Beyond half a car's width from the middle of the car: an outline that slides, and what a driver errs.
_CENTRE_MARGIN_M, _LINE_MARGIN_M = 0.245, 0.325


class GripPursuitSettings(NamedTuple):
    """Tune the driver. The defaults were searched for at 10 Hz and 25 Hz on generated tracks (8 m/s)."""

    max_speed_mps: float = 8.0
    lateral_share: float = 0.885  # of the grip, that the line's speeds use in bends
    longitudinal_share: float = 0.367  # and in braking and driving
    latency_s: float = 0.059  # aim from where the car will be by then
    lookahead_m: float = 0.425  # at rest
    lookahead_s: float = 0.233  # more, times the speed
    returning_share: float = 0.6  # of the grip, that returning to the line uses at most
    returning_slope: float = 0.6  # and at most at this angle to it, rad
    near_m: float = 0.25  # a car further than this from the line is slower
    slower_1pm: float = 2.0  # per metre beyond that
    preview_s: float = 0.044  # steer for the curvature reached by then, at rest: slip takes its time
    preview_s2pm: float = 0.023  # more, times the speed
    braking_share: float = 0.2  # of the grip, that braking may take in any case
    yaw_damping_s: float = 0.057  # steering, rad, per rad/s of missing yaw rate
    speed_ahead_s: float = 0.063  # ask for the speed of the place that will be reached by then
    spare_share: float = 0.97  # of the grip left lengthways, that the speed controller may take
    most_share: float = 0.98  # of the grip, that steering asks for at most


class GripPursuit:
    """Drive along each track's racing line, or near its centreline, on tyres that slip.

    The steering law is pure pursuit in the frame of the line: the curvature of the line, and that which leads back to
    a point ahead on it. To the first order that is the arc through this point, without the inner side of bends that
    pursuit cuts. The steering angle for a curvature is that of slipping tyres.

    Stateless: the same world gives the same commands. Reads World.states, arc_m and tracks, never the scans, and does
    not see other cars.

    Args:
        shape: the line; `racing_shape` or `centre_shape` of the vehicle.
        vehicle: the car that it drives.
        settings: how to drive.

    """

    def __init__(
        self,
        shape: LineShape | None = None,
        vehicle: Vehicle | None = None,
        settings: GripPursuitSettings | None = None,
    ) -> None:
        self.vehicle = vehicle or Vehicle()
        self.shape = shape or racing_shape(self.vehicle)
        chosen = settings or GripPursuitSettings()
        self.settings = chosen._replace(latency_s=chosen.latency_s + self.vehicle.steering_lag)
        self._car = car_model(self.vehicle)
        self._tracks: tuple[Track, ...] = ()
        self._course: _LaidLines | None = None

    def reset(self, where: NDArray[np.bool_] | None = None) -> None:
        """Do nothing: this driver keeps no state."""

    def act(self, world: AnyWorld) -> Array:
        """Return commands (E, N, 2): steering rad, speed m/s.

        Raises:
            TrackError: a track has no centreline.

        """
        if self._course is None or world.tracks is not self._tracks:
            self._course = _lay_course(world.tracks, self.settings, self.shape, self.vehicle)
            self._tracks = world.tracks
        commands = np.empty((world.num_envs, world.num_cars, 2))
        _pursue(world.states, world.arc_m, self._course, self.settings, self._car, commands)
        return commands


def racing_shape(vehicle: Vehicle) -> LineShape:
    """Return the racing line for a vehicle: short and round, and clear of the walls."""
    return LineShape(
        margin_m=0.5 * vehicle.width + _LINE_MARGIN_M,
        stiffness_m2=20.0,
        most_bend_1pm=sharpest_bend_1pm(vehicle),
    )


def centre_shape(vehicle: Vehicle) -> LineShape:
    """Return the line nearest to the centreline that a vehicle's steering can follow."""
    return LineShape(
        margin_m=0.5 * vehicle.width + _CENTRE_MARGIN_M,
        stiffness_m2=0.3,
        most_bend_1pm=sharpest_bend_1pm(vehicle),
        centring_1pm2=1.0,
    )


class _LaidLines(NamedTuple):
    """Hold the lines of all distinct tracks one after the other."""

    points: Array  # (P, 2)
    heading_rad: Array  # (P,)
    bend_1pm: Array  # (P,)
    speed_mps: Array  # (P,)
    chord_m: Array  # (P,) to the next point
    first: NDArray[np.int64]  # (T,)
    size: NDArray[np.int64]  # (T,) points
    near: NDArray[
        np.int64
    ]  # (C,) point of the line across from each point of the centreline, counted from the first
    near_first: NDArray[np.int64]  # (T,)
    near_size: NDArray[np.int64]  # (T,)
    lap_m: Array  # (T,) of the centreline
    track_of: NDArray[np.int64]  # (E,)


def _lay_course(
    tracks: Sequence[Track], settings: GripPursuitSettings, shape: LineShape, vehicle: Vehicle
) -> _LaidLines:
    distinct = list({id(t): t for t in tracks}.values())
    index = {id(t): i for i, t in enumerate(distinct)}
    limits = grip_limits(vehicle, settings.max_speed_mps, settings.lateral_share, settings.longitudinal_share)
    lines = [smooth_line(t, shape) for t in distinct]
    chords = [centerline.chord_lengths(points) for points in lines]
    tangents = np.concatenate([centerline.tangents(*line) for line in zip(lines, chords, strict=True)])
    near = [_across(t.curve.points, points) for t, points in zip(distinct, lines, strict=True)]
    counts, sizes = [len(points) for points in lines], [len(one) for one in near]
    return _LaidLines(
        points=np.concatenate(lines),
        heading_rad=np.arctan2(tangents[:, 1], tangents[:, 0]),
        bend_1pm=np.concatenate([centerline.curvature(*line) for line in zip(lines, chords, strict=True)]),
        speed_mps=np.concatenate([grip_profile(points, limits) for points in lines]),
        chord_m=np.concatenate(chords),
        first=np.cumsum([0, *counts[:-1]]),
        size=np.array(counts),
        near=np.concatenate(near),
        near_first=np.cumsum([0, *sizes[:-1]]),
        near_size=np.array(sizes),
        lap_m=np.array([t.length_m for t in distinct]),
        track_of=np.array([index[id(t)] for t in tracks]),
    )


@kernel
def _across(centre: Array, line: Array) -> NDArray[np.int64]:
    """Return the index of the line's point nearest to each point of the centreline, in the order of driving."""
    count = line.shape[0]
    near = np.empty(centre.shape[0], np.int64)
    x, y = centre[0]
    last = int(np.argmin((line[:, 0] - x) ** 2 + (line[:, 1] - y) ** 2))
    for i in range(centre.shape[0]):
        best, here = np.inf, last
        for k in range(here - _BEFORE, here + _AFTER + 1):
            dx, dy = line[k % count, 0] - centre[i, 0], line[k % count, 1] - centre[i, 1]
            if dx * dx + dy * dy < best:
                best, last = dx * dx + dy * dy, k % count
        near[i] = last
    return near


@kernel
def _pursue(  # noqa: PLR0913, PLR0917 - what is driven, by what, and where the commands go
    states: Array,
    arc_m: Array,
    course: _LaidLines,
    settings: GripPursuitSettings,
    car: CarModel,
    commands: Array,
) -> None:
    for e in range(states.shape[0]):
        track = course.track_of[e]
        begin, count = course.first[track], course.size[track]
        for n in range(states.shape[1]):
            s, speed = states[e, n], max(states[e, n, SPEED], 0.0)
            # Pursuit uses the direction in which the car moves, not its heading: it slides.
            way = s[YAW] + s[SLIP] + 0.5 * s[YAW_RATE] * settings.latency_s
            x = s[X] + speed * settings.latency_s * math.cos(way)
            y = s[Y] + speed * settings.latency_s * math.sin(way)
            way += 0.5 * s[YAW_RATE] * settings.latency_s
            guess = int(arc_m[e, n] / course.lap_m[track] * course.near_size[track]) % course.near_size[track]
            near = course.near[course.near_first[track] + guess]
            i, part, off_m = _project(course, begin, count, near, (x, y))
            turned = _wrapped(way - _heading(course, begin, count, i, part))
            j, ahead = _further(
                course, begin, count, (i, part), (settings.preview_s + settings.preview_s2pm * speed) * speed
            )
            bend = _between(course.bend_1pm, begin, count, j, ahead)
            reach = settings.lookahead_m + settings.lookahead_s * speed
            beyond_m = max(abs(off_m) - settings.near_m, 0.0)
            # Back to the line at an angle and with a lateral acceleration that are bounded.
            furthest = 0.5 * settings.returning_share * car.grip_mps2 * (reach / max(speed, _CRAWL_MPS)) ** 2
            furthest = min(furthest, settings.returning_slope * reach)
            off_m = min(max(off_m, -furthest), furthest)
            wanted = bend - 2.0 * (off_m / reach + math.sin(turned)) / reach
            most = settings.most_share * car.grip_mps2 / max(speed, _CRAWL_MPS) ** 2
            curvature = min(max(wanted, -most), most)
            steering = slipping_steering(curvature, speed, car)
            steering += settings.yaw_damping_s * (curvature * speed - s[YAW_RATE])
            commands[e, n, 0] = clipped_steering(steering, car)
            j, ahead = _further(course, begin, count, (i, part), settings.speed_ahead_s * speed)
            fast = _between(course.speed_mps, begin, count, j, ahead)
            fast /= 1.0 + settings.slower_1pm * beyond_m
            fast = min(fast, math.sqrt(car.grip_mps2 / max(abs(wanted), 1e-9)))
            lateral = max(abs(speed * s[YAW_RATE]), abs(curvature) * speed * speed)
            fast = speed_within_grip(
                fast, speed, lateral, (settings.spare_share, settings.braking_share), car
            )
            commands[e, n, 1] = max(min(fast, settings.max_speed_mps), 0.0)


@inner
def _wrapped(angle: float) -> float:
    """Return an angle, rad, within -π and π."""
    return angle - 2.0 * math.pi * math.floor(angle / (2.0 * math.pi) + 0.5)


@inner
def _project(
    course: _LaidLines, begin: int, count: int, guess: int, place: tuple[float, float]
) -> tuple[int, float, float]:
    """Return where on the line a place is: the point passed last, the part of its chord, the offset to the left, m.

    begin, count: the line's points; guess: one of those nearby.
    """
    x, y = place
    around = int(_SEARCHED_M / course.chord_m[begin])
    best, i = np.inf, guess
    for k in range(guess - around, guess + around + 1):
        dx, dy = course.points[begin + k % count, 0] - x, course.points[begin + k % count, 1] - y
        if dx * dx + dy * dy < best:
            best, i = dx * dx + dy * dy, k % count
    dx, dy = x - course.points[begin + i, 0], y - course.points[begin + i, 1]
    heading = course.heading_rad[begin + i]
    if dx * math.cos(heading) + dy * math.sin(heading) < 0.0:
        i = (i - 1) % count
        dx, dy = x - course.points[begin + i, 0], y - course.points[begin + i, 1]
    after, chord = begin + (i + 1) % count, course.chord_m[begin + i]
    along_x = (course.points[after, 0] - course.points[begin + i, 0]) / chord
    along_y = (course.points[after, 1] - course.points[begin + i, 1]) / chord
    part = min(max((dx * along_x + dy * along_y) / chord, 0.0), 1.0)
    return i, part, along_x * dy - along_y * dx


@inner
def _heading(course: _LaidLines, begin: int, count: int, i: int, part: float) -> float:
    """Return the line's heading, rad, at a part of the chord from point i."""
    here = course.heading_rad[begin + i]
    heading: float = here + part * _wrapped(course.heading_rad[begin + (i + 1) % count] - here)
    return heading


@inner
def _between(values: Array, begin: int, count: int, i: int, part: float) -> float:
    """Return a value at a part of the chord from point i."""
    here = values[begin + i]
    value: float = here + part * (values[begin + (i + 1) % count] - here)
    return value


@inner
def _further(
    course: _LaidLines, begin: int, count: int, at: tuple[int, float], way_m: float
) -> tuple[int, float]:
    """Return the point passed last, and the chord's part, when going `way_m` along the line from a part of chord i."""
    i, part = at
    way_m += part * course.chord_m[begin + i]
    while way_m > course.chord_m[begin + i]:
        way_m -= course.chord_m[begin + i]
        i = (i + 1) % count
    return i, way_m / course.chord_m[begin + i]
