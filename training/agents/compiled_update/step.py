"""Bind the tensors of a SacUpdate to the compiled update: the same memory, seen by numpy."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numba
import numpy as np
import torch

from . import phases
from .array_layout import PARTS, ArrayLayout, BatchArrays, Learned, Rates, Shape, lay_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..networks import Batch, SacNetworks
    from ..stacked_mlp import StackedMlp

_NO_GUIDES = np.zeros((1, 1, 1), dtype=np.float32)


def fits(actor: StackedMlp, critic: StackedMlp) -> bool:
    """Say whether the compiled update can do it: on the processor, in float32, with a hidden layer."""
    return (
        actor.flat.device.type == "cpu"
        and actor.compute == critic.compute == torch.float32
        and len(actor.weights) > 1
        and not numba.config.DISABLE_JIT
    )


class CompiledStep:
    """Update all agents by one call of compiled code.

    In as many threads as numba has, which is every core: their number changes no result, unlike that of torch's.
    """

    def __init__(self, update: SacNetworks) -> None:
        self._update = update
        self._shapes = _shape(update.actor), _shape(update.critic)
        self._layout: ArrayLayout | None = None
        self._phases: NDArray[np.int64] | None = None

    def __call__(self, batch: Batch, noise: torch.Tensor, next_noise: torch.Tensor) -> NDArray[np.float32]:
        """Return the losses (A, 4): actor, critic, entropy, coefficient."""
        update = self._update
        rows = batch.rewards.shape[1]
        if self._layout is None or self._layout.rows != rows:
            self._make_room(rows)
        guides = _NO_GUIDES if batch.guides is None else _numbers(batch.guides)
        arguments = (
            self._layout,
            *self._shapes,
            self._room,
            self._order,
            _learned(update.actor_optimizer),
            _learned(update.critic_optimizer),
            update.target.flat.numpy(),
            _learned(update.alpha_optimizer),
            BatchArrays(*map(_numbers, batch[:5]), guides, _numbers(noise), _numbers(next_noise)),
            self._rates(),
        )
        if self._phases is None:
            self._phases = phases.addresses(*arguments)
        losses = np.empty((update.agents, 4), dtype=np.float32)
        phases.update(self._phases, *arguments, losses)
        return losses

    def _rates(self) -> Rates:
        update = self._update
        learns = update.target_entropy is not None
        return Rates(
            tau=np.float32(update.tau),
            imitation_coef=np.float32(update.imitation_coef),
            target_entropy=np.float32(update.target_entropy if learns else 0.0),
            learn_alpha=learns,
            **_pace("actor", update.actor_optimizer),
            **_pace("critic", update.critic_optimizer),
            **_pace("alpha", update.alpha_optimizer, counts=learns),
        )

    def _make_room(self, rows: int) -> None:
        update = self._update
        self._layout = lay_out(rows, update.actor.sizes, update.critic.sizes)
        # Two threads an agent: fewer agents at the same time than cores would keep busy wait, more push each other's
        # numbers out of the cache.
        together = min(update.agents, max(1, numba.get_num_threads() // PARTS))
        self._room = np.zeros(together * self._layout.step, dtype=np.float32)
        self._order = np.zeros((update.agents, PARTS, rows), dtype=np.int64)


def adam_state(optimizer: torch.optim.Adam) -> dict[str, torch.Tensor]:
    """Return the tensors of Adam's state, made first where no step has been taken."""
    parameter = optimizer.param_groups[0]["params"][0]
    state = optimizer.state[parameter]
    if not state:
        # As torch.optim.Adam's first step makes them (fused: the counter is a float32 tensor on the device).
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    return state


def _numbers(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Return a tensor's numbers row by row: compiled code knows one type of array."""
    return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)


def _shape(stack: StackedMlp) -> Shape:
    """Return widths and places; a StackedMlp's flat tensor holds all networks' weights of a layer, then all biases."""
    sizes = [stack.nets * size for i, o in pairwise(stack.sizes) for size in (i * o, o)]
    places = [0, *accumulate(sizes)]
    return Shape(
        *(np.array(numbers, dtype=np.int64) for numbers in (stack.sizes, places[0:-1:2], places[1::2]))
    )


def _learned(optimizer: torch.optim.Adam) -> Learned:
    state = adam_state(optimizer)
    flat = optimizer.param_groups[0]["params"][0]
    return Learned(flat.numpy(), state["exp_avg"].numpy(), state["exp_avg_sq"].numpy())


def _pace(name: str, optimizer: torch.optim.Adam, *, counts: bool = True) -> dict[str, np.float32]:
    """Count one more step of Adam; return its size and root, bias corrections included."""
    group, step = optimizer.param_groups[0], adam_state(optimizer)["step"]
    if counts:
        step += 1
    number = max(step.item(), 1.0)
    beta1, beta2 = group["betas"]
    size, root = group["lr"] / (1.0 - beta1**number), math.sqrt(1.0 - beta2**number)
    return {f"{name}_size": np.float32(size), f"{name}_root": np.float32(root)}
