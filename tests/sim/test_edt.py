"""The distance transform is exact: the same float64 as scipy's, bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import distance_transform_edt

from training.sim.track.distance_transform import distance_transform_cells, squared_distance_cells


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24)), st.data())
def test_equals_scipy_bit_for_bit_on_small_grids(free: np.ndarray, data: st.DataObject) -> None:
    rows, columns = free.shape
    free[data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))] = False
    np.testing.assert_array_equal(distance_transform_cells(free), distance_transform_edt(free))


@pytest.mark.parametrize("share_free", [0.5, 0.99, 0.9999])
def test_equals_scipy_bit_for_bit_on_a_map_sized_grid(share_free: float) -> None:
    free = np.random.default_rng(3).random((613, 877)) < share_free
    free[100, 200] = False
    np.testing.assert_array_equal(distance_transform_cells(free), distance_transform_edt(free))


def test_a_grid_without_walls_is_farther_from_them_than_any_distance_in_it() -> None:
    assert (squared_distance_cells(np.ones((3, 5), np.bool_)) == (3 + 5) ** 2).all()


def test_a_view_of_a_larger_grid_is_read_as_itself() -> None:
    free = np.random.default_rng(4).random((60, 60)) < 0.9
    view = free[::-2, 5:41:3]
    np.testing.assert_array_equal(distance_transform_cells(view), distance_transform_edt(view))
