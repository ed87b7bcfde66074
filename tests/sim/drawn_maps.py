"""Maps as people draw them, with walls of any number of pixels, and what a beam meets in them, cell by cell."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from training.sim import Track

RESOLUTION_M = 0.05


def ring(walls: int, *, outer_m: float = 6.0, inner_m: float = 4.0, size_m: float = 14.0) -> Track:
    """Return a round track between two circles drawn with lines so many pixels thick, free ground behind them."""
    count = int(size_m / RESOLUTION_M)
    along = (np.arange(count) + 0.5) * RESOLUTION_M - size_m / 2
    far = np.hypot(*np.meshgrid(along, along))
    thick = walls * RESOLUTION_M
    drawn = ((far > outer_m) & (far < outer_m + thick)) | ((far < inner_m) & (far > inner_m - thick))
    angle = 2.0 * np.pi * np.arange(160) / 160
    line = 0.5 * (outer_m + inner_m) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Track.from_occupancy(
        ~drawn, RESOLUTION_M, (-size_m / 2, -size_m / 2, 0.0), line, name=f"ring-{walls}"
    )


def scribble(seed: int, lines: int = 40, side: int = 240) -> Track:
    """Return a hall full of straight lines one pixel thick, in every direction, within a frame as thin as they."""
    rng = np.random.default_rng(seed)
    free = np.ones((side, side), dtype=np.bool_)
    free[[2, -3], 2:-2] = free[2:-2, [2, -3]] = False
    for _ in range(lines):
        (r0, c0), angle, length = rng.integers(8, side - 8, 2), rng.uniform(0, 2 * np.pi), rng.integers(5, 60)
        reach = max(abs(math.cos(angle)), abs(math.sin(angle)))
        for k in range(length):
            r, c = round(r0 + k * math.sin(angle) / reach), round(c0 + k * math.cos(angle) / reach)
            if 2 <= r < side - 2 and 2 <= c < side - 2:
                free[r, c] = False
    return Track.from_occupancy(free, RESOLUTION_M, (0.3, -1.7, 0.7), name=f"scribble-{seed}")


@njit
def first_entries(free: np.ndarray, starts: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return (k, b) cells: how far beams from starts (k, 2), columns and rows, go until they enter an occupied cell.

    angles: (k, b) rad in the map's axes. What lies off the map is occupied. From edge to edge, every cell on the way.
    """
    entries = np.empty(angles.shape)
    for k in range(angles.shape[0]):
        for b in range(angles.shape[1]):
            u, v = starts[k]
            du, dv = math.cos(angles[k, b]), math.sin(angles[k, b])
            col, row, gone = math.floor(u), math.floor(v), 0.0
            while 0 <= row < free.shape[0] and 0 <= col < free.shape[1] and free[row, col]:
                side = ((col + (du > 0)) - u) / du if du != 0.0 else np.inf
                end = ((row + (dv > 0)) - v) / dv if dv != 0.0 else np.inf
                gone = min(side, end)
                if side < end:
                    col += 1 if du > 0 else -1
                else:
                    row += 1 if dv > 0 else -1
            entries[k, b] = gone
    return entries
