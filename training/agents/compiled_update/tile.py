"""One tile of a matrix product, held in registers: ROWS by two vectors (or one) of LANES, in LLVM's own instructions.

Numba turns Python's loops into machine code, but does not keep a hundred sums and more in vector registers. These few
instructions say how; LLVM writes them for whatever processor it compiles for (two AVX2 or AVX-512 registers a row, four
of NEON). A tile reads its left factor in place, number by number, and its right factor from a panel that `products.py`
packed. All numbers are in one float32 array; places are element indices into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

# The processor that numba compiles for: the image's kernels, for example, run on every processor with AVX2.
_FEATURES = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
# AVX2 has 16 registers of 8 numbers: 12 sums, 2 of the right factor and one of the left fill them. AVX-512 has 32 of
# 16; 16 sums are enough to keep both its multipliers busy, and 8 rows divide the usual widths and batches.
ROWS, LANES = (8, 16) if "+avx512f" in _FEATURES.split(",") else (6, 8)
SQUARE = 8  # size of the block that is transposed at once

_INT = ir.IntType(64)
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_LANE = ir.IntType(32)

Ending = Literal["as it is", "plus bias", "plus bias, at least 0", "where positive"]


def make_tile(vectors: int, ending: Ending, *, transposed: bool) -> Callable[..., None]:
    """Return a function for compiled code: C = A x B, ROWS rows by LANES x `vectors` columns.

    It is called with (numbers, a, a_step, panel, depth, c, c_step, e). a: place of A; a_step: from row to row, or,
    where A is taken transposed, from number to number of a row (rows are then neighbours). panel: place of B, `depth`
    rows of LANES x vectors numbers. c, c_step: place of C and of its rows. e: the input of the ending: the bias of the
    columns, or a matrix with C's layout; C becomes 0 where that matrix is not positive. depth must be at least 1.
    """

    @intrinsic
    def tile(typing, numbers, a, a_step, panel, depth, c, c_step, e):  # noqa: ANN001, ANN202 - numba's form
        del typing

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:  # noqa: ANN401 - numba's
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            place_a, step_a, place_b, deep, place_c, step_c, place_e = args[1:]
            at = _Places(builder, data)
            sums = _sums(at, (place_a, step_a, place_b, deep), vectors, transposed=transposed)
            _finish(at, sums, (place_c, step_c, place_e), vectors, ending)
            return context.get_dummy_value()

        return types.void(numbers, a, a_step, panel, depth, c, c_step, e), generate

    return tile


@intrinsic
def transpose(typing, source, s, s_step, target, t, t_step):  # noqa: ANN001, ANN201 - numba's form
    """Copy SQUARE x SQUARE numbers, row r to column r: from place s of `source` to place t of `target`.

    s_step, t_step: the distance between their rows.
    """
    del typing

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:  # noqa: ANN401 - numba's
        sources, targets = (
            context.make_array(signature.args[n])(context, builder, args[n]).data for n in (0, 3)
        )
        _, place_s, step_s, _, place_t, step_t = args
        rows = [
            _load(builder, builder.gep(sources, [_row(builder, place_s, step_s, r)]), SQUARE)
            for r in range(SQUARE)
        ]
        for r, vector in enumerate(_transposed(builder, rows)):
            _store(builder, vector, builder.gep(targets, [_row(builder, place_t, step_t, r)]))
        return context.get_dummy_value()

    return types.void(source, s, s_step, target, t, t_step), generate


@intrinsic
def move(typing, source, s, target, t):  # noqa: ANN001, ANN201 - numba's form
    """Copy a row of a panel, 2 x LANES numbers, from place s of `source` to place t of `target`."""
    del typing

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:  # noqa: ANN401 - numba's
        sources, targets = (
            context.make_array(signature.args[n])(context, builder, args[n]).data for n in (0, 2)
        )
        vectors = [_load(builder, builder.gep(sources, [_further(builder, args[1], v)])) for v in range(2)]
        for v, vector in enumerate(vectors):
            _store(builder, vector, builder.gep(targets, [_further(builder, args[3], v)]))
        return context.get_dummy_value()

    return types.void(source, s, target, t), generate


@intrinsic
def out_of_line(typing):  # noqa: ANN001, ANN201 - numba's form
    """Prevent inlining of the function that contains this call: each caller would optimize it again."""
    del typing

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:  # noqa: ANN401 - numba's
        del signature, args
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def call_at(typing, address, *arguments):  # noqa: ANN001, ANN002, ANN201 - numba's form
    """Call the compiled function at an address; it returns nothing, and takes arguments of just these types."""
    del typing

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:  # noqa: ANN401 - numba's
        kinds = signature.args[1]
        kind = context.call_conv.get_function_type(types.none, kinds)
        function = builder.inttoptr(args[0], kind.as_pointer())
        values = [builder.extract_value(args[1], i) for i in range(len(kinds))]
        context.call_conv.call_function(builder, function, types.none, kinds, values)
        return context.get_dummy_value()

    return types.void(address, types.StarArgTuple(arguments)), generate


def address_of(function: Any, kinds: tuple[types.Type, ...]) -> int:  # noqa: ANN401 - numba's dispatcher
    """Compile a function for these types of arguments, or load it from the cache; return the address of its code."""
    function.compile(kinds)
    compiled = function.overloads[kinds]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


class _Places:
    """Load and store at element numbers of one array."""

    def __init__(self, builder: ir.IRBuilder, data: ir.Value) -> None:
        self.builder, self._data = builder, data

    def pointer(self, place: ir.Value, further: int = 0) -> ir.Value:
        start = self.builder.gep(self._data, [place])
        return self.builder.gep(start, [_INT(further)]) if further else start

    def row(self, place: ir.Value, step: ir.Value, row: int) -> ir.Value:
        return _row(self.builder, place, step, row)


def _sums(
    at: _Places, factors: tuple[ir.Value, ...], vectors: int, *, transposed: bool
) -> list[list[ir.Value]]:
    """Write the loop over the depth; return the tile's rows of vectors after it."""
    builder = at.builder
    a, a_step, panel, depth = factors
    starts = [at.pointer(a)] if transposed else [at.pointer(at.row(a, a_step, r)) for r in range(ROWS)]
    panel_start = at.pointer(panel)
    before, loop, after = (
        builder.block,
        builder.append_basic_block("depth"),
        builder.append_basic_block("summed"),
    )
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(_INT)
    k.add_incoming(_INT(0), before)
    running = [[builder.phi(_VECTOR) for _ in range(vectors)] for _ in range(ROWS)]
    row_of_panel = builder.gep(panel_start, [builder.mul(k, _INT(LANES * vectors))])
    right = [_load(builder, builder.gep(row_of_panel, [_INT(LANES * v)])) for v in range(vectors)]
    column = builder.gep(starts[0], [builder.mul(k, a_step)]) if transposed else None
    sums = []
    for r, row in enumerate(running):
        left = builder.gep(column, [_INT(r)]) if transposed else builder.gep(starts[r], [k])
        everywhere = _splat(builder, builder.load(left))
        sums.append([_fma(builder, everywhere, right[v], row[v]) for v in range(vectors)])
    following = builder.add(k, _INT(1))
    k.add_incoming(following, loop)
    for old_row, new_row in zip(running, sums, strict=True):
        for old, new in zip(old_row, new_row, strict=True):
            old.add_incoming(_zeros(), before)
            old.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    return sums


def _finish(
    at: _Places, sums: list[list[ir.Value]], out: tuple[ir.Value, ...], vectors: int, ending: Ending
) -> None:
    """Apply the ending to the sums and store them."""
    builder = at.builder
    c, c_step, e = out
    for r in range(ROWS):
        for v in range(vectors):
            value = sums[r][v]
            if ending.startswith("plus bias"):
                value = builder.fadd(value, _load(builder, at.pointer(e, LANES * v)))
            if ending == "plus bias, at least 0":
                # A sum that is not a number stays so, as in torch's relu.
                value = builder.select(builder.fcmp_unordered(">", value, _zeros()), value, _zeros())
            if ending == "where positive":
                relu_mask = _load(builder, at.pointer(at.row(e, c_step, r), LANES * v))
                value = builder.select(builder.fcmp_ordered(">", relu_mask, _zeros()), value, _zeros())
            _store(builder, value, at.pointer(at.row(c, c_step, r), LANES * v))


def _transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Return the columns of 8 vectors of 8: pairs, fours, halves change places (AVX: unpack, shuffle, permute)."""
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    pairs = [_shuffle(builder, rows[i], rows[i + 1], m) for i in range(0, 8, 2) for m in (low, high)]
    first, second = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    fours = [
        _shuffle(builder, pairs[base + half], pairs[base + half + 2], m)
        for base in (0, 4)
        for half in (0, 1)
        for m in (first, second)
    ]
    near, far = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    return [_shuffle(builder, fours[i], fours[i + 4], m) for m in (near, far) for i in range(4)]


def _row(builder: ir.IRBuilder, place: ir.Value, step: ir.Value, row: int) -> ir.Value:
    return builder.add(place, builder.mul(step, _INT(row)))


def _further(builder: ir.IRBuilder, place: ir.Value, vectors: int) -> ir.Value:
    return builder.add(place, _INT(LANES * vectors))


def _zeros() -> ir.Constant:
    return ir.Constant(_VECTOR, [0.0] * LANES)


def _load(builder: ir.IRBuilder, pointer: ir.Value, lanes: int = LANES) -> ir.Value:
    loaded = builder.load(builder.bitcast(pointer, ir.VectorType(_FLOAT, lanes).as_pointer()))
    loaded.align = 4
    return loaded


def _store(builder: ir.IRBuilder, vector: ir.Value, pointer: ir.Value) -> None:
    builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer())).align = 4


def _splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, _LANE(0))
    return _shuffle(builder, one, one, [0] * LANES)


def _shuffle(builder: ir.IRBuilder, first: ir.Value, second: ir.Value, lanes: list[int]) -> ir.Value:
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes))


def _fma(builder: ir.IRBuilder, left: ir.Value, right: ir.Value, added: ir.Value) -> ir.Value:
    """Return left x right + added, rounded once."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
    return builder.call(function, [left, right, added])
