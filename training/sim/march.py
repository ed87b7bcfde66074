"""The lidar's inner loop, in vector instructions: a group of beams walks through the distance field in registers.

Written in LLVM's own terms, because its loop vectoriser gives this loop up: it cannot know that the field that is read
is not one of the arrays that are written. A vector of LANES beams takes its steps together; a beam that has finished
stands in an occupied cell, where the field is 0, so its further steps change nothing and need no mask.
docs/notes/performance.md has the figures, and what else was tried.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .array_types import EitherFloats, Floats

# Beams of one group. 16 measured best of 4, 8 and 16: while one load is on its way there is work for the others.
LANES = 16
# f1tenth_gym ends a ray where the field is at most 0.1 mm; a free cell's value is never below one resolution.
HIT_CELLS = 1e-3

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _plain_march(
    k: int,
    start: tuple[float, float, float],
    du: Floats,
    dv: Floats,
    field: EitherFloats,
    grid: tuple[np.int64, np.int64, np.int64],
    limit: float,
    way: Floats,
) -> int:
    """Write the distance, cells, of beams k to k + LANES - 1, without numba's compiler; the compiled one does the same.

    start: column, row, and the field's value there. grid: index of the map's cell (0, 0), width, height. Returns a bit
    for each, the first lowest: whether it has ended in a free cell, next to a thin wall (training.sim.thin_walls).
    """
    beside = 0
    first, width, height = int(grid[0]), int(grid[1]), int(grid[2])
    for i in range(k, k + LANES):
        u, v, total = start[0] + start[2] * du[i], start[1] + start[2] * dv[i], du.dtype.type(start[2])
        d = total
        while d > HIT_CELLS and total <= limit:
            inside = u >= 0 and v >= 0 and u < width and v < height
            cell = int(v) * width + int(u) if inside else width * height - 1
            d = du.dtype.type(field[first + cell])
            u, v, total = u + d * du[i], v + d * dv[i], total + d
        way[i] = total
        beside |= int(0.0 < d <= HIT_CELLS) << (i - k)
    return beside


class _Writer:
    """Write vector code of LANES floats of one kind."""

    def __init__(self, builder: Any, kind: ir.Type, bits: int) -> None:  # noqa: ANN401 - llvmlite's builder
        self.b, self.kind, self.bits = builder, kind, bits
        self.floats, self.ints = ir.VectorType(kind, LANES), ir.VectorType(_I32, LANES)

    def splat(self, value: ir.Value, to: ir.VectorType) -> ir.Value:
        """Return a vector with one value in every lane."""
        result = ir.Constant(to, ir.Undefined)
        for lane in range(LANES):
            result = self.b.insert_element(result, value, ir.Constant(_I32, lane))
        return result

    def at(self, data: ir.Value, k: ir.Value) -> ir.Value:
        """Return the address of LANES neighbours in an array."""
        return self.b.bitcast(self.b.gep(data, [k]), self.floats.as_pointer())

    def load(self, data: ir.Value, k: ir.Value) -> ir.Value:
        """Load LANES neighbours; they need not be aligned."""
        value = self.b.load(self.at(data, k))
        value.align = self.bits // 8
        return value

    def gather(self, data: ir.Value, cells: ir.Value) -> ir.Value:
        """Load one float per lane from anywhere."""
        result = ir.Constant(self.floats, ir.Undefined)
        for lane in range(LANES):
            position = ir.Constant(_I32, lane)
            cell = self.b.zext(self.b.extract_element(cells, position), _I64)
            result = self.b.insert_element(result, self.b.load(self.b.gep(data, [cell])), position)
        return result


def _make_march(checked: bool) -> Any:  # noqa: ANN401 - an intrinsic
    """Return the compiled march; checked: a point off the map reads the map's last cell, else there is none."""

    @intrinsic
    def march(_context, k, start, du, dv, field, grid, limit, way):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba's types
        signature = types.int64(k, start, du, dv, field, grid, limit, way)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            kind = context.get_value_type(signature.args[2].dtype)
            w = _Writer(builder, kind, signature.args[2].dtype.bitwidth)
            data = [
                context.make_array(signature.args[i])(context, builder, args[i]).data for i in (2, 3, 4, 7)
            ]
            index = args[0]
            su, sv, opening = (w.splat(builder.extract_value(args[1], i), w.floats) for i in range(3))
            first, width, height = (builder.extract_value(args[5], i) for i in range(3))
            base = builder.gep(data[2], [first])
            cu, cv = w.load(data[0], index), w.load(data[1], index)
            wide = w.splat(builder.trunc(width, _I32), w.ints)
            limits = w.splat(args[6], w.floats)
            hit = ir.Constant(w.floats, [HIT_CELLS] * LANES)
            before = builder.block
            loop = builder.append_basic_block("march")
            after = builder.append_basic_block("marched")
            u0 = builder.fadd(su, builder.fmul(opening, cu))
            v0 = builder.fadd(sv, builder.fmul(opening, cv))
            if checked:
                zero = ir.Constant(w.floats, [0.0] * LANES)
                wide_f = w.splat(builder.sitofp(width, kind), w.floats)
                high_f = w.splat(builder.sitofp(height, kind), w.floats)
                last = builder.sub(builder.mul(width, height), ir.Constant(_I64, 1))
                lasts = w.splat(builder.trunc(last, _I32), w.ints)
            builder.branch(loop)
            builder.position_at_end(loop)
            u, v, total = (builder.phi(w.floats) for _ in range(3))
            cell = builder.add(builder.mul(builder.fptosi(v, w.ints), wide), builder.fptosi(u, w.ints))
            if checked:
                low = builder.and_(builder.fcmp_ordered(">=", u, zero), builder.fcmp_ordered(">=", v, zero))
                high = builder.and_(
                    builder.fcmp_ordered("<", u, wide_f), builder.fcmp_ordered("<", v, high_f)
                )
                cell = builder.select(builder.and_(low, high), cell, lasts)
            d = w.gather(base, cell)
            u1 = builder.fadd(u, builder.fmul(d, cu))
            v1 = builder.fadd(v, builder.fmul(d, cv))
            total1 = builder.fadd(total, d)
            on = builder.and_(builder.fcmp_ordered(">", d, hit), builder.fcmp_ordered("<=", total1, limits))
            mask = builder.bitcast(on, ir.IntType(LANES))
            for phi, start_value, next_value in ((u, u0, u1), (v, v0, v1), (total, opening, total1)):
                phi.add_incoming(start_value, before)
                phi.add_incoming(next_value, builder.block)
            builder.cbranch(builder.icmp_unsigned("!=", mask, ir.Constant(ir.IntType(LANES), 0)), loop, after)
            builder.position_at_end(after)
            store = builder.store(total1, w.at(data[3], index))
            store.align = w.bits // 8
            none = ir.Constant(w.floats, [0.0] * LANES)
            beside = builder.and_(builder.fcmp_ordered(">", d, none), builder.fcmp_ordered("<=", d, hit))
            return builder.zext(builder.bitcast(beside, ir.IntType(LANES)), _I64)

        return signature, generate

    return march


if numba.config.DISABLE_JIT:
    march_checked = march_inside = _plain_march
else:
    march_checked, march_inside = _make_march(checked=True), _make_march(checked=False)
