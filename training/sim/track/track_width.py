"""How wide a track is: the free way from its centreline to the walls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compiled import kernel
from .occupancy import FREE, Frame, what_is_at

Array = NDArray[np.float64]


@kernel
def measured_widths(
    free: NDArray[np.bool_], frame: Frame, points: Array, tangent: Array, limit_m: float
) -> Array:
    """Return (n, 2) m: the free way to the right and to the left of each point, square to the curve.

    Measured in steps of a quarter cell, up to `limit_m`; the map's edge counts as a wall.
    """
    n = points.shape[0]
    step = 0.25 * frame.resolution_m
    result = np.empty((n, 2))
    for i in range(n):
        for side in range(2):
            sign = 1.0 if side == 0 else -1.0
            nx = sign * tangent[i, 1]
            ny = -sign * tangent[i, 0]
            count = 1  # the point itself is free
            while count * step < limit_m:
                reach = (count + 1) * step
                if what_is_at(free, frame, points[i, 0] + reach * nx, points[i, 1] + reach * ny)[0] != FREE:
                    break
                count += 1
            result[i, side] = min(count * step, limit_m)
    return result
