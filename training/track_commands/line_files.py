"""Lines round a track in the files of other tools: what each is, and its points.

Centrelines: ours and f1tenth_racetracks' (four columns, commas), TUM's (the same, or semicolons), ForzaETH's
centerline.csv and the centerline_waypoints of its global_waypoints.json. Racing lines: the `*_raceline.csv` of
f1tenth_gym and TUM (s_m; x_m; y_m; psi_rad; kappa_radpm; vx_mps; ax_mps2), the trajectories of global_waypoints.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sim import TrackError

Array = NDArray[np.float64]

CENTRELINE, RACING_LINE = "centreline", "racing line"
# Only a line that is driven has these.
_DRIVEN = {"psi_rad", "kappa_radpm", "vx_mps", "ax_mps2"}
# Columns of files without a header, by their number.
_UNNAMED = {
    2: ("x_m", "y_m"),
    4: ("x_m", "y_m", "w_tr_right_m", "w_tr_left_m"),
    7: ("s_m", "x_m", "y_m", "psi_rad", "kappa_radpm", "vx_mps", "ax_mps2"),
}
_WAYPOINTS = (
    ("centerline_waypoints", CENTRELINE),
    ("global_traj_wpnts_iqp", RACING_LINE),
    ("global_traj_wpnts_sp", RACING_LINE),
)


class ClosedLine(NamedTuple):
    """A closed line, and what its file says that it is."""

    points: Array  # (n, 2) m
    kind: str  # CENTRELINE or RACING_LINE


def read_line(path: Path) -> ClosedLine:
    """Return the line of a csv or json file. TrackError says what the file has, and what is read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrackError(f"{path}: cannot be read: {error}") from error
    line = _of_json(path, text) if path.suffix == ".json" else _of_table(path, text)
    if len(line.points) > 1 and np.allclose(line.points[0], line.points[-1], atol=1e-6):
        line = line._replace(points=line.points[:-1])
    return line


def _of_table(path: Path, text: str) -> ClosedLine:
    names: tuple[str, ...] | None = None
    rows: list[list[float]] = []
    for count, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in re.split(r"[;,]", line.strip().lstrip("# "))]
        if not line.strip():
            continue
        if not rows and "x_m" in cells and "y_m" in cells:
            names = tuple(cells)
        elif not line.lstrip().startswith("#"):
            try:
                rows.append([float(cell) for cell in cells if cell])
            except ValueError:
                raise TrackError(
                    f"{path}: line {count} is no row of numbers: {line.strip()[:60]!r}"
                ) from None
            if len(rows[-1]) != len(rows[0]):
                raise TrackError(
                    f"{path}: line {count} has {len(rows[-1])} columns, the first {len(rows[0])}"
                )
    if not rows:
        raise TrackError(f"{path}: has no points")
    names = names or _UNNAMED.get(len(rows[0]))
    if names is None or len(names) != len(rows[0]):
        told = "no header" if names is None else f"a header of {len(names)}"
        raise TrackError(
            f"{path}: {len(rows[0])} columns and {told}: put a line such as `# x_m, y_m` ahead of the points"
        )
    table = np.array(rows)
    points = table[:, [names.index("x_m"), names.index("y_m")]]
    return ClosedLine(points, RACING_LINE if _DRIVEN & set(names) else CENTRELINE)


def _of_json(path: Path, text: str) -> ClosedLine:
    try:
        data: Any = json.loads(text)
        for key, kind in _WAYPOINTS:
            points = [[float(one["x_m"]), float(one["y_m"])] for one in data.get(key, {}).get("wpnts", ())]
            if points:
                return ClosedLine(np.array(points), kind)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrackError(f"{path}: is no global_waypoints.json: {error!r}") from error
    raise TrackError(
        f"{path}: has none of {', '.join(key for key, _ in _WAYPOINTS)}, as global_waypoints.json has"
    )
