"""What makes a circuit: measured alike on real circuits and on drawn ones.

Run as a program it measures the maps of a directory, such as those of `python -m training tracks fetch`:
`python -m tests.sim.circuit_figures DIRECTORY`. REAL is what it printed for the 23 circuits of f1tenth_racetracks
(commit b95c4ef).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.sim.track import centerline as geometry
from training.sim.track.centerline_files import read_centerline

Array = NDArray[np.float64]

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
REAL = {
    "length_m": [285.852, 299.029, 350.477, 402.585, 452.019, 484.435, 496.55],
    "corners": [10.0, 10.6, 14.0, 15.0, 17.5, 19.6, 20.9],
    "turning": [2.274, 2.35, 3.335, 3.819, 4.246, 4.745, 4.963],
    "area": [0.013, 0.013, 0.015, 0.019, 0.026, 0.029, 0.036],
    "straight_share": [0.585, 0.611, 0.646, 0.686, 0.734, 0.751, 0.755],
    "angle_deg": [18.4, 24.119, 49.074, 78.887, 116.485, 153.951, 177.394],
    "radius_m": [0.91, 1.044, 1.596, 2.774, 5.122, 8.44, 11.554],
    "straight_m": [2.4, 2.999, 4.801, 10.7, 25.055, 45.744, 69.144],
    "longest_straight_m": [43.127, 44.884, 50.894, 70.586, 85.308, 96.492, 102.999],
    "hairpin_apex_m": [1.4, 1.6, 2.25, 3.5, 6.4, 11.598, 13.255],
    "before_hairpin_m": [0.4, 0.6, 1.9, 10.001, 27.751, 60.912, 73.046],
    "chicanes": [0.1, 1.0, 1.5, 3.0, 4.0, 5.8, 6.0],
    "spirals": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
}
# From wall to wall on the maps, m, at 5, 50 and 95 %; the files say 2.2 everywhere.
REAL_WIDTH_M = (1.88, 2.17, 2.54)
# The means of a lap, of chicanes and of spirals (two, both of Shanghai).
REAL_CHICANES, REAL_SPIRALS = 3.04, 0.09
SPACING_M = 0.2
# Curvature is the mean over this way: the published lines are noisy.
SMOOTH_POINTS = 5
# A bend of more than 20 m radius is flat out at 8 m/s; the published straights bend a little.
STRAIGHT_1PM = 0.05
# A turn of fewer degrees is no corner; parts of one corner are at most this far apart.
CORNER_DEG, JOINT_M = 10.0, 2.0
HAIRPIN_DEG, SPIRAL_DEG = 140.0, 250.0
SHORTEST_STRAIGHT_M = 2.0


class Figures(NamedTuple):
    """The figures of some laps; each is (k,), over laps, corners or straights."""

    length_m: Array
    corners: Array  # of each lap
    turning: Array  # of its corners, full turns, left and right added
    area: Array  # enclosed, by the square of the length
    straight_share: Array  # of the lap
    angle_deg: Array  # of each corner
    radius_m: Array  # at each corner's apex
    straight_m: Array  # each of 2 m or more
    longest_straight_m: Array  # of each lap
    hairpin_apex_m: Array  # from the end of the straight to the apex of each hairpin
    before_hairpin_m: Array  # the straight that leads into each hairpin
    chicanes: Array  # of each lap: corners less than 3 m behind one the other way
    spirals: Array  # of each lap: corners of more than 250 degrees


def figures(lines: list[Array]) -> Figures:
    """Return the figures of closed lines (n, 2) m."""
    columns: dict[str, list[float]] = {name: [] for name in Figures._fields}
    for line in lines:
        _measure(line, columns)
    return Figures(*(np.array(columns[name], np.float64) for name in Figures._fields))


def _measure(line: Array, columns: dict[str, list[float]]) -> None:
    length_m = float(geometry.chord_lengths(line).sum())
    count = round(length_m / SPACING_M)
    even = geometry.resample_closed(line, count)[0]
    step_m = length_m / count
    raw = geometry.curvature(even, geometry.chord_lengths(even))
    reach = SMOOTH_POINTS // 2
    bend = sum(np.roll(raw, k) for k in range(-reach, reach + 1)) / SMOOTH_POINTS
    legs = _legs(bend, step_m)
    corners = [leg for leg in legs if leg.angle_deg >= CORNER_DEG]
    straights = [leg.length_m for leg in legs if leg.sign == 0 and leg.length_m >= SHORTEST_STRAIGHT_M]
    columns["length_m"].append(length_m)
    columns["corners"].append(len(corners))
    columns["turning"].append(sum(leg.angle_deg for leg in corners) / 360.0)
    x, y = even.T
    columns["area"].append(abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2.0 / length_m**2)
    columns["straight_share"].append(sum(straights) / length_m)
    columns["angle_deg"] += [leg.angle_deg for leg in corners]
    columns["radius_m"] += [leg.radius_m for leg in corners]
    columns["straight_m"] += straights
    columns["longest_straight_m"].append(max(straights))
    hairpins = [(before, leg) for before, leg in _pairs(legs) if leg.angle_deg >= HAIRPIN_DEG]
    columns["hairpin_apex_m"] += [leg.apex_m for _, leg in hairpins]
    columns["before_hairpin_m"] += [before.length_m if before.sign == 0 else 0.0 for before, _ in hairpins]
    columns["chicanes"].append(_chicanes(legs))
    columns["spirals"].append(sum(leg.angle_deg > SPIRAL_DEG for leg in corners))


class Leg(NamedTuple):
    """A stretch that turns one way, or a straight (sign 0)."""

    sign: int
    length_m: float
    angle_deg: float  # 0 of a straight
    radius_m: float  # least
    apex_m: float  # from its beginning to where that is


def _legs(bend: Array, step_m: float) -> list[Leg]:
    """Return the legs of a lap in driving order, from the beginning of its longest straight."""
    sign = np.where(np.abs(bend) < STRAIGHT_1PM, 0, np.sign(bend)).astype(int)
    runs: list[tuple[int, list[int]]] = []
    first = int(np.flatnonzero(sign != np.roll(sign, 1))[0])
    for k in range(len(bend)):
        at = (first + k) % len(bend)
        if runs and runs[-1][0] == sign[at]:
            runs[-1][1].append(at)
        else:
            runs.append((int(sign[at]), [at]))
    start = max(range(len(runs)), key=lambda k: (runs[k][0] == 0) * len(runs[k][1]))
    runs = runs[start:] + runs[:start]
    joined: list[tuple[int, list[int]]] = []
    for one, places in runs:
        short = bool(joined) and joined[-1][0] == 0 and len(joined[-1][1]) * step_m < JOINT_M
        if one != 0 and short and len(joined) > 1 and joined[-2][0] == one:
            between = joined.pop()[1]
            joined[-1] = (one, joined[-1][1] + between + places)
        else:
            joined.append((one, places))
    return [_leg(one, bend[places], step_m) for one, places in joined]


def _leg(sign: int, bend: Array, step_m: float) -> Leg:
    length_m, size = len(bend) * step_m, np.abs(bend)
    if sign == 0:
        return Leg(0, length_m, 0.0, np.inf, 0.0)
    angle_deg = float(np.degrees(abs(bend.sum()) * step_m))
    return Leg(sign, length_m, angle_deg, float(1 / size.max()), float(size.argmax() * step_m))


def _pairs(legs: list[Leg]) -> list[tuple[Leg, Leg]]:
    return list(zip(legs[-1:] + legs[:-1], legs, strict=True))


def _chicanes(legs: list[Leg]) -> int:
    """Count the corners that come less than 3 m behind one the other way."""
    found, last, gap_m = 0, 0, 100.0
    for leg in legs:
        if leg.angle_deg < CORNER_DEG:
            gap_m += leg.length_m
            continue
        found += leg.sign == -last and gap_m < 3.0
        last, gap_m = leg.sign, 0.0
    return found


def quantiles(measured: Figures) -> dict[str, list[float]]:
    """Return each figure's quantiles at SHARES."""
    return {
        name: [round(float(value), 3) for value in np.quantile(values, SHARES)]
        for name, values in measured._asdict().items()
    }


if __name__ == "__main__":
    tables = sorted(Path(sys.argv[1]).glob("*/*_centerline.csv"))
    found = figures([read_centerline(table)[0] for table in tables])
    sys.stdout.write(f"{len(tables)} circuits, {len(found.angle_deg)} corners; quantiles at {SHARES}\n")
    for figure, values in quantiles(found).items():
        sys.stdout.write(f'    "{figure}": {values},\n')
    sys.stdout.write(
        f"means a lap: chicanes {found.chicanes.mean():.2f}, spirals {found.spirals.mean():.2f}\n"
    )
