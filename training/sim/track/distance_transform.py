"""Exact Euclidean distance transform of a grid, in integers.

Meijster, Roerdink and Hesselink, "A general algorithm for computing distance transforms in linear
time" (2000): one pass down the columns, one lower envelope of parabolas along each row, O(H·W).
The squared distances stay integers, so the root is the correctly rounded one and equals
`scipy.ndimage.distance_transform_edt` bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compiled import kernel


@kernel
def squared_distance_cells(free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each cell the squared distance, in cells, to the nearest cell that is not free.

    free: (H, W) bool. Result (H, W) int64, 0 on walls. Cells outside the grid are no walls; in a grid without any wall
    every cell gets (H + W)², which no real distance in it reaches.
    """
    height, width = free.shape
    beyond = height + width
    column_distance = _column_distances(free, beyond)
    squared = np.empty((height, width), np.int64)
    apex = np.empty(width, np.int64)
    start = np.empty(width, np.int64)
    for row in range(height):
        _row_envelope(column_distance[row], squared[row], apex, start)
    return squared


@kernel
def _column_distances(free: NDArray[np.bool_], beyond: int) -> NDArray[np.int64]:
    """Return the distance to the nearest wall of the same column, at most `beyond`."""
    height, width = free.shape
    distance = np.empty((height, width), np.int64)
    for col in range(width):
        distance[0, col] = beyond if free[0, col] else 0
    for row in range(1, height):
        for col in range(width):
            distance[row, col] = min(beyond, distance[row - 1, col] + 1) if free[row, col] else 0
    for row in range(height - 2, -1, -1):
        for col in range(width):
            distance[row, col] = min(distance[row, col], distance[row + 1, col] + 1)
    return distance


@kernel
def _row_envelope(
    height_of: NDArray[np.int64],
    squared: NDArray[np.int64],
    apex: NDArray[np.int64],
    start: NDArray[np.int64],
) -> None:
    """Fill `squared` with the lower envelope of the parabolas (x - i)² + height_of[i]².

    apex and start are scratch: which parabola is lowest, and from which column on.
    """
    width = height_of.shape[0]
    last = 0
    apex[0] = 0
    start[0] = 0
    for col in range(1, width):
        own = height_of[col] * height_of[col]
        while last >= 0:
            i = apex[last]
            x = start[last]
            if (x - i) * (x - i) + height_of[i] * height_of[i] <= (x - col) * (x - col) + own:
                break
            last -= 1
        if last < 0:
            last = 0
            apex[0] = col
        else:
            i = apex[last]
            crossing = 1 + (col * col - i * i + own - height_of[i] * height_of[i]) // (2 * (col - i))
            if crossing < width:
                last += 1
                apex[last] = col
                start[last] = crossing
    for col in range(width - 1, -1, -1):
        i = apex[last]
        squared[col] = (col - i) * (col - i) + height_of[i] * height_of[i]
        if col == start[last]:
            last -= 1


def distance_transform_cells(free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each cell the distance, in cells, to the nearest cell that is not free.

    free: (H, W) bool. Result (H, W) float64, between cell centres, 0 on walls.
    """
    return np.sqrt(squared_distance_cells(np.ascontiguousarray(free, dtype=np.bool_)).astype(np.float64))
