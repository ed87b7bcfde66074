"""The polynomials that stand for the C library's functions, compared with it."""

from __future__ import annotations

import numba
import numpy as np

from training.sim import elementary


@numba.njit
def each(xs):
    """Return sine, cosine and tanh of numbers (n,), as (3, n)."""
    found = np.empty((3, xs.size))
    for i, x in enumerate(xs):
        found[0, i], found[1, i] = elementary.sin_cos(x)
        found[2, i] = elementary.tanh(x)
    return found


@numba.njit
def angles(across, along):
    """Return the angle of each pair."""
    return np.array([elementary.arctan(across[i], along[i]) for i in range(across.size)])


def test_sine_and_cosine_up_to_a_right_angle():
    """Further than any servo steers, and as far as a slip angle goes."""
    xs = np.linspace(-1.6, 1.6, 100_001)
    np.testing.assert_allclose(each(xs)[:2], [np.sin(xs), np.cos(xs)], rtol=0, atol=1e-10)


def test_tanh_is_tanh_and_never_exceeds_one():
    xs = np.concatenate([np.linspace(-30.0, 30.0, 300_001), np.linspace(-1e-6, 1e-6, 1001)])
    found = each(xs)[2]
    np.testing.assert_allclose(found, np.tanh(xs), rtol=0, atol=4e-7)
    assert np.abs(found).max() <= 1.0
    assert (np.diff(found[:300_001]) > -1e-7).all()
    np.testing.assert_allclose(each(np.array([1e300, -1e300]))[2], [1.0, -1.0], rtol=0, atol=4e-7)
    assert each(np.zeros(1))[2] == 0.0


def test_the_angle_of_any_two_velocities():
    rng = np.random.default_rng(0)
    across, along = rng.normal(0.0, 5.0, 100_000), rng.uniform(1e-3, 20.0, 100_000)
    np.testing.assert_allclose(angles(across, along), np.arctan2(across, along), rtol=0, atol=4e-7)
    some = angles(np.array([0.0, 1e9, -1e9, 1.0]), np.array([1.0, 1e-9, 1e-9, 1.0]))
    np.testing.assert_allclose(some, [0.0, np.pi / 2, -np.pi / 2, np.pi / 4], rtol=0, atol=4e-7)
