"""MLPs of one shape, stacked: one batched product a layer for all of them, one flat tensor for all their weights.

Everything elementwise (Adam, Polyak averaging) is then a single operation on the flat tensor, and a network is a view
into it: stable-baselines3's own modules can be bound to such views and stay usable.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class StackedMlp:
    """Hold N MLPs with ReLU between layers and nothing after the last.

    weights[i]: (N, out, in), biases[i]: (N, 1, out); all views of `flat`, float32. compute: the type that the
    products are computed in, bfloat16 for mixed precision; inputs, outputs and gradients of weights stay float32.
    """

    def __init__(
        self,
        nets: int,
        sizes: Sequence[int],
        device: torch.device | str = "cpu",
        compute: torch.dtype = torch.float32,
    ) -> None:
        self.compute = compute
        shapes = [shape for i, o in pairwise(sizes) for shape in ((nets, o, i), (nets, 1, o))]
        self.nets, self.sizes = nets, tuple(sizes)
        self._shapes = shapes
        self.flat = torch.zeros(sum(math.prod(s) for s in shapes), device=device)
        views = self._views(self.flat)
        self.weights, self.biases = views[0::2], views[1::2]

    def part(self, first: int, count: int, flat: torch.Tensor | None = None) -> torch.Tensor:
        """Copy networks first to first + count out, laid out as the flat tensor of a StackedMlp of so many.

        flat: another tensor of the same layout, such as Adam's moments; None: the weights.
        """
        views = self._views(self.flat if flat is None else flat)
        return torch.cat([view[first : first + count].reshape(-1) for view in views])

    def set_part(self, first: int, count: int, part: torch.Tensor, flat: torch.Tensor | None = None) -> None:
        """Copy networks back that `part` took out."""
        begin = 0
        for view in self._views(self.flat if flat is None else flat):
            target = view[first : first + count]
            target.copy_(part[begin : begin + target.numel()].view(target.shape))
            begin += target.numel()

    def bind(self, net: int, linears: Iterable[Sequence[torch.nn.Linear]]) -> None:
        """Move modules' parameters into network `net`: values are copied in, the modules become views.

        linears: per layer the modules that share it, their outputs one after the other.
        """
        for weight, bias, modules in zip(self.weights, self.biases, linears, strict=True):
            begin = 0
            for module in modules:
                end = begin + module.out_features
                for parameter, view in (
                    (module.weight, weight[net, begin:end]),
                    (module.bias, bias[net, 0, begin:end]),
                ):
                    view.copy_(parameter.data)
                    parameter.data = view
                begin = end

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Return all layers' values from inputs (N, B, in): the inputs, hidden layers after ReLU, outputs."""
        kind = self.compute
        values = [inputs.to(kind)]
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            value = torch.baddbmm(bias.to(kind), values[-1], weight.to(kind).transpose(1, 2))
            values.append(value.float() if i == last else torch.relu_(value))
        return values

    def _views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Cut a flat tensor into weights and biases, layer by layer."""
        sizes = [math.prod(shape) for shape in self._shapes]
        return [part.view(s) for part, s in zip(flat.split(sizes), self._shapes, strict=True)]

    def backward(self, values: Sequence[torch.Tensor], gradient: torch.Tensor, into: StackedMlp) -> None:
        """Write the weights' gradients into another stack, from the gradient (N, B, out) at the outputs."""
        gradient = gradient.to(self.compute)
        for i in range(len(self.weights) - 1, -1, -1):
            if self.compute == into.flat.dtype:
                torch.bmm(gradient.transpose(1, 2), values[i], out=into.weights[i])
                torch.sum(gradient, dim=1, keepdim=True, out=into.biases[i])
            else:
                into.weights[i].copy_(torch.bmm(gradient.transpose(1, 2), values[i]))
                into.biases[i].copy_(torch.sum(gradient, dim=1, keepdim=True))
            if i > 0:
                gradient = _through_relu(torch.bmm(gradient, self.weights[i].to(self.compute)), values[i])

    def input_gradient(
        self, values: Sequence[torch.Tensor], gradient: torch.Tensor, last: int
    ) -> torch.Tensor:
        """Return the gradient (N, B, last) at the last inputs, from the gradient (N, B, out) at the outputs."""
        gradient = gradient.to(self.compute)
        for i in range(len(self.weights) - 1, 0, -1):
            gradient = _through_relu(torch.bmm(gradient, self.weights[i].to(self.compute)), values[i])
        return torch.bmm(gradient, self.weights[0][:, :, -last:].to(self.compute)).float()


def _through_relu(gradient: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Set the gradient to 0 where a unit was inactive; in place, as nothing else uses the products' results."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, value, 0, grad_input=gradient)
