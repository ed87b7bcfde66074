"""The memory layout of an update: parameters in flat tensors, everything else in one common array.

Places are element indices. Numba's parallel loops take tuples of arrays and numbers, but no nested tuples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .products import LINE, WIDE, blocks_of, leading_dim
from .tile import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# Each agent's work is in two parts: two critics, two observations of a transition, two halves of its rows.
PARTS = 2


class Shape(NamedTuple):
    """Of stacked networks: widths of the layers, and the places of network 0's weights and biases, layer by layer."""

    sizes: NDArray[np.int64]
    weights: NDArray[np.int64]
    biases: NDArray[np.int64]


class ArrayLayout(NamedTuple):
    """The places of an agent's matrices and vectors in the common array; `step` further for each concurrent agent.

    Arrays of places are (2,): of each part; (2, layers): outputs of the layers, of each part; gradients (layers,).
    """

    rows: int
    observation: int
    actions: int
    step: int
    # Inputs of the critics: observation and action; next observation and action; observation and the actor's action.
    here: int
    following: int
    chosen: int
    actor_values: NDArray[np.int64]  # at the observations, and at the next
    critic_values: NDArray[np.int64]  # of each critic, and before that of its target
    gradients: NDArray[np.int64]  # at the outputs of the actor's layers
    log_prob: NDArray[np.int64]
    std_noise: NDArray[np.int64]  # std times noise: du / d log_std
    dtanh: NDArray[np.int64]  # 1 - action^2: d action / du
    unclamped: NDArray[np.int64]  # where log_std is not clamped
    target_value: NDArray[np.int64]
    sums: NDArray[np.int64]  # each part's share of the losses: critic, actor, entropy; then alpha's gradient
    alpha: int
    panels: NDArray[np.int64]  # a packed matrix
    bias: NDArray[np.int64]  # biases of one layer, or their gradient
    weights_gradient: NDArray[np.int64]  # of one layer
    work: NDArray[np.int64]  # (2, 3): three matrices of rows


class Learned(NamedTuple):
    """A flat tensor and Adam's two moments of it."""

    flat: NDArray[np.float32]
    mean: NDArray[np.float32]
    square: NDArray[np.float32]


class Rates(NamedTuple):
    """The coefficients of an update; for each Adam the size and the root of its step, see `layers.adam`."""

    tau: np.float32
    imitation_coef: np.float32
    target_entropy: np.float32
    learn_alpha: bool
    actor_size: np.float32
    actor_root: np.float32
    critic_size: np.float32
    critic_root: np.float32
    alpha_size: np.float32
    alpha_root: np.float32


class BatchArrays(NamedTuple):
    """update.Batch, seen by numpy, and the standard normal noise for both observations; (A, B, ·)."""

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    rewards: NDArray[np.float32]
    discounts: NDArray[np.float32]
    guides: NDArray[np.float32]
    noise: NDArray[np.float32]
    next_noise: NDArray[np.float32]


class Task(NamedTuple):
    """The inputs of a task: the layout, the common array, the offset of its agent's numbers, its part."""

    layout: ArrayLayout
    workspace: NDArray[np.float32]
    base: int
    part: int


class Network(NamedTuple):
    """One of stacked networks."""

    flat: NDArray[np.float32]
    shape: Shape
    number: int


def lay_out(rows: int, actor: Sequence[int], critic: Sequence[int]) -> ArrayLayout:
    """Give everything of an agent its place, for batches of so many rows.

    actor, critic: widths of their layers, inputs first; the actor's outputs are means and logarithms of deviations.
    """
    end = 0

    def take(size: int) -> int:
        nonlocal end
        place, end = end, end + LINE * -(-size // LINE)
        return place

    def matrix(columns: int) -> int:
        # One row of tiles more than needed: a transposed tile reads up to ROWS - 1 numbers beyond a row.
        return take((blocks_of.py_func(rows) + 1) * ROWS * leading_dim.py_func(columns))

    def both(make: Callable[[int], int], *sizes: int) -> NDArray[np.int64]:
        return np.array([[make(size) for size in sizes] for _ in range(PARTS)], dtype=np.int64)

    observation, actions = actor[0], actor[-1] // 2
    widest = max(*actor, *critic)
    vectors = {name: both(take, rows)[:, 0] for name in ("log_prob", "target_value")}
    vectors |= {name: both(take, rows * actions)[:, 0] for name in ("std_noise", "dtanh", "unclamped")}
    layout = ArrayLayout(
        rows=rows,
        observation=observation,
        actions=actions,
        step=0,
        here=matrix(critic[0]),
        following=matrix(critic[0]),
        chosen=matrix(critic[0]),
        actor_values=both(matrix, *actor[1:]),
        critic_values=both(matrix, *critic[1:]),
        gradients=np.array([matrix(width) for width in actor[1:]], dtype=np.int64),
        sums=both(take, LINE)[:, 0],
        alpha=take(1),
        panels=both(take, max(rows, widest) * (widest + WIDE))[:, 0],
        bias=both(take, leading_dim.py_func(widest))[:, 0],
        weights_gradient=both(take, (widest + ROWS) * leading_dim.py_func(widest))[:, 0],
        work=both(matrix, widest, widest, widest),
        **vectors,
    )
    return layout._replace(step=end + LINE)
