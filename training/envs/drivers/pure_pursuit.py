"""Pure pursuit: steer for a point ahead on a line, as fast as its bends allow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...sim import Vehicle
from ...sim.params import SLIP, SPEED, YAW, YAW_RATE, X, Y
from ...sim.track import centerline
from .grip import CarModel, car_model, clipped_steering
from .kernel_cache import kernel
from .racing_line import LineSettings, SpeedLimits, racing_line, speed_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...sim import Track
    from ..worlds import AnyWorld

    Array = NDArray[np.float64]

# Points of the line searched behind and ahead of the car's place along the centreline: indices are the same.
_BEHIND, _AHEAD = 8, 16
_SERVO_SHARE = 0.8  # of the servo's range; of 5,040 standing starts anywhere, 10 Hz: 1 lost, 193 without it
_SLOWEST_MPS = 3.0  # a slower car may gain speed whatever it steers


class PursuitSettings(NamedTuple):
    """Tune the driver. The defaults were searched for at 10 Hz and at 25 Hz on generated tracks (8 m/s)."""

    limits: SpeedLimits = SpeedLimits()
    lookahead_m: float = 0.5  # at rest
    lookahead_s: float = 0.193  # more, times the speed
    latency_s: float = 0.097  # aim from where the car will be by then: servo, delay and half a decision
    speed_ahead_s: float = 0.1  # ask for the speed of the place that will be reached by then
    yaw_damping_s: float = 0.028  # steering, rad, per rad/s of missing yaw rate


class PurePursuit:
    """Drive along each track's centreline, or along its racing line.

    Stateless: the same world gives the same commands. Reads World.states, arc_m and tracks, never the scans,
    and does not see other cars.

    Args:
        settings: how to drive.
        line: None for the centreline; settings for the racing line.
        vehicle: the car that it drives, on linear tyres.

    """

    def __init__(
        self,
        settings: PursuitSettings | None = None,
        line: LineSettings | None = None,
        vehicle: Vehicle | None = None,
    ) -> None:
        self.settings, self.line = settings or PursuitSettings(), line
        self._car = car_model(vehicle or Vehicle())
        self._tracks: tuple[Track, ...] = ()
        self._course: _Course | None = None

    def reset(self, where: NDArray[np.bool_] | None = None) -> None:
        """Do nothing: this driver keeps no state."""

    def act(self, world: AnyWorld) -> Array:
        """Return commands (E, N, 2): steering rad, speed m/s.

        Raises:
            TrackError: a track has no centreline.

        """
        if self._course is None or world.tracks is not self._tracks:
            self._course, self._tracks = _lay_course(world.tracks, self.settings, self.line), world.tracks
        commands = np.empty((world.num_envs, world.num_cars, 2))
        _pursue(world.states, world.arc_m, self._course, self.settings, self._car, commands)
        return commands


class _Course(NamedTuple):
    """Hold the lines of all distinct tracks one after the other."""

    points: Array  # (P, 2)
    speed_mps: Array  # (P,)
    chord_m: Array  # (P,) to the next point
    first: NDArray[np.int64]  # (T,)
    size: NDArray[np.int64]  # (T,) points
    lap_m: Array  # (T,) of the centreline
    track_of: NDArray[np.int64]  # (E,)


def _lay_course(tracks: Sequence[Track], settings: PursuitSettings, line: LineSettings | None) -> _Course:
    distinct = list({id(t): t for t in tracks}.values())
    index = {id(t): i for i, t in enumerate(distinct)}
    lines = [t.curve.points if line is None else racing_line(t, line) for t in distinct]
    counts = [len(points) for points in lines]
    return _Course(
        points=np.concatenate(lines),
        speed_mps=np.concatenate([speed_profile(points, settings.limits) for points in lines]),
        chord_m=np.concatenate([centerline.chord_lengths(points) for points in lines]),
        first=np.cumsum([0, *counts[:-1]]),
        size=np.array(counts),
        lap_m=np.array([t.length_m for t in distinct]),
        track_of=np.array([index[id(t)] for t in tracks]),
    )


@kernel
def _pursue(  # noqa: PLR0913, PLR0917 - what is driven, by what, and where the commands go
    states: Array, arc_m: Array, course: _Course, settings: PursuitSettings, car: CarModel, commands: Array
) -> None:
    for e in range(states.shape[0]):
        track = course.track_of[e]
        for n in range(states.shape[1]):
            s = states[e, n]
            # Pursuit uses the direction in which the car moves, not its heading: it slides up to 0.5 rad.
            way = s[YAW] + s[SLIP] + 0.5 * s[YAW_RATE] * settings.latency_s
            x = s[X] + s[SPEED] * settings.latency_s * math.cos(way)
            y = s[Y] + s[SPEED] * settings.latency_s * math.sin(way)
            way += 0.5 * s[YAW_RATE] * settings.latency_s
            guess = int(arc_m[e, n] / course.lap_m[track] * course.size[track])
            nearest = _nearest(course, track, guess, x, y)
            forward = max(s[SPEED], 0.0)
            reach = settings.lookahead_m + settings.lookahead_s * forward
            i, part = _further(course, track, nearest, reach)
            to_x, to_y = _place(course, track, i, part)
            bearing = math.atan2(to_y - y, to_x - x)
            curvature = 2.0 * math.sin(bearing - way) / max(math.hypot(to_x - x, to_y - y), 0.1)
            steering = curvature * (car.wheelbase_m + car.understeer_s2pm * s[SPEED] * s[SPEED])
            steering += settings.yaw_damping_s * (curvature * s[SPEED] - s[YAW_RATE])
            commands[e, n, 0] = clipped_steering(steering, car)
            i, _ = _further(course, track, nearest, settings.speed_ahead_s * forward)
            speed = course.speed_mps[course.first[track] + i]
            if (
                steering > _SERVO_SHARE * car.steering_high_rad
                or steering < _SERVO_SHARE * car.steering_low_rad
            ):
                # Near the servo's end, as after a standing start in a tight bend, more speed carries the car into the
                # wall, and so does braking, which unloads the rear: it keeps its speed until it turns again.
                speed = min(speed, max(s[SPEED], _SLOWEST_MPS))
            commands[e, n, 1] = speed


@kernel
def _nearest(course: _Course, track: int, guess: int, x: float, y: float) -> int:
    """Return the point of a track's line nearest to (x, y), of those around the guess."""
    begin, count = course.first[track], course.size[track]
    nearest: int = guess % count
    best = np.inf
    for k in range(guess - _BEHIND, guess + _AHEAD + 1):
        i = k % count
        dx, dy = course.points[begin + i, 0] - x, course.points[begin + i, 1] - y
        squared = dx * dx + dy * dy
        if squared < best:
            best, nearest = squared, i
    return nearest


@kernel
def _further(course: _Course, track: int, i: int, way_m: float) -> tuple[int, float]:
    """Return the point passed last when going `way_m` along the line from point i, and the chord's part."""
    begin, count = course.first[track], course.size[track]
    while way_m > course.chord_m[begin + i]:
        way_m -= course.chord_m[begin + i]
        i = i + 1 if i + 1 < count else 0
    return i, way_m / course.chord_m[begin + i]


@kernel
def _place(course: _Course, track: int, i: int, part: float) -> tuple[float, float]:
    """Return the place, x and y in metres, at a part of the chord from point i."""
    here = course.first[track] + i
    after = course.first[track] + (i + 1) % course.size[track]
    x = course.points[here, 0] + part * (course.points[after, 0] - course.points[here, 0])
    y = course.points[here, 1] + part * (course.points[after, 1] - course.points[here, 1])
    return x, y
