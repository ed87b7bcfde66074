"""Operations on a layer of a network: forward, backward, weight gradient, Adam, Polyak averaging."""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import float32

from .array_layout import Learned, Network, Task
from .products import (
    blocks_of,
    hidden_layer,
    inner,
    layer,
    leading_dim,
    multiply_transposed,
    pack_rows,
    pack_transposed,
    through_relu,
)
from .tile import ROWS, out_of_line

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # torch.optim.Adam's own

# Sums may be reordered, which vectorisation needs; NaN stays NaN.
elementwise = numba.njit(
    _nrt=False,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    error_model="numpy",
    fastmath={"contract", "reassoc", "nsz"},
)


@inner
def forward(task: Task, network: Network, inputs: tuple[int, int], values: np.ndarray) -> None:
    """Write the outputs of all layers to the places `values`; inputs: place of the first matrix and its step."""
    out_of_line()
    workspace, (flat, shape, number), (a, a_step) = task.workspace, network, inputs
    panels, bias = task.base + task.layout.panels[task.part], task.base + task.layout.bias[task.part]
    last, blocks = len(shape.weights) - 1, blocks_of(task.layout.rows)
    for index in range(last + 1):
        depth, units = shape.sizes[index], shape.sizes[index + 1]
        pack_transposed(
            flat, shape.weights[index] + number * depth * units, depth, units, depth, workspace, panels
        )
        for j in range(leading_dim(units)):
            workspace[bias + j] = (
                flat[shape.biases[index] + number * units + j] if j < units else float32(0.0)
            )
        c, c_step = task.base + values[index], leading_dim(units)
        if index == last:
            layer(workspace, a, a_step, panels, depth, units, c, c_step, bias, 0, blocks)
        else:
            hidden_layer(workspace, a, a_step, panels, depth, units, c, c_step, bias, 0, blocks)
        a, a_step = c, c_step


@inner
def backward(
    task: Task, network: Network, index: int, gradient: int, passed: int, gates: int, first: int, last: int
) -> None:
    """Pass a gradient back through layer `index` and the ReLU before it, which is open where `gates` is positive.

    Rows of tiles first to last of the matrix at `gradient` become those of the matrix at `passed`.
    """
    out_of_line()
    flat, shape, number = network
    units, inputs = shape.sizes[index + 1], shape.sizes[index]
    panels = task.base + task.layout.panels[task.part]
    pack_rows(
        flat, shape.weights[index] + number * units * inputs, inputs, units, inputs, task.workspace, panels
    )
    through_relu(
        task.workspace,
        gradient,
        leading_dim(units),
        panels,
        units,
        inputs,
        passed,
        leading_dim(inputs),
        gates,
        first,
        last,
    )


@inner
def weights_gradient(
    task: Task, gradient: int, units: int, inputs: tuple[int, int], width: int, first: int, end: int
) -> None:
    """Write the gradient of a layer's weights and biases, units first to end; first is a multiple of ROWS.

    gradient: at the layer's outputs. inputs: place of the matrix that the layer took, and its step; width: its columns.
    """
    out_of_line()
    workspace, layout = task.workspace, task.layout
    panels, out = task.base + layout.panels[task.part], task.base + layout.weights_gradient[task.part]
    pack_rows(workspace, inputs[0], inputs[1], layout.rows, width, workspace, panels)
    blocks = first // ROWS, blocks_of(end)
    multiply_transposed(
        workspace,
        gradient,
        leading_dim(units),
        panels,
        layout.rows,
        width,
        out,
        leading_dim(width),
        blocks[0],
        blocks[1],
    )
    bias, step = workspace[task.base + layout.bias[task.part] :], leading_dim(units)
    for j in range(end - first):
        bias[j] = float32(0.0)
    for b in range(layout.rows):
        _add(workspace[gradient + b * step + first :], bias, end - first)


@inner
def adam_layer(
    task: Task, learned: Learned, network: Network, index: int, first: int, end: int, size: float, root: float
) -> None:
    """Take Adam's step of a layer's units first to end, by the gradient that `weights_gradient` wrote."""
    out_of_line()
    _, shape, number = network
    units, inputs = shape.sizes[index + 1], shape.sizes[index]
    for unit in range(first, end):
        place = shape.weights[index] + (number * units + unit) * inputs
        gradient = task.workspace[
            task.base + task.layout.weights_gradient[task.part] + unit * leading_dim(inputs) :
        ]
        adam(learned, place, gradient, inputs, size, root)
    gradient = task.workspace[task.base + task.layout.bias[task.part] :]
    adam(learned, shape.biases[index] + number * units + first, gradient, end - first, size, root)


@inner
def polyak_layer(target: np.ndarray, network: Network, index: int, tau: float) -> None:
    """Move a layer of the target towards the network's by the share tau."""
    flat, shape, number = network
    units, inputs = shape.sizes[index + 1], shape.sizes[index]
    place = shape.weights[index] + number * units * inputs
    _approach(target[place:], flat[place:], units * inputs, tau)
    place = shape.biases[index] + number * units
    _approach(target[place:], flat[place:], units, tau)


@inner
def adam(learned: Learned, place: int, gradient: np.ndarray, count: int, size: float, root: float) -> None:
    """Take Adam's step of `count` parameters; size: learning rate / (1 - beta1^t), root: sqrt(1 - beta2^t)."""
    _adam(learned.flat[place:], gradient, learned.mean[place:], learned.square[place:], count, size, root)


@elementwise
def _adam(
    parameter: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    count: int,
    size: float,
    root: float,
) -> None:
    out_of_line()
    new1, new2 = float32(1.0 - _BETA1), float32(1.0 - _BETA2)
    for i in range(count):
        g = gradient[i]
        m = mean[i] + new1 * (g - mean[i])
        s = float32(_BETA2) * square[i] + new2 * g * g
        mean[i], square[i] = m, s
        parameter[i] -= size * m / (math.sqrt(s) / root + float32(_EPSILON))


@elementwise
def _approach(target: np.ndarray, flat: np.ndarray, count: int, tau: float) -> None:
    for i in range(count):
        target[i] += tau * (flat[i] - target[i])


@elementwise
def _add(row: np.ndarray, total: np.ndarray, count: int) -> None:
    for j in range(count):
        total[j] += row[j]


@elementwise
def relu_mask(weights: np.ndarray, gates: np.ndarray, out: np.ndarray, count: int, factor: float) -> None:
    """Write factor x weights where the gates are positive, 0 elsewhere."""
    for j in range(count):
        out[j] = factor * weights[j] if gates[j] > float32(0.0) else float32(0.0)


@elementwise
def add_up(numbers: np.ndarray, count: int) -> float:
    """Return the sum of the first `count` numbers."""
    total = float32(0.0)
    for i in range(count):
        total += numbers[i]
    return total


@inner
def copy(source: np.ndarray, target: np.ndarray, count: int) -> None:
    """Copy the first `count` numbers."""
    for j in range(count):
        target[j] = source[j]
