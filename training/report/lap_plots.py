"""Pictures of single laps: time by sector on the map and as bars, accelerations against the limit of grip."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .plots import (
    BAD,
    GOOD,
    INK,
    KERB,
    LINES,
    MOST_SEGMENTS,
    ROAD,
    RULE,
    STYLE,
    road_from_above,
    svg,
)
from .sectors import SECTORS, edges_m, sector_at
from .tables import percent, signed

if TYPE_CHECKING:
    from ..envs.rendering.scenery import Scenery
    from ..evaluation.recording import Trace
    from .grip_use import GripUse, Reach
    from .sectors import SectorTimes

# On the dark road: ahead of the reference driver, level with it, behind it.
AHEAD, LEVEL, BEHIND = "#5ee2a0", "#c9ced8", "#ff8f5e"
_LOSSES = mpl.colors.LinearSegmentedColormap.from_list("losses", (AHEAD, LEVEL, BEHIND))
_BADGE_INK = "#15181f"
_PAIR_IN = (3.9, 2.4)  # of the map and of the bars next to it
# More dots than this hide each other.
_MOST_DOTS = 700


def sector_map(scenery: Scenery, trace: Trace, times: SectorTimes) -> str:
    """Return the track from above as SVG: numbered sectors, the driven line coloured by the time lost in each."""
    track, lost_s = scenery.track, times.lost_s
    most_s = 0.0 if lost_s is None else float(np.abs(lost_s).max())
    shares = np.zeros(SECTORS) if lost_s is None or most_s == 0.0 else lost_s / most_s
    colours = [mpl.colors.to_hex(_LOSSES(0.5 + 0.5 * share)) for share in shares]
    edges = edges_m(track.length_m)
    right_m, left_m = (np.interp(edges[:-1], track.arc_length_m, width) for width in track.widths_m)
    with mpl.rc_context(STYLE):
        figure, ax = road_from_above(scenery, _PAIR_IN)
        for edge_m, right, left in zip(edges[1:-1], right_m[1:], left_m[1:], strict=True):
            ends = np.array([track.pose_at(float(edge_m), float(side))[:2] for side in (-right, left)])
            ax.plot(*ends.T, color=KERB, linewidth=1.0)
        kept = np.unique(np.linspace(0, len(trace.xy) - 1, MOST_SEGMENTS + 1).astype(int))
        sectors = np.array([sector_at(trace, row) for row in kept])
        turns = [0, *(np.flatnonzero(np.diff(sectors)) + 1).tolist(), len(kept) - 1]
        strokes = [trace.xy[kept[begin : end + 1]] for begin, end in pairwise(turns)]
        drawn = [colours[sectors[begin] - 1] for begin in turns[:-1]]
        ax.add_collection(LineCollection(strokes, colors=drawn, linewidths=2.4, capstyle="round"))
        for number, (middle_m, colour) in enumerate(
            zip(0.5 * (edges[1:] + edges[:-1]), colours, strict=True), 1
        ):
            x, y, _ = track.pose_at(float(middle_m))
            badge = {"boxstyle": "circle,pad=0.22", "facecolor": colour, "edgecolor": ROAD, "linewidth": 0.8}
            ax.text(x, y, f"{number}", fontsize=7.0, color=_BADGE_INK, ha="center", va="center", bbox=badge)
        return svg(figure, f"Track {track.name} from above, divided into {SECTORS} numbered sectors.")


def sector_bars(times: SectorTimes, reference: str) -> str:
    """Return the time that each sector costs against the reference driver as SVG; without one, the time it takes."""
    lost_s, numbers = times.lost_s, np.arange(1, SECTORS + 1)
    shown = times.policy_s if lost_s is None else lost_s
    texts = [f"{value:.2f}" if lost_s is None else signed(value) for value in shown]
    colours = [LINES[0] if lost_s is None else BAD if value > 0.0 else GOOD for value in shown]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_PAIR_IN, layout="constrained")
        ax = figure.subplots()
        ax.barh(numbers, shown, color=colours, height=0.66)
        room = 0.24 * max(float(shown.max()), 0.0) + 0.24 * max(float(-shown.min()), 0.0) + 1e-6
        for number, value, text in zip(numbers, shown, texts, strict=True):
            side = 1.0 if value >= 0.0 else -1.0
            ax.annotate(
                text, (value, number), xytext=(3.0 * side, 0.0), textcoords="offset points",
                ha="left" if side > 0.0 else "right", va="center",
            )  # fmt: skip
        ax.set_xlim(
            min(float(shown.min()), 0.0) - room * (shown.min() < 0.0), max(float(shown.max()), 0.0) + room
        )
        ax.axvline(0.0, color=INK, linewidth=0.8)
        ax.set_ylim(SECTORS + 0.6, 0.4)
        ax.set_yticks(numbers)
        ax.set_ylabel("sector")
        ax.set_xlabel("time of the policy, s" if lost_s is None else "ahead ← time, s → behind")
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(length=0.0)
        what = "Time of the policy" if lost_s is None else f"Time that the policy loses to {reference}"
        said = ", ".join(f"{number}: {text}" for number, text in zip(numbers, texts, strict=True))
        return svg(figure, f"{what} in each sector, s. {said}.")


def friction_circle(use: GripUse, reach_g: Reach) -> str:
    """Return longitudinal against lateral acceleration as SVG, and the limit as a circle.

    reach_g: the largest accelerations that the axes must show.
    """
    across, forward, braking = (max(1.12 * reach, 1.25 * use.limit_g) for reach in reach_g)
    rows = np.unique(np.linspace(0, len(use.along_g) - 1, _MOST_DOTS).astype(int))
    beyond = use.beyond[rows]
    with mpl.rc_context({**STYLE, "path.simplify": False}):
        figure = Figure(
            figsize=(3.9, min(0.62 + 3.2 * max(0.5 * (forward + braking) / across, 0.28), 3.7)),
            layout="constrained",
        )
        ax = figure.subplots()
        ax.set_aspect("equal")
        ax.axhline(0.0, color=RULE, linewidth=0.6)
        ax.axvline(0.0, color=RULE, linewidth=0.6)
        for chosen, colour in ((~beyond, LINES[0]), (beyond, BAD)):
            # Left turns on the left. A line of no length with round ends is a dot of a few characters.
            x, y = -use.across_g[rows[chosen]], use.along_g[rows[chosen]]
            dots = [
                np.stack([column, column, np.full(len(column), np.nan)], axis=1).ravel() for column in (x, y)
            ]
            ax.plot(*dots, color=colour, linewidth=2.2, alpha=0.65, solid_capstyle="round")
        ax.add_patch(Circle((0.0, 0.0), use.limit_g, fill=False, edgecolor=INK, linewidth=1.4, zorder=3.0))
        ax.set_xlim(-across, across)
        ax.set_ylim(-braking, forward)
        for axis, ticks in ((ax.xaxis, 6), (ax.yaxis, 4)):
            axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10], symmetric=True))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
        ax.set_xlabel("left ← lateral, g → right")
        ax.set_ylabel("braking ← g → forward")
        ax.tick_params(length=0.0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        return svg(
            figure,
            f"Lateral and longitudinal acceleration of the lap, with the limit of grip as a circle of "
            f"{use.limit_g:.2f} g: up to {np.abs(use.across_g).max():.1f} g sideways, "
            f"{percent(use.share_beyond)} of the time outside the circle.",
        )
