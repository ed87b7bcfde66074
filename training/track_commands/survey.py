"""The report on a track: its figures, and the faults of its map."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sim import Track, TrackError
from ..sim.clearance import in_words, tight_places
from ..sim.track import catalog, map_files, occupancy
from ..sim.track import centerline as geometry
from ..sim.track.names import BUNDLED
from ..sim.track.track_width import measured_widths

# An F1TENTH car: wheelbase 0.33 m at 0.4189 rad of steering; 0.31 m wide.
CAR_TURNING_RADIUS_M = 0.74
NARROW_M = 1.0
# A file's widths may be this far from the map's before `check` mentions it.
WIDTH_TOLERANCE = 0.15


class Summary(NamedTuple):
    """A track's figures; those of the centreline are None where there is none."""

    name: str
    kind: str  # bundled, fetched or file
    rows: int
    columns: int
    resolution_m: float
    length_m: float | None
    width_m: float | None  # median
    narrowest_m: float | None
    tightest_turn_m: float | None  # radius
    longest_straight_m: float | None
    clockwise: bool | None


class TrackFinding(NamedTuple):
    """Something `check` noticed; an error keeps the track from being used."""

    level: str  # error or warning
    message: str


def summary(track: Track, kind: str = "file") -> Summary:
    """Return the track's figures."""
    rows, columns = track.free.shape
    grid = (track.name, kind, rows, columns, track.resolution_m)
    if track.centerline is None:
        return Summary(*grid, *(None,) * 6)
    width = track.width_right_m + track.width_left_m
    bend = track.curvature_1pm
    return Summary(
        *grid,
        length_m=track.length_m,
        width_m=float(np.median(width)),
        narrowest_m=float(width.min()),
        tightest_turn_m=float(1.0 / np.abs(bend).max()),
        longest_straight_m=_longest_run(np.abs(bend) < 0.02) * track.length_m / len(bend),
        clockwise=bool(bend.sum() < 0.0),
    )


def _longest_run(flags: np.ndarray) -> int:
    """Return the length of the longest stretch of true values, the last joined to the first."""
    if flags.all():
        return len(flags)
    breaks = np.flatnonzero(~flags)
    return int((np.diff(np.append(breaks, breaks[0] + len(flags))) - 1).max())


def known_tracks() -> list[tuple[str, str]]:
    """Return (name, kind) of every track that goes by a name: the bundled ones, then the fetched."""
    return [(name, "bundled") for name in BUNDLED] + [(n, "fetched") for n in catalog.fetched_names()]


def check(path: str | Path, *, rule: str = "ros") -> list[TrackFinding]:
    """Return what is wrong with a map (as `Track.load` takes it), errors first; empty if nothing is."""
    try:
        track = Track.load(path, rule=rule)
    except TrackError as error:
        return [TrackFinding("error", str(error))]
    if track.centerline is None:
        return [
            TrackFinding(
                "warning",
                f"{track.name} has no centreline: cars can drive on it but not learn. {_make_one(path)}",
            )
        ]
    tight = tight_places(track)
    errors = [TrackFinding("error", f"{track.name}: {in_words(tight)}")] if tight else []
    messages = [
        _crossing(track),
        _opening(track, path, rule),
        _turns(track),
        _narrows(track),
        _file_widths(path, track, rule),
    ]
    return errors + [TrackFinding("warning", f"{track.name}: {message}") for message in messages if message]


def _make_one(path: str | Path) -> str:
    return f"Make one: python -m training tracks centreline {path}"


def _at(track: Track, index: int) -> str:
    x, y = track.centerline[index]
    return f"at ({x:.2f}, {y:.2f}) m, {track.arc_length_m[index]:.1f} m from the start"


def _crossing(track: Track) -> str | None:
    first, second = geometry.first_crossing(track.centerline)
    if first < 0:
        return None
    again = track.arc_length_m[second]
    return f"the centreline crosses itself {_at(track, first)} and again after {again:.1f} m"


def drivable(track: Track) -> NDArray[np.bool_]:
    """Return (H, W): the free cells that a car on the centreline can get to."""
    _, row, col = occupancy.what_is_at(track.free, track.frame, *track.centerline[0])
    return occupancy.reachable(track.free, row, col)


def _opening(track: Track, path: str | Path, rule: str) -> str | None:
    cells = drivable(track)
    edge = np.zeros_like(cells)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    exits = np.argwhere(cells & edge)
    if not len(exits):
        return None
    row, col = exits[0]
    hints = map_files.read(map_files.find(Path(path)), rule=rule).hints if Path(path).exists() else ()
    where = f"row {row} from the bottom, column {col}"
    return "; ".join([f"the track is open: free cells lead to the map's edge at {where}", *hints])


def _turns(track: Track) -> str | None:
    index = int(np.abs(track.curvature_1pm).argmax())
    radius = 1.0 / abs(track.curvature_1pm[index])
    if radius >= CAR_TURNING_RADIUS_M:
        return None
    where = _at(track, index)
    return f"the centreline turns with {radius:.2f} m radius {where}; a car needs {CAR_TURNING_RADIUS_M} m"


def _narrows(track: Track) -> str | None:
    width = track.width_right_m + track.width_left_m
    index = int(width.argmin())
    if width[index] >= NARROW_M:
        return None
    return f"only {width[index]:.2f} m between the walls {_at(track, index)}; a car is 0.31 m wide"


def _file_widths(path: str | Path, track: Track, rule: str) -> str | None:
    """Compare the csv's widths with the map's; `Track` goes by the map where they differ."""
    if not Path(path).exists():
        return None
    said = map_files.read(map_files.find(Path(path)), rule=rule).widths_m
    seen = measured_widths(track.free, track.frame, track.centerline, track.tangent, 10.0)
    if said is None:
        return None
    said_m, seen_m = float(np.median(said.sum(axis=1))), float(np.median(seen.sum(axis=1)))
    if abs(said_m - seen_m) <= WIDTH_TOLERANCE * said_m:
        return None
    return f"the centreline's widths say {said_m:.2f} m from wall to wall, the map shows {seen_m:.2f} m"
