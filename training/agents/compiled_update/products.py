"""Matrix products of the fast update: the right factor is packed into panels, then tiles go over the rows.

All matrices except the weights are in one float32 array. It holds them row by row, `leading_dim(columns)` numbers
apart, with room for a multiple of ROWS rows: a tile is always computed whole, and numbers beyond a matrix's columns or
rows are never used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba

from ...sim import compiled
from .tile import LANES, ROWS, SQUARE, Ending, make_tile, move, out_of_line, transpose

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_HERE = Path(__file__).resolve().parent
# Functions that are called from outside, kept for this version of the sources; `inner` ones are part of them.
entry = compiled.jit_variants("update", sorted(_HERE.glob("*.py")))
inner = numba.njit(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")

LINE = 16  # float32 numbers of a cache line
WIDE = 2 * LANES


@inner
def leading_dim(columns: int) -> int:
    """Return the distance between rows of so many columns: an odd number of cache lines, or columns collide."""
    return LINE * (((columns + LINE - 1) // LINE) | 1)


@inner
def blocks_of(rows: int) -> int:
    """Return how many tiles high so many rows are."""
    return (rows + ROWS - 1) // ROWS


@inner
def pack_rows(
    source: NDArray[Any], s: int, step: int, depth: int, columns: int, numbers: NDArray[Any], p: int
) -> None:
    """Pack a matrix (depth, columns) at place s, rows `step` apart, into panels at place p of numbers."""
    out_of_line()
    for first in range(0, columns, WIDE):
        width = WIDE if columns - first > LANES else LANES
        here = min(width, columns - first)
        start = p + first * depth
        if here == WIDE:
            for k in range(depth):
                move(source, s + k * step + first, numbers, start + k * WIDE)
        else:
            for k in range(depth):
                for j in range(width):
                    number = numba.float32(0.0)
                    if j < here:
                        number = source[s + k * step + first + j]
                    numbers[start + k * width + j] = number


@inner
def pack_transposed(
    source: NDArray[Any], s: int, step: int, columns: int, depth: int, numbers: NDArray[Any], p: int
) -> None:
    """Pack the transpose of a matrix (columns, depth) at place s, rows `step` apart, into panels at place p."""
    out_of_line()
    for first in range(0, columns, WIDE):
        width = WIDE if columns - first > LANES else LANES
        start = p + first * depth
        for part in range(0, width, SQUARE):
            k = 0
            if first + part + SQUARE <= columns:
                while k + SQUARE <= depth:
                    transpose(
                        source, s + (first + part) * step + k, step, numbers, start + k * width + part, width
                    )
                    k += SQUARE
            for rest in range(k, depth):
                for j in range(part, part + SQUARE):
                    number = numba.float32(0.0)
                    if first + j < columns:
                        number = source[s + (first + j) * step + rest]
                    numbers[start + rest * width + j] = number


def _over_rows(ending: Ending) -> Callable[..., None]:
    """Return C = A x panels for rows of tiles `first` to `last`; panel by panel, each stays in the nearest cache."""
    wide, narrow = make_tile(2, ending, transposed=False), make_tile(1, ending, transposed=False)
    e_step = int(ending == "where positive")

    @inner
    def product(numbers, a, a_step, panels, depth, columns, c, c_step, e, first, last):  # noqa: ANN001, ANN202 - compiled
        out_of_line()
        for column in range(0, columns, WIDE):
            panel = panels + column * depth
            for block in range(first, last):
                row = block * ROWS
                here, there = a + row * a_step, c + row * c_step + column
                reading = e + row * c_step * e_step + column
                if columns - column > LANES:
                    wide(numbers, here, a_step, panel, depth, there, c_step, reading)
                else:
                    narrow(numbers, here, a_step, panel, depth, there, c_step, reading)

    return product


# (numbers, a, a_step, panels, depth, columns, c, c_step, e, first, last): A's rows x panels, by rows of tiles.
multiply = _over_rows("as it is")
layer = _over_rows("plus bias")
hidden_layer = _over_rows("plus bias, at least 0")
through_relu = _over_rows("where positive")

_wide_transposed = make_tile(2, "as it is", transposed=True)
_narrow_transposed = make_tile(1, "as it is", transposed=True)


@inner
def multiply_transposed(numbers, a, a_step, panels, depth, columns, c, c_step, first, last):  # noqa: ANN001, ANN201 - compiled
    """C = (transpose of A) x panels, by rows of tiles; A's column is read once for all panels."""
    out_of_line()
    for block in range(first, last):
        here, row = a + block * ROWS, c + block * ROWS * c_step
        for column in range(0, columns, WIDE):
            panel, there = panels + column * depth, row + column
            if columns - column > LANES:
                _wide_transposed(numbers, here, a_step, panel, depth, there, c_step, there)
            else:
                _narrow_transposed(numbers, here, a_step, panel, depth, there, c_step, there)
