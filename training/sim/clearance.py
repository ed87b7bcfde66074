"""Check where a car's body fits: single poses on a track's map, and the whole way along its centreline."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .array_types import Flags
from .collision import fill_corners, footprint_contact
from .compiled import kernel
from .lidar import View
from .params import Vehicle
from .track.centerline import Curve, pose_at
from .track.spec import TrackError
from .track.track import Track

Array = NDArray[np.float64]

# The body is tried every so many cells of the way: no wall that it meets is narrower than what it sweeps in between.
_STEP_CELLS = 0.5


class TightPlace(NamedTuple):
    """A place where the body of a car on the centreline, heading along it, touches a wall or leaves the map."""

    s_m: float
    x_m: float
    y_m: float
    until_m: float  # the way along the centreline up to which it does so without a gap


def tight_places(track: Track, car: Vehicle | None = None) -> list[TightPlace]:
    """Return where a car that follows the centreline of a track touches its walls, in driving direction.

    Only the pose itself is checked, heading forwards: a car that starts a little off the line finds room on it. Raises
    TrackError for a track without a centreline.
    """
    body = car or Vehicle()
    count = max(math.ceil(track.length_m / (_STEP_CELLS * track.resolution_m)), 1)
    step_m = track.length_m / count
    # Only whether a cell is occupied matters, not the distance to it: the map serves as the distance field.
    cells = np.ascontiguousarray(track.free).view(np.uint8).ravel()
    blocked = np.flatnonzero(_blocked_along(track.curve, count, cells, _view(track), body))
    runs = np.split(blocked, np.flatnonzero(np.diff(blocked) > 1) + 1) if len(blocked) else []
    spans = [(float(run[0]) * step_m, float(run[-1]) * step_m) for run in runs]
    return [TightPlace(s_m, *_point(track, s_m), until_m) for s_m, until_m in spans]


def check_body_fits(track: Track, car: Vehicle | None = None) -> None:
    """Refuse a track on whose centreline a car's body touches a wall. TrackError names track and place."""
    places = tight_places(track, car)
    if places:
        raise TrackError(f"track {track.name}: {in_words(places, car)}")


def in_words(places: list[TightPlace], car: Vehicle | None = None) -> str:
    """Say where the body does not fit, and what to do."""
    body, first = car or Vehicle(), places[0]
    others = len(places) - 1
    more = f", and at {others} more place{'s' * (others > 1)}" if others else ""
    return (
        f"a car's body ({body.length:g} m x {body.width:g} m) touches a wall on the centreline at "
        f"({first.x_m:.2f}, {first.y_m:.2f}) m, {first.s_m:.1f} to {first.until_m:.1f} m from the start{more}; "
        "move the centreline there, or what stands beside it in the map"
    )


def _point(track: Track, s_m: float) -> tuple[float, float]:
    x, y, _ = track.pose_at(s_m)
    return x, y


def _view(track: Track) -> View:
    height, width = track.free.shape
    x, y, yaw = track.origin
    return View(
        0, width, height, float(x), float(y), math.cos(yaw), math.sin(yaw), track.resolution_m, False, False
    )


@kernel
def _blocked_along(curve: Curve, count: int, cells: NDArray[np.uint8], view: View, car: Vehicle) -> Flags:
    """Return (count,) bool: whether the body touches a wall at each of count places, evenly along a curve."""
    blocked = np.empty(count, np.bool_)
    corners = np.empty((4, 2))
    for k in range(count):
        x, y, yaw = pose_at(curve, curve.length_m * k / count, 0.0)
        fill_corners(x, y, yaw, car.length, car.width, corners)
        blocked[k] = footprint_contact(x, y, corners, cells, view)
    return blocked
