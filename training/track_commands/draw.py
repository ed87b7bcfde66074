"""Pictures of tracks: one, or a sheet of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from ..sim import Track
from .survey import drivable

_MARGIN_M = 3.0
_WALL, _OUTSIDE, _GROUND = "#2b2d42", "#5c5f73", "#f4f1ea"
_LINE, _START = "#8d99ae", "#d62839"


def draw(tracks: Sequence[Track], path: Path, *, columns: int = 4) -> Path:
    """Draw the tracks side by side, each with its centreline, start and direction; return the path."""
    across = min(columns, len(tracks))
    down = math.ceil(len(tracks) / across)
    size = 8.0 if len(tracks) == 1 else 4.0
    figure = Figure(figsize=(size * across, size * 0.9 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax, track in zip(axes, tracks, strict=False):
        draw_on(ax, track)
    for ax in axes[len(tracks) :]:
        ax.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def draw_on(ax: Axes, track: Track) -> None:
    """Draw one track on existing axes, in metres."""
    rows, columns = track.free.shape
    x, y, yaw = track.origin
    cells = track.free.astype(int)
    if track.centerline is not None:
        cells += drivable(track)  # thin walls would vanish among free cells outside
    ax.imshow(
        cells,
        cmap=mpl.colors.ListedColormap([_WALL, _OUTSIDE, _GROUND]),
        vmin=0,
        vmax=2,
        origin="lower",
        interpolation="nearest",
        extent=(0.0, columns * track.resolution_m, 0.0, rows * track.resolution_m),
        transform=Affine2D().rotate(yaw).translate(x, y) + ax.transData,
    )
    ax.set_facecolor(_WALL)
    ax.set_aspect("equal")
    ax.tick_params(labelsize="small")
    if track.centerline is None:
        corners = (
            Affine2D()
            .rotate(yaw)
            .translate(x, y)
            .transform(
                [
                    (u * columns * track.resolution_m, v * rows * track.resolution_m)
                    for u in (0, 1)
                    for v in (0, 1)
                ]
            )
        )
        (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
        ax.set_title(f"{track.name}: no centreline", fontsize="medium")
    else:
        _draw_centerline(ax, track)
        left, bottom = track.centerline.min(axis=0) - _MARGIN_M
        right, top = track.centerline.max(axis=0) + _MARGIN_M
        ax.set_title(f"{track.name}: {track.length_m:.0f} m", fontsize="medium")
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def _draw_centerline(ax: Axes, track: Track) -> None:
    ax.plot(*track.centerline.T, color=_LINE, linewidth=0.8, linestyle=(0, (4, 3)))
    right = track.pose_at(0.0, -float(track.width_right_m[0]))
    left = track.pose_at(0.0, float(track.width_left_m[0]))
    ax.plot([right[0], left[0]], [right[1], left[1]], color=_START, linewidth=2.0)
    (x, y), (dx, dy) = track.centerline[0], track.tangent[0]
    way_m = max(2.0, 0.03 * track.length_m)
    ax.annotate(
        "",
        xy=(x + way_m * dx, y + way_m * dy),
        xytext=(x, y),
        arrowprops={"color": _START, "arrowstyle": "-|>", "linewidth": 1.5},
    )
