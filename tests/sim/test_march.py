"""The vector march: the numbers of its plain meaning, on closed maps and on open ones, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from training.sim import march
from training.sim.thin_walls import NEAR
from training.sim.track.distance_transform import distance_transform_cells

WIDTH, HEIGHT = 90, 60


def field_of(rng, closed, kind):
    """Return a flat field of scattered cells, a row of walls behind it, a stranger's cell before it."""
    free = rng.uniform(size=(HEIGHT, WIDTH)) > 0.004
    if closed:
        free[0] = free[-1] = free[:, 0] = free[:, -1] = False
    cells = distance_transform_cells(free)
    cells[free & (rng.uniform(size=free.shape) < 0.02)] = NEAR  # as beside thin walls
    cells = cells.ravel()
    return np.concatenate([[99.0], cells, np.zeros(WIDTH + 1)]).astype(kind)


@njit
def march_all(inside, start, du, dv, field, grid, limit, way):
    beside = np.empty(du.size // march.LANES, np.int64)
    for k in range(0, du.size, march.LANES):
        if inside:
            beside[k // march.LANES] = march.march_inside(k, start, du, dv, field, grid, limit, way)
        else:
            beside[k // march.LANES] = march.march_checked(k, start, du, dv, field, grid, limit, way)
    return beside


def bits(beside):
    """Return of each beam whether its bit is set."""
    return ((beside[:, None] >> np.arange(march.LANES)) & 1).astype(bool).ravel()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("closed", [True, False])
def test_the_march_equals_its_plain_meaning_bit_for_bit(kind, closed):
    """Beams that leave an open map read its last cell; a limit in the middle of the map ends some of them."""
    rng = np.random.default_rng(3)
    beams = 4 * march.LANES
    some = 0
    for _ in range(20):
        field = field_of(rng, closed, kind)
        u, v = rng.uniform(1.0, WIDTH - 1.0), rng.uniform(1.0, HEIGHT - 1.0)
        start = (kind(u), kind(v), field[1 + int(v) * WIDTH + int(u)])
        if start[2] <= march.HIT_CELLS:  # a lidar stands in no wall, and a step away from one
            continue
        angles = rng.uniform(0.0, 2 * np.pi, beams)
        du, dv = np.cos(angles).astype(kind), np.sin(angles).astype(kind)
        grid, limit = (np.int64(1), np.int64(WIDTH), np.int64(HEIGHT)), kind(70.0)
        expected, checked, inside = np.empty(beams, kind), np.empty(beams, kind), np.empty(beams, kind)
        plain = bits(
            np.array(
                [
                    march._plain_march(k, start, du, dv, field, grid, limit, expected)
                    for k in range(0, beams, march.LANES)
                ]
            )
        )
        came = bits(march_all(False, start, du, dv, field, grid, limit, checked))
        ended = expected <= limit
        np.testing.assert_array_equal(came[ended], plain[ended])
        # A finished beam goes on while others of its group do: beyond the limit, or where it stands.
        np.testing.assert_array_equal(np.minimum(checked, limit), np.minimum(expected, limit))
        if closed:
            came = bits(march_all(True, start, du, dv, field, grid, limit, inside))
            np.testing.assert_array_equal(came[ended], plain[ended])
            np.testing.assert_array_equal(np.minimum(inside, limit), np.minimum(expected, limit))
            assert (expected < limit).any()
        some += int(came[ended].sum())
    assert some > 20
