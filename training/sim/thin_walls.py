"""Walls so thin that a beam could step over them, and a distance field in which it cannot.

The lidar steps by the distance from the middle of a cell to the middle of the nearest occupied one, f1tenth_gym's rule.
From elsewhere in the cell that is too far by up to the diagonal of a cell, √2: the beam ends inside the wall, or, if
the wall is thinner than that, in the free ground behind it. Where a step could pass such a wall, the field here has a
smaller distance, from the cell's edge to that wall's edge, and NEAR if that is less than a cell: from there the lidar
continues from cell to cell (training.sim.lidar). Elsewhere the field is the exact one, and beams are bit-identical to
those without this.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .track.distance_transform import squared_distance_cells

# The field's value, cells, next to a thin wall: below what ends a march (training.sim.march.HIT_CELLS), and no wall.
NEAR = 1e-30
# The margin of a shortened step for rounding: coordinates of some thousand cells in single precision.
_MARGIN_CELLS = 1e-3


def lidar_field_cells(
    free: NDArray[np.bool_], field: NDArray[np.float64]
) -> tuple[NDArray[np.float64], bool]:
    """Return the field (H, W) in cells that the lidar walks, and whether thin walls have changed it.

    free: (H, W) bool. field: its exact distances, cells; returned as it is where there are no thin walls.
    """
    thin = thin_cells(free)
    if not thin.any():
        return field, False
    # A line that passes in less than √2 cells crosses a thin cell or an occupied one next to it.
    passed = grown(thin) & ~free
    # From a cell's edge to an edge is as far as from its middle to the middle of a cell that is grown by one.
    safe = np.sqrt(squared_distance_cells(~grown(passed)).astype(np.float64))
    shortened = np.where(safe >= 1.0, safe - _MARGIN_CELLS, NEAR)
    return np.minimum(field, shortened), True


@kernel
def thin_cells(free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (H, W): the occupied cells in which a straight line can cross a wall in less than √2 cells.

    These are walls one cell thick, two cells that touch at a corner alone, and two that share an edge where the wall
    steps aside. A line through the corner of a thicker wall is none: its ends see each other round the corner.
    Everything outside the grid counts as occupied.
    """
    height, width = free.shape
    thin = np.zeros((height, width), np.bool_)
    for row in range(height):
        for col in range(width):
            if free[row, col]:
                continue
            left, right = _is_free(free, row, col - 1), _is_free(free, row, col + 1)
            below, above = _is_free(free, row - 1, col), _is_free(free, row + 1, col)
            if (left and right) or (below and above):
                thin[row, col] = True
                continue
            for up, side in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                ahead, beside = (above if up > 0 else below), (right if side > 0 else left)
                across = _is_free(free, row + up, col + side)
                # The diagonal neighbour touches at the corner alone; or the wall steps aside from here to a neighbour.
                corner = ahead and beside and not across
                step = (ahead and not beside and _is_free(free, row - up, col + side)) or (
                    beside and not ahead and _is_free(free, row + up, col - side)
                )
                if corner or step:
                    thin[row, col] = True
    return thin


@kernel
def _is_free(free: NDArray[np.bool_], row: int, col: int) -> bool:
    return 0 <= row < free.shape[0] and 0 <= col < free.shape[1] and free[row, col]


@kernel
def grown(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (H, W): the given cells and their eight neighbours."""
    height, width = cells.shape
    wider = cells.copy()
    for row in range(height):
        for col in range(width):
            if not cells[row, col]:
                continue
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(col - 1, 0), min(col + 2, width)):
                    wider[r, c] = True
    return wider
