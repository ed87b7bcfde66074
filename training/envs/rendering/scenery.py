"""A track as pictures need it: its road as a signed distance, so that every edge can be drawn smoothly."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sim.track import occupancy
from ...sim.track.distance_transform import distance_transform_cells

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ...sim import Track

    Array = NDArray[np.float64]


class Scenery:
    """The road of a track: the free cells that a car on its centreline can get to.

    edge_m: (H, W) m, distance to the road's edge, positive on the road; row 0 at the bottom.
    """

    def __init__(self, track: Track) -> None:
        self.track = track
        _, row, col = occupancy.what_is_at(track.free, track.frame, *track.curve.points[0])
        self._road = occupancy.reachable(track.free, row, col)

    @cached_property
    def edge_m(self) -> NDArray[np.float32]:
        """Give the signed distance to the road's edge, m, at each cell's middle."""
        inside = distance_transform_cells(self._road)
        outside = distance_transform_cells(~self._road)
        # A cell next to the edge has distance 1 to the next cell's middle: the edge is half a cell nearer.
        signed = np.where(self._road, inside - 0.5, 0.5 - outside).astype(np.float32)
        # A mean over neighbours takes the stairs off slanting edges. Less than half a cell: no thin wall gets lost.
        smooth = signed
        for axis in (0, 1, 0, 1):
            smooth = np.add.reduce([_shifted(smooth, axis, by) for by in range(-2, 3)]) / np.float32(5.0)
        signed = np.clip(smooth, signed - np.float32(0.45), signed + np.float32(0.45))
        return np.float32(self.track.resolution_m) * signed

    def extent(self, margin_m: float) -> tuple[float, float, float, float]:
        """Return left, right, bottom, top of the road in the world, m, with a margin around it."""
        right, left = self.track.widths_m
        normal = self.track.tangent[:, ::-1] * (-1.0, 1.0)  # to the left
        line = self.track.curve.points
        edges = np.concatenate([line + normal * left[:, None], line - normal * right[:, None]])
        low, high = edges.min(axis=0) - margin_m, edges.max(axis=0) + margin_m
        return float(low[0]), float(high[0]), float(low[1]), float(high[1])

    def edge_at(self, x_m: ArrayLike, y_m: ArrayLike) -> NDArray[np.float32]:
        """Return the signed distance at world places, between cells interpolated, beyond the map estimated."""
        frame = self.track.frame
        dx, dy = np.asarray(x_m, np.float32) - frame.x_m, np.asarray(y_m, np.float32) - frame.y_m
        right = (dx * frame.cos_yaw + dy * frame.sin_yaw) / frame.resolution_m - 0.5
        up = (-dx * frame.sin_yaw + dy * frame.cos_yaw) / frame.resolution_m - 0.5
        rows, cols = self.edge_m.shape
        col, along = _cell_and_part(right, cols)
        row, across = _cell_and_part(up, rows)
        below = self.edge_m[row, col] * (1.0 - along) + self.edge_m[row, col + 1] * along
        above = self.edge_m[row + 1, col] * (1.0 - along) + self.edge_m[row + 1, col + 1] * along
        beyond = np.hypot(right - col - along, up - row - across) * np.float32(frame.resolution_m)
        return np.asarray(below * (1.0 - across) + above * across - beyond, np.float32)

    def grid(self, spacing_m: float, margin_m: float) -> tuple[Array, Array, NDArray[np.float32]]:
        """Return x (w,), y (h,) m and the signed distance (h, w) on an even grid around the road."""
        left, right, bottom, top = self.extent(margin_m)
        x: Array = left + spacing_m * np.arange(math.ceil((right - left) / spacing_m) + 1, dtype=np.float64)
        y: Array = bottom + spacing_m * np.arange(math.ceil((top - bottom) / spacing_m) + 1, dtype=np.float64)
        return x, y, self.edge_at(x[None, :], y[:, None])


def _shifted(values: NDArray[np.float32], axis: int, by: int) -> NDArray[np.float32]:
    """Return the values moved by a few cells, those at the rim repeated."""
    index = np.clip(np.arange(values.shape[axis]) - by, 0, values.shape[axis] - 1)
    return np.take(values, index, axis)


def _cell_and_part(
    place: NDArray[np.floating[Any]], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the index of the cell before each place, and how far it is on to the next."""
    within = np.clip(place, 0.0, count - 1.001)
    cell = within.astype(np.intp)
    return cell, (within - cell).astype(np.float32)
