"""Pictures of a report: learning curves, tracks with the driven line; SVG that takes the page's colours."""

from __future__ import annotations

import html
import io
import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import matplotlib as mpl
import numpy as np
from contourpy import FillType, contour_generator
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..process.systemd_notify import alive
from ..sim.params import SPEED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ..envs.rendering.scenery import Scenery
    from ..evaluation.recording import Trace
    from .curves import Curves, Series

# Drawn in these colours, then handed to the page's variables: light and dark from one picture.
INK, RULE = "#010101", "#020202"
LINES = ("#030303", "#040404", "#050505", "#060606")
GOOD, BAD = "#070707", "#080808"
_VARIABLES = {
    INK: "var(--soft)",
    RULE: "var(--rule)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    **{colour: f"var(--line-{i + 1})" for i, colour in enumerate(LINES)},
}
# The road looks the same on a light and on a dark page, so that speeds have one scale of colours.
ROAD, KERB, PAINT = "#2d323d", "#7b8496", "#f5f6f8"
SPEEDS = mpl.colors.ListedColormap(mpl.colormaps["plasma"](np.linspace(0.22, 1.0, 64)))
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "f1tenth",
    "font.size": 8.0,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
}
# More points than this on a lap make no difference to the eye.
MOST_SEGMENTS = 260
_SPEED_LEVELS = 24


class Chart(NamedTuple):
    """One small chart: a curve, or all whose names begin alike."""

    title: str
    unit: str
    name: str  # of the curve; with a "/" at the end, of all curves below
    scale: float = 1.0
    log: bool = False
    lowest: float | None = None
    highest: float | None = None
    smooth: bool = True  # noisy: draw the mean of neighbours over the points


CHARTS = (
    Chart("Laps completed in evaluation", "%", "evaluation/completed", 100.0, lowest=0.0, highest=104.0),
    Chart("Mean speed in evaluation", "m/s", "evaluation/mean_speed_mps", lowest=0.0),
    Chart("Distance of an episode", "% of a lap", "rollout/lap_share", 100.0, lowest=0.0),
    Chart("Reward of an episode", "", "rollout/reward"),
    Chart("Reward by its terms", "", "rollout/terms/"),
    Chart("Episodes that end in a crash", "%", "rollout/crash_rate", 100.0, lowest=0.0),
    Chart("Laps driven while learning", "", "rollout/laps", lowest=0.0, smooth=False),
    Chart("Best lap while learning", "s", "rollout/best_lap_s", smooth=False),
    Chart("Loss of the critics", "", "train/critic_loss", log=True),
    Chart("Loss of the actor", "", "train/actor_loss"),
    Chart("Weight of the entropy", "", "train/ent_coef", log=True),
    Chart("Speed of training", "timesteps/s", "time/steps_per_s", lowest=0.0),
)


def learning_curves(curves: Curves, kept_step: int) -> list[tuple[Chart, str]]:
    """Return each chart that there are numbers for, with its SVG; a dotted line marks the kept policy's timestep."""
    drawn = []
    with mpl.rc_context(STYLE):
        for chart in CHARTS:
            chosen = _chosen(curves.series, chart)
            if chosen:
                figure = _curve_figure(chart, chosen, kept_step)
                drawn.append((chart, svg(figure, _curve_in_words(chart, chosen))))
                alive()
    return drawn


def _chosen(series: Mapping[str, Series], chart: Chart) -> dict[str, Series]:
    if not chart.name.endswith("/"):
        return {name: one for name, one in series.items() if name == chart.name and len(one.steps) > 1}
    found = {
        name.removeprefix(chart.name): one
        for name, one in sorted(series.items())
        if name.startswith(chart.name) and len(one.steps) > 1
    }
    return found if len(found) > 1 else {}


def _curve_in_words(chart: Chart, series: Mapping[str, Series]) -> str:
    unit = f" {chart.unit}" if chart.unit else ""
    ends = ", ".join(
        f"{name.rpartition('/')[2].replace('_', ' ')} from {values[0]:.3g} to {values[-1]:.3g}{unit}"
        for name, values in ((name, one.values * chart.scale) for name, one in series.items())
    )
    last = max(one.steps[-1] for one in series.values())
    return f"Curve over {last:,.0f} timesteps. {chart.title}: {ends}."


def _curve_figure(chart: Chart, series: Mapping[str, Series], kept_step: int) -> Figure:
    figure = Figure(figsize=(3.9, 2.1), layout="constrained")
    ax = figure.subplots()
    last = max(one.steps[-1] for one in series.values())
    for colour, (name, one) in zip(LINES * len(series), series.items(), strict=False):
        values = one.values * chart.scale
        if chart.smooth and len(values) > 24:
            ax.plot(one.steps, values, color=colour, linewidth=0.8, alpha=0.3)
            values = _smoothed(values)
        ax.plot(one.steps, values, color=colour, linewidth=1.6, label=name.replace("_", " "))
    if 0 < kept_step <= last:
        ax.axvline(kept_step, color=INK, linewidth=0.9, linestyle=(0, (1.5, 2.0)))
    if chart.log and min(one.values.min() for one in series.values()) > 0.0:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.set_ylim(bottom=chart.lowest, top=chart.highest)
    ax.set_xlim(0.0, last)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: _short(step)))
    ax.grid(axis="y")
    ax.tick_params(length=0.0)
    if len(series) > 1:
        ax.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), handlelength=1.2)
    return figure


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each value and its neighbours, as far as there are any on each side."""
    reach = max(2, len(values) // 24)
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    begin, end = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(values))
    return (total[end] - total[begin]) / (end - begin)


def _short(number: float) -> str:
    """Return a count as people write it on an axis: 1.5k, 20k, 3M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def track_picture(scenery: Scenery, trace: Trace, speeds_mps: tuple[float, float]) -> str:
    """Return the track from above as SVG, with the driven line coloured by its speed between two bounds."""
    with mpl.rc_context(STYLE):
        figure, ax = road_from_above(scenery, (3.9, 2.9))
        _draw_line(ax, trace, speeds_mps)
        slowest, fastest = trace.states[:, SPEED].min(), trace.states[:, SPEED].max()
        return svg(
            figure,
            f"Track {scenery.track.name} from above with the driven line, coloured by its speed of {slowest:.1f} to "
            f"{fastest:.1f} m/s.",
        )


def road_from_above(scenery: Scenery, size_in: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return a figure of a width and height, inches, with the road and its start line."""
    left, right, bottom, top = scenery.extent(0.5)
    figure = Figure(figsize=size_in)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.add_patch(PathPatch(_road(scenery), facecolor=ROAD, edgecolor=KERB, linewidth=1.0))
    _draw_start(ax, scenery)
    return figure, ax


def _road(scenery: Scenery) -> Outline:
    x, y, edge_m = scenery.grid(max(0.15, scenery.track.resolution_m), 1.0)
    filled = contour_generator(x, y, edge_m, fill_type=FillType.OuterCode).filled(0.0, np.inf)
    points, codes = (np.concatenate(part) for part in filled)
    return Outline(points, codes)


def _draw_start(ax: Axes, scenery: Scenery) -> None:
    track = scenery.track
    right = track.pose_at(0.0, -float(track.width_right_m[0]))
    left = track.pose_at(0.0, float(track.width_left_m[0]))
    ax.plot([right[0], left[0]], [right[1], left[1]], color=PAINT, linewidth=1.6)
    x, y, yaw = track.pose_at(0.0)
    tip = np.array([x, y]) + 2.2 * np.array([np.cos(yaw), np.sin(yaw)])
    wing = 0.45 * np.array([-np.sin(yaw), np.cos(yaw)])
    back = tip - 1.0 * np.array([np.cos(yaw), np.sin(yaw)])
    ax.fill(*np.array([tip, back + wing, back - wing]).T, color=PAINT, linewidth=0.0)


def _draw_line(ax: Axes, trace: Trace, speeds_mps: tuple[float, float]) -> None:
    """Draw the driven line; neighbours of nearly one speed are one stroke, which keeps the picture small."""
    kept = np.unique(np.linspace(0, len(trace.xy) - 1, MOST_SEGMENTS + 1).astype(int))
    places, speed = trace.xy[kept], trace.states[kept, SPEED]
    share = (speed - speeds_mps[0]) / max(speeds_mps[1] - speeds_mps[0], 1e-9)
    level = np.round(np.clip(share, 0.0, 1.0) * _SPEED_LEVELS)
    turns = [0, *(np.flatnonzero(np.diff(level)) + 1).tolist(), len(level) - 1]
    strokes = [places[begin : end + 1] for begin, end in pairwise(turns)]
    colours = SPEEDS(level[turns[:-1]] / _SPEED_LEVELS)
    ax.add_collection(LineCollection(strokes, colors=colours, linewidths=2.4, capstyle="round"))
    ax.plot(*places[0], marker="o", markersize=4.0, color=PAINT)
    if trace.lap_s is None:
        ax.plot(*places[-1], marker="x", markersize=8.0, markeredgewidth=2.2, color="#ff4d4d")


def speed_gradient() -> str:
    """Return the colours of speeds, slow to fast, as a CSS gradient."""
    stops = (mpl.colors.to_hex(SPEEDS(share)) for share in np.linspace(0.0, 1.0, 9))
    return f"linear-gradient(90deg, {', '.join(stops)})"


def speed_colours(speeds_mps: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """Return the colours (n, 3) of speeds (n,) between the bounds."""
    share = (speeds_mps - bounds[0]) / max(bounds[1] - bounds[0], 1e-9)
    return SPEEDS(np.clip(share, 0.0, 1.0), bytes=True)[:, :3]


def svg(figure: Figure, alt: str) -> str:
    """Return the figure for a place inside a page: no document around it, no fonts, no foreign names.

    alt: what it shows, for those who do not see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for pattern, replacement in _CLEANED:
        text = pattern.sub(replacement, text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text.strip().replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)


_CLEANED: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL), ""),
    (re.compile(r"<!--.*?-->\s*", re.DOTALL), ""),
    (re.compile(r' xmlns(:xlink)?="[^"]*"'), ""),
    (re.compile(r'(<svg[^>]*?) width="[^"]*"'), r"\1"),
    (re.compile(r'(<svg[^>]*?) height="[^"]*"'), r"\1"),
    (re.compile(r"xlink:href"), "href"),
    (re.compile(r"<g id=\"[^\"]*\">"), "<g>"),
    (re.compile(r"(font: [^;\"]*?px) [^;\"]*"), r"\1 inherit"),
    (re.compile(r"(\d\.\d\d)\d+"), r"\1"),
    (re.compile(r"\n\s*"), "\n"),
)
