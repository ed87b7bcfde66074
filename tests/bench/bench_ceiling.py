"""What one core of this machine can do at most: multiply and add in vector registers, and load from anywhere.

    make bench ARGS="-k bench_ceiling"

Chains that do not wait for one another, in LLVM's own instructions, at the vector width of the update's tiles and with
as many beams as the march of the lidar takes abreast: nothing but the arithmetic, nothing but the loads. Beside the
first, what an update of [256, 256] reaches of it on the same core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tests.bench.bench_update import WIDE, learner, ours
from tests.bench.measuring import in_turns
from training.agents.compiled_update.tile import LANES
from training.sim.march import LANES as BEAMS

INT = ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
# Sums of a tile on the processors with the fewest registers; two multipliers of four cycles need eight.
SUMS = 12
# An update of WIDE, counting only what the result depends on (docs/notes/performance.md).
UPDATE_MFLOP = 595
# Cells, MB in float32, of the field that a scan on the recordings' track touches, and of its whole map.
FIELDS_MB = (0.5, 2.7)


def repeat(
    builder: ir.IRBuilder, times: ir.Value, starts: list[ir.Value], step: Callable[[ir.Value], ir.Value]
) -> list[ir.Value]:
    """Write a loop in which each chain takes one step a time; return where they end. times: at least 1."""
    before, loop, after = (
        builder.block,
        *(builder.append_basic_block(name) for name in ("chains", "ended")),
    )
    builder.branch(loop)
    builder.position_at_end(loop)
    done, chains = builder.phi(INT), [builder.phi(start.type) for start in starts]
    following, ends = builder.add(done, INT(1)), [step(chain) for chain in chains]
    for phi, first, then in zip([done, *chains], [INT(0), *starts], [following, *ends], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, loop)
    builder.cbranch(builder.icmp_signed("<", following, times), loop, after)
    builder.position_at_end(after)
    return ends


@intrinsic
def multiplied_and_added(_typing, times, factor):
    """Return a number of SUMS vectors that were multiplied by a factor, and added to, so many times."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, args: Any) -> ir.Value:
        lane, kind = ir.IntType(32), ir.FunctionType(VECTOR, [VECTOR] * 3)
        one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), args[1], lane(0))
        factors = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(lane, LANES), [0] * LANES))
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
        starts = [ir.Constant(VECTOR, [float(n)] * LANES) for n in range(SUMS)]
        first, *others = repeat(
            builder, args[0], starts, lambda chain: builder.call(fma, [chain, factors, factors])
        )
        for other in others:
            first = builder.fadd(first, other)
        return builder.extract_element(first, lane(0))

    return types.float32(times, factor), generate


@intrinsic
def followed(_typing, times, following):
    """Return the sum of where BEAMS walks end that read the next cell's number in each cell. following: (C,) uint32."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        cells = context.make_array(signature.args[1])(context, builder, args[1]).data
        starts = [builder.zext(builder.load(builder.gep(cells, [INT(n)])), INT) for n in range(BEAMS)]
        first, *others = repeat(
            builder,
            args[0],
            starts,
            lambda cell: builder.zext(builder.load(builder.gep(cells, [cell])), INT),
        )
        for other in others:
            first = builder.add(first, other)
        return first

    return types.int64(times, following), generate


@numba.njit
def multiply(times: int, factor: float) -> float:
    return multiplied_and_added(times, factor)


@numba.njit
def follow(times: int, following: np.ndarray) -> int:
    return followed(times, following)


def cells_in_turn(megabytes: float) -> np.ndarray:
    """Return for every cell another one, so that a walk comes through all of them in an order without any."""
    order = np.random.default_rng(0).permutation(int(megabytes * 1e6 / 4)).astype(np.uint32)
    following = np.empty_like(order)
    following[order] = np.roll(order, -1)
    return following


@pytest.fixture
def one_thread():
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.mark.bench
@pytest.mark.usefixtures("one_thread")
def test_an_update_beside_what_the_core_can_multiply_and_add(record_speeds) -> None:
    """Millions of floating-point operations a second; a factor below 1 keeps the sums ordinary numbers."""
    times, update = 1_000_000, ours(WIDE, learner(1, WIDE))
    flop = 2 * times * SUMS * LANES

    def most() -> int:
        assert multiply(times, np.float32(0.5)) > 0
        return flop // 1_000_000

    limit = "MFLOP of one core that only multiplies and adds"
    speeds = in_turns({f"MFLOP of an update, {WIDE}": lambda: UPDATE_MFLOP * update(), limit: most})
    record_speeds("ceiling", speeds, peers=[limit])


@pytest.mark.bench
def test_loads_from_anywhere(record_speeds) -> None:
    """Millions of loads a second of one core, each from a cell that no one can foresee, BEAMS at once."""
    times = 1_000_000

    def loading(megabytes: float) -> Callable[[], int]:
        following = cells_in_turn(megabytes)

        def work() -> int:
            assert follow(times, following) > 0
            return times * BEAMS // 1_000_000

        return work

    speeds = in_turns({f"million loads from {size} MB, {BEAMS} at once": loading(size) for size in FIELDS_MB})
    record_speeds("ceiling", speeds)
