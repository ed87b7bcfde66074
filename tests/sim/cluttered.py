"""Generated tracks with poles, gates and boxes beside the line: smaller than the 0.2 m between centreline points."""

from __future__ import annotations

import numpy as np

from training.sim import Track, TrackError
from training.sim.clearance import tight_places


def cluttered(seed: int, obstacles: int = 40) -> Track:
    """Return a track whose centreline a car's body can follow, with many obstacles as near to it as that allows."""
    rng = np.random.default_rng([seed, 22])
    track = Track.generate(seed, length_m=float(rng.uniform(40.0, 70.0)), min_radius_m=1.6)
    for _ in range(obstacles):
        changed = _with_obstacle(track, rng)
        if changed is not None and not tight_places(changed):
            track = changed
    return track


def pinched() -> Track:
    """Return a round track on whose centreline, at (6, 0) m, a car's body touches a wall."""
    track = ring(0.6)
    cells = track.free.copy()
    cells[np.abs(np.arange(320) - 160) < 12, 281:] = False  # leaves 0.05 m of free way right of the line
    return Track.from_occupancy(cells, 0.05, track.origin, track.centerline, name="pinched")


def ring(half_width_m: float) -> Track:
    """Return a round track of 6 m radius, this wide; its line begins at (6, 0) m."""
    along = (np.arange(320) + 0.5) * 0.05 - 8.0
    cells = np.abs(np.hypot(*np.meshgrid(along, along)) - 6.0) < half_width_m
    angle = 2.0 * np.pi * np.arange(120) / 120
    line = 6.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Track.from_occupancy(cells, 0.05, (-8.0, -8.0, 0.0), line, name="pipe")


def _with_obstacle(track: Track, rng: np.random.Generator) -> Track | None:
    """Return the track with one more pole, gate or box somewhere; None if it stands on the line itself."""
    cells = track.free.copy()
    s_m, kind = rng.uniform(0.0, track.length_m), rng.integers(3)
    if kind == 0:  # a pole of one or four cells
        _fill(track, cells, track.pose_at(s_m, rng.uniform(-1.0, 1.0))[:2], rng.choice([0.02, 0.05]))
    elif kind == 1:  # a gate: a thin wall across, with a gap for one car
        gap_m = rng.uniform(0.2, 0.35)
        for lateral_m in np.arange(gap_m, 1.2, 0.03):
            for side in (-1.0, 1.0):
                _fill(track, cells, track.pose_at(s_m, side * lateral_m)[:2], 0.03)
    else:  # a box whose corner reaches towards the line
        _fill(track, cells, track.pose_at(s_m, rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.9))[:2], 0.12)
    try:
        return Track.from_occupancy(
            cells, track.resolution_m, track.origin, track.centerline, name=track.name
        )
    except TrackError:
        return None


def _fill(track: Track, cells: np.ndarray, middle: tuple[float, float], half_m: float) -> None:
    """Occupy the cells within half_m of a point, along both axes, at least the one that holds it."""
    x, y = middle[0] - track.origin[0], middle[1] - track.origin[1]
    low_col, high_col = (int(max((x + d) / track.resolution_m, 0)) for d in (-half_m, half_m))
    low_row, high_row = (int(max((y + d) / track.resolution_m, 0)) for d in (-half_m, half_m))
    cells[low_row : high_row + 1, low_col : high_col + 1] = False
