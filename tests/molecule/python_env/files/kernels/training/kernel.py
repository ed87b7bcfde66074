"""A kernel that numba caches."""

from __future__ import annotations

from numba import njit


@njit(cache=True)
def twice(value: float) -> float:
    """Return the double of a number."""
    return 2.0 * value
