"""The state that SAC updates: networks, target networks and optimizers of A agents, in flat tensors; batches, losses.

Every implementation of the update changes these same tensors: update.py operator by operator, cuda_graph.py, and
compiled_update/ in code compiled for the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .stacked_mlp import StackedMlp


class Batch(NamedTuple):
    """Transitions of A agents: tensors (A, B, ·) float32, rewards and discounts (A, B)."""

    observations: torch.Tensor
    actions: torch.Tensor
    next_observations: torch.Tensor
    rewards: torch.Tensor
    discounts: torch.Tensor  # of the value of the next observation; 0 where the episode terminated
    guides: torch.Tensor | None = (
        None  # actions (A, B, ·) that the actor's mean is drawn to; NO_GUIDE: to none
    )


class Losses(NamedTuple):
    """Means over the batch, each (A,)."""

    actor: torch.Tensor
    critic: torch.Tensor
    entropy: torch.Tensor  # of the coefficient
    coefficient: torch.Tensor


class SacNetworks:
    """Hold the networks, targets, optimizers and entropy coefficients of A agents.

    log_alpha: (A,) logarithm of the entropy coefficients; learned if target_entropy is given.
    """

    def __init__(  # noqa: PLR0913 - the algorithm's own parameters, by their names in the paper
        self,
        actor: StackedMlp,
        critic: StackedMlp,
        target: StackedMlp,
        *,
        learning_rate: float,
        tau: float,
        log_alpha: torch.Tensor,
        target_entropy: float | None,
    ) -> None:
        self.actor, self.critic, self.target = actor, critic, target
        self.agents = actor.nets
        self.tau, self.target_entropy = tau, target_entropy
        self.log_alpha = log_alpha
        # Of the actor's squared distance to the expert's action; 0: plain SAC.
        self.imitation_coef = 0.0
        device = actor.flat.device
        self.actor_gradients = StackedMlp(actor.nets, actor.sizes, device)
        self.critic_gradients = StackedMlp(critic.nets, critic.sizes, device)
        self.actor_optimizer = _adam(actor.flat, self.actor_gradients.flat, learning_rate)
        self.critic_optimizer = _adam(critic.flat, self.critic_gradients.flat, learning_rate)
        self._learning_rate = learning_rate
        self.alpha_gradient = torch.zeros_like(log_alpha)
        self.alpha_optimizer = _adam(log_alpha, self.alpha_gradient, learning_rate)

    @property
    def optimizers(self) -> dict[str, torch.optim.Adam]:
        """Return the optimizers by name."""
        return {
            "actor": self.actor_optimizer,
            "critic": self.critic_optimizer,
            "alpha": self.alpha_optimizer,
        }

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use this step size from now on."""
        if learning_rate == self._learning_rate:
            return
        self._learning_rate = learning_rate
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"].fill_(learning_rate)  # a graph reads it there
                else:
                    group["lr"] = learning_rate

    def imitation_scale(self, batch: Batch) -> float | None:
        """Return the factor of the distance between the actor's and the expert's action; None: plain SAC."""
        return None if self.imitation_coef == 0.0 else 2.0 * self.imitation_coef / batch.rewards.shape[1]


def _adam(parameter: torch.Tensor, gradient: torch.Tensor, learning_rate: float) -> torch.optim.Adam:
    parameter.grad = gradient
    return torch.optim.Adam([parameter], lr=learning_rate, fused=True)
