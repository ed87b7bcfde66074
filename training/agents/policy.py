"""A policy by itself: the actor's weights and layer sizes, and how to drive with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .codec import copy_into, decode, encode
from .stacked_mlp import StackedMlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..envs.race import Race


class Policy:
    """Drive by an actor's mean action; no exploration, no randomness."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.stack = StackedMlp(1, sizes)

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return actions (n, 2) in [-1, 1] for observations (n, D)."""
        with torch.no_grad():
            outputs = self.stack.forward(torch.from_numpy(np.ascontiguousarray(observations))[None])[-1][0]
            return torch.tanh(outputs[:, : outputs.shape[1] // 2]).numpy()

    def __call__(self, race: Race, observations: NDArray[np.float32]) -> NDArray[Any]:  # noqa: ARG002 - Controller
        """Return the actions (E, N, 2) of all cars from their observations (E, N, D)."""
        flat = observations.reshape(-1, observations.shape[-1])
        return self.act(flat).reshape(*observations.shape[:-1], 2)

    def encode(self) -> bytes:
        """Return the weights as bytes."""
        return encode({"actor": self.stack.flat.numpy(), "sizes": np.array(self.stack.sizes)})

    @classmethod
    def decode(cls, data: bytes, sizes: Sequence[int], what: str) -> Policy:
        """Read what `encode` wrote; DataError unless it is a network of these sizes."""
        arrays = decode(data, what=what, max_bytes=64 << 20)
        policy = cls(sizes)
        copy_into(np.empty(len(sizes), dtype=np.int64), arrays, "sizes", what=what)
        copy_into(policy.stack.flat.numpy(), arrays, "actor", what=what)
        return policy


class SelectedPolicy(NamedTuple):
    """The policy that evaluation chose during training."""

    policy: Policy
    step: int  # timestep at which it drove so
    completed: int  # starts that ended in a completed drive
    starts: int
    mean_speed_mps: float  # over completed drives
    steady: float = 0.0  # share of drives completed while its actions were disturbed
    raced: float = 0.0  # share of races won against the other candidates, where several cars learn

    @property
    def score(self) -> tuple[float, float, float, float]:
        """Order policies of one agent: by completion, by races won and by steadiness to a hundredth, by speed."""
        completed, *rest = self.alone
        return completed, round(self.raced, 2), *rest

    @property
    def alone(self) -> tuple[float, float, float]:
        """Order policies of different agents: by completion, by steadiness to a hundredth, then by speed.

        Races do not count: each agent's candidates met only each other.
        """
        return self.completed / max(self.starts, 1), round(self.steady, 2), self.mean_speed_mps

    def __str__(self) -> str:
        """Return one phrase for people."""
        return (
            f"{self.completed}/{self.starts} laps at {self.mean_speed_mps:.1f} m/s, from step {self.step:,}"
        )
