"""The graph of the networks, for TensorBoard; the only module here that knows torch."""

from __future__ import annotations

import warnings

import torch
from torch.utils.tensorboard._pytorch_graph import graph  # what SummaryWriter.add_graph calls


class _ActorCritic(torch.nn.Module):
    """Map an observation to the action and the critics' values of it."""

    def __init__(self, actor: torch.nn.Module, critic: torch.nn.Module) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, object]:
        """Return the mean action (B, A) for observations (B, D), and the critics' values of it."""
        action = self.actor(observation, deterministic=True)
        return action, self.critic(observation, action)


def actor_critic_graph(actor: torch.nn.Module, critic: torch.nn.Module, observation_width: int) -> bytes:
    """Return the serialised GraphDef of stable-baselines3's actor and critics.

    Traced on one observation of zeros (1, observation_width); the run's random numbers stay as they are.
    """
    device = next(actor.parameters()).device
    with warnings.catch_warnings(), torch.random.fork_rng(), torch.no_grad():
        # torch draws its TensorBoard graph with torch.jit.trace, which torch itself calls deprecated. The
        # trace is only drawn: a branch that it takes for good (a check of the distribution) does no harm.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # not in its __all__
        drawn, _ = graph(_ActorCritic(actor, critic), torch.zeros(1, observation_width, device=device))  # type: ignore[no-untyped-call]
    return bytes(drawn.SerializeToString())
