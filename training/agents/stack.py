"""MLPs of one shape, stacked: one batched product a layer for all of them, one flat tensor for all their weights.

Everything elementwise (Adam, Polyak averaging) is then a single operation on the flat tensor, and a network is a view
into it: stable-baselines3's own modules can be bound to such views and stay usable.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Stack:
    """Hold N MLPs with ReLU between layers and nothing after the last.

    weights[i]: (N, out, in), biases[i]: (N, 1, out); all views of `flat`.
    """

    def __init__(self, nets: int, sizes: Sequence[int], device: torch.device | str = "cpu") -> None:
        shapes = [
            shape for i, o in zip(sizes[:-1], sizes[1:]) for shape in ((nets, o, i), (nets, 1, o))
        ]
        self.nets, self.sizes = nets, tuple(sizes)
        self.flat = torch.zeros(sum(math.prod(s) for s in shapes), device=device)
        views, begin = [], 0
        for shape in shapes:
            count = math.prod(shape)
            views.append(self.flat[begin : begin + count].view(shape))
            begin += count
        self.weights, self.biases = views[0::2], views[1::2]

    def bind(self, net: int, linears: Iterable[Sequence[torch.nn.Linear]]) -> None:
        """Move modules' parameters into network `net`: values are copied in, the modules become views.

        linears: per layer the modules that share it, their outputs one after the other.
        """
        for weight, bias, modules in zip(self.weights, self.biases, linears):
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
        values = [inputs]
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            value = torch.baddbmm(bias, values[-1], weight.transpose(1, 2))
            values.append(value if i == last else torch.relu_(value))
        return values

    def backward(self, values: Sequence[torch.Tensor], gradient: torch.Tensor, into: Stack) -> None:
        """Write the weights' gradients into another stack, from the gradient (N, B, out) at the outputs."""
        for i in range(len(self.weights) - 1, -1, -1):
            torch.bmm(gradient.transpose(1, 2), values[i], out=into.weights[i])
            torch.sum(gradient, dim=1, keepdim=True, out=into.biases[i])
            if i > 0:
                gradient = _through_relu(torch.bmm(gradient, self.weights[i]), values[i])

    def input_gradient(self, values: Sequence[torch.Tensor], gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient (N, B, in) at the inputs, from the gradient (N, B, out) at the outputs."""
        for i in range(len(self.weights) - 1, 0, -1):
            gradient = _through_relu(torch.bmm(gradient, self.weights[i]), values[i])
        return torch.bmm(gradient, self.weights[0])


def _through_relu(gradient: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.threshold_backward(gradient, value, 0)
