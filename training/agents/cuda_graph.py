"""Replay the update on a GPU: recorded once as a CUDA graph, launched by one call instead of some hundred."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .networks import Batch, SacNetworks

Body = Callable[[], torch.Tensor]
# Takes the work to be repeated, does not run it, and returns a function that does: on the same memory, with the numbers
# that Python has now.
Recorder = Callable[[Body], Body]


class GraphStep:
    """Update the networks of all agents: operator by operator at first, then by replaying the recorded CUDA graph.

    A graph refers to memory, not to Python objects: transitions and noise are copied to the addresses that it reads,
    the learning rate and the weight of the imitation term are numbers on the device, and everything that is learnt is
    changed in place only (as in snapshot.py). A graph is valid for one batch shape, with or without an imitation term;
    another shape is recorded again. If recording fails, every update runs operator by operator, with bit-identical
    results.
    """

    def __init__(
        self, networks: SacNetworks, eager: Callable[..., torch.Tensor], record: Recorder | None = None
    ) -> None:
        self._networks, self._eager, self._record = networks, eager, record or record_graph
        self._device = networks.actor.flat.device
        self._inputs: list[torch.Tensor] = []
        self._pull, self._pulled = torch.zeros((), device=self._device), 0.0
        self._again: Body | None = None
        for optimizer in networks.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = torch.as_tensor(group["lr"], device=self._device)

    def __call__(self, batch: Batch, noise: torch.Tensor, next_noise: torch.Tensor) -> torch.Tensor:
        """Return the losses (4, A): actor, critic, entropy, coefficient."""
        imitation_scale = self._networks.imitation_scale(batch)
        given = [*batch[:5], noise, next_noise, *([] if imitation_scale is None else [batch.guides])]
        known = [part.shape for part in given] == [part.shape for part in self._inputs]
        if not known:
            self._again = None
            self._inputs = [torch.empty(part.shape, device=self._device) for part in given]
        torch._foreach_copy_(self._inputs, given)  # one launch for all
        if imitation_scale is not None and imitation_scale != self._pulled:
            self._pull.fill_(imitation_scale)
            self._pulled = imitation_scale
        if self._again is not None:
            return self._again().clone()  # the next replay writes over its results
        *transitions, noise, next_noise = self._inputs[:7]
        guides, imitation_scale = (None, None) if imitation_scale is None else (self._inputs[7], self._pull)
        fixed = type(batch)(*transitions, guides), noise, next_noise, imitation_scale
        losses = self._eager(*fixed)  # loads kernels and libraries too, which a recording may not
        self._again = self._recorded(lambda: self._eager(*fixed))
        return losses

    def _recorded(self, body: Body) -> Body:
        groups = [group for o in self._networks.optimizers.values() for group in o.param_groups]
        for group in groups:
            group["capturable"] = True  # its fused step does the same either way; without, it refuses
        try:
            return self._record(body)
        except RuntimeError as error:
            warnings.warn(
                f"The update could not be recorded as a CUDA graph ({_cause(error)}): it continues operator by "
                "operator, more slowly and with the same result. A newer NVIDIA driver may help.",
                RuntimeWarning,
                stacklevel=1,  # one place, so that Python tells it once
            )
            self._record = _unrecorded
            return body
        finally:
            for group in groups:
                group["capturable"] = False  # or it warns of every step that is not recorded


def record_graph(body: Body) -> Body:
    """Record the launches of `body` as a CUDA graph; each replay writes the result to the same memory.

    Raises RuntimeError if the driver cannot record, or if the body does something that a graph cannot contain.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        # Other threads (saving, figures) may use the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = body()
    finally:
        torch.cuda.set_stream(before)  # torch leaves that of a failed recording in place

    def replay() -> torch.Tensor:
        graph.replay()
        return result

    return replay


def _unrecorded(body: Body) -> Body:
    return body


def _cause(error: BaseException) -> str:
    """Return the first line of the first error: those that follow it only say that there was one."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0] or type(error).__name__
