"""The SAC update: stable-baselines3's arithmetic, gradients by hand, all agents and both critics in one product.

To change the algorithm: edit `step_eager` and its parts, and train with `sac.update_backend=eager`, on any device. To
keep it fast, make the same change in agents/compiled_update/phases.py; tests/agents/test_compiled_update.py fails
while the two differ.

Same formulas and order as stable_baselines3.sac.SAC.train (v2.9.2): entropy coefficient, critics, actor, targets. It
saves work: no autograd graph, no unused gradients (the critics' weights in the actor's step), one actor pass for both
observations of a transition, one product for both critics, one fused Adam over one flat tensor. On the CPU, in float32,
compiled code does the same at twice the speed (`training.agents.compiled_update`). The code here is for mixed
precision, for comparison, and for a GPU, which replays it as a CUDA graph (`training.agents.cuda_graph`).
tests/agents/test_update.py checks that it and the compiled code equal the original on the same batch.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch

from ..errors import ConfigurationError
from .compiled_update.phases import LOG_STD_MAX, LOG_STD_MIN, NO_GUIDE, TANH_EPSILON
from .compiled_update.step import CompiledStep, fits
from .cuda_graph import GraphStep
from .networks import Batch, Losses, SacNetworks
from .stacked_mlp import StackedMlp

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_CRITICS = 2

Backend = Literal["auto", "compiled", "cuda_graph", "eager"]


class SquashedSample(NamedTuple):
    """A sample of the squashed Gaussian policy and what its gradient needs; (A, B, actions)."""

    action: torch.Tensor
    log_prob: torch.Tensor  # (A, B)
    std_noise: torch.Tensor  # std times noise: du / d log_std
    dtanh: torch.Tensor  # 1 - action^2: d action / du
    unclamped: torch.Tensor  # where log_std is not clamped


class SacUpdate(SacNetworks):
    """Update the networks of A agents together.

    The arguments are those of `SacNetworks`, and backend: how an update is computed (setting sac.update_backend). auto
    takes the compiled code on a processor and a CUDA graph on a GPU; eager runs this file, operator by operator.
    Raises ConfigurationError for a backend that cannot compute these networks here.
    """

    def __init__(
        self,
        actor: StackedMlp,
        critic: StackedMlp,
        target: StackedMlp,
        *,
        backend: Backend = "auto",
        **options: Any,  # noqa: ANN401 - those of SacNetworks
    ) -> None:
        super().__init__(actor, critic, target, **options)
        device = actor.flat.device
        if backend == "compiled" and not fits(actor, critic):
            raise ConfigurationError(
                f"sac.update_backend = compiled computes on a processor, in float32, with a hidden layer; this is "
                f"{device.type}, {actor.compute}, {len(actor.weights) - 1} hidden layers",
                next_step="Use sac.update_backend = auto.",
            )
        if backend == "cuda_graph" and device.type != "cuda":
            raise ConfigurationError(
                f"sac.update_backend = cuda_graph needs a GPU; the device is {device.type}",
                next_step="Use sac.update_backend = auto, or training.device = cuda on a machine with an NVIDIA GPU.",
            )
        self._fused = CompiledStep(self) if backend in {"auto", "compiled"} and fits(actor, critic) else None
        is_recorded = backend in {"auto", "cuda_graph"} and device.type == "cuda"
        self._graph = GraphStep(self, self.step_eager) if is_recorded else None

    @torch.no_grad()
    def step(self, batch: Batch, noise: torch.Tensor, next_noise: torch.Tensor) -> Losses:
        """Update everything once; noise: standard normal (A, B, actions) for each of the two observations."""
        if self._fused is not None:
            return Losses(*torch.from_numpy(self._fused(batch, noise, next_noise)).unbind(1))
        if self._graph is not None:
            return Losses(*self._graph(batch, noise, next_noise).unbind())
        return Losses(*self.step_eager(batch, noise, next_noise, self.imitation_scale(batch)).unbind())

    def step_eager(
        self,
        batch: Batch,
        noise: torch.Tensor,
        next_noise: torch.Tensor,
        imitation_scale: float | torch.Tensor | None,
    ) -> torch.Tensor:
        """Update everything once, operator by operator; return the losses (4, A).

        Nothing here waits for the device or allocates memory that outlives the update, so a CUDA graph can record it.
        """
        rows = batch.rewards.shape[1]
        both = torch.cat([batch.observations, batch.next_observations], dim=1)
        values = self.actor.forward(both)
        sample = _squash(values[-1], torch.cat([noise, next_noise], dim=1))
        log_prob, next_log_prob = sample.log_prob[:, :rows], sample.log_prob[:, rows:]
        alpha = torch.exp(self.log_alpha)
        entropy_loss = self._update_alpha(log_prob)
        target = self._target(batch, sample.action[:, rows:], next_log_prob, alpha)
        critic_loss = self._update_critics(batch, target)
        here = SquashedSample(*(part[:, :rows] for part in sample))
        actor_loss = self._update_actor(batch, [v[:, :rows] for v in values], here, alpha, imitation_scale)
        self.target.flat.lerp_(self.critic.flat, self.tau)
        return torch.stack([actor_loss, critic_loss, entropy_loss, alpha])

    def _update_alpha(self, log_prob: torch.Tensor) -> torch.Tensor:
        if self.target_entropy is None:
            return torch.zeros_like(self.log_alpha)
        surplus = (log_prob + self.target_entropy).mean(dim=1)
        loss = -self.log_alpha * surplus
        torch.neg(surplus, out=self.alpha_gradient)
        self.alpha_optimizer.step()
        return loss

    def _target(
        self, batch: Batch, next_action: torch.Tensor, next_log_prob: torch.Tensor, alpha: torch.Tensor
    ) -> torch.Tensor:
        """Return the critics' target (A, B)."""
        inputs = _for_critics(batch.next_observations, next_action)
        quality = self._split(self.target.forward(inputs)[-1]).amin(dim=1)
        soft = quality - alpha[:, None] * next_log_prob
        return batch.rewards + batch.discounts * soft

    def _update_critics(self, batch: Batch, target: torch.Tensor) -> torch.Tensor:
        values = self.critic.forward(_for_critics(batch.observations, batch.actions))
        error = self._split(values[-1]) - target[:, None]
        gradient = (error / error.shape[-1]).reshape(self.critic.nets, -1, 1)
        self.critic.backward(values, gradient, self.critic_gradients)
        self.critic_optimizer.step()
        return 0.5 * (error * error).mean(dim=2).sum(dim=1)

    def _update_actor(
        self,
        batch: Batch,
        values: list[torch.Tensor],
        sample: SquashedSample,
        alpha: torch.Tensor,
        imitation_scale: float | torch.Tensor | None,
    ) -> torch.Tensor:
        rows, actions = sample.action.shape[1:]
        inputs = _for_critics(batch.observations, sample.action)
        critic_values = self.critic.forward(inputs)
        quality = self._split(critic_values[-1])
        smallest, which = quality.min(dim=1, keepdim=True)
        seed = torch.zeros_like(quality).scatter_(1, which, -1.0 / rows)
        at_inputs = self.critic.input_gradient(critic_values, seed.view(self.critic.nets, rows, 1), actions)
        at_action = at_inputs.view(self.agents, _CRITICS, rows, actions).sum(dim=1)
        weight = (alpha / rows)[:, None, None]
        # d log_prob / du of the squashing term -log(1 - tanh(u)^2 + epsilon); the Gaussian's own terms cancel in u.
        squash = 2.0 * sample.action * sample.dtanh / (sample.dtanh + TANH_EPSILON)
        at_u = weight * squash + at_action * sample.dtanh
        at_log_std = (at_u * sample.std_noise - weight) * sample.unclamped
        at_mean = (
            at_u if imitation_scale is None else at_u + _to_guide(batch.guides, values[-1], imitation_scale)
        )
        self.actor.backward(values, torch.cat([at_mean, at_log_std], dim=2), self.actor_gradients)
        self.actor_optimizer.step()
        return (alpha[:, None] * sample.log_prob - smallest[:, 0]).mean(dim=1)

    def _split(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the critics' outputs (2A, B, 1) as (A, 2, B)."""
        return outputs.view(self.agents, _CRITICS, -1)


def compile_update(device: torch.device, backend: Backend = "auto") -> None:
    """Have the update for this device compiled, or loaded from the cache, by making one of the smallest networks."""
    actor, critic, target = (
        StackedMlp(nets, sizes, device) for nets, sizes in ((1, (1, 1, 2)), *[(2, (2, 1, 1))] * 2)
    )
    update = SacUpdate(
        actor,
        critic,
        target,
        learning_rate=0.0,
        tau=0.0,
        log_alpha=torch.zeros(1, device=device),
        target_entropy=0.0,
        backend=backend,
    )
    one, vector = torch.zeros((1, 1, 1), device=device), torch.zeros((1, 1), device=device)
    update.step(Batch(one, one, one, vector, vector), one, one)


def _squash(outputs: torch.Tensor, noise: torch.Tensor) -> SquashedSample:
    """Sample actions from the actor's outputs (A, B, 2 actions): means, then logarithms of deviations."""
    mean, raw = outputs.chunk(2, dim=2)
    log_std = raw.clamp(LOG_STD_MIN, LOG_STD_MAX)
    std_noise = log_std.exp() * noise
    action = torch.tanh(mean + std_noise)
    dtanh = 1.0 - action * action
    log_prob = -(0.5 * noise * noise + log_std + _HALF_LOG_2PI + torch.log(dtanh + TANH_EPSILON)).sum(dim=2)
    return SquashedSample(action, log_prob, std_noise, dtanh, (raw == log_std).to(raw.dtype))


def _to_guide(
    guides: torch.Tensor, outputs: torch.Tensor, imitation_scale: float | torch.Tensor
) -> torch.Tensor:
    """Return the gradient (A, B, actions) of scale / 2 x |tanh(mean) - expert|^2 at the means, 0 without an expert."""
    driven = torch.tanh(outputs[..., : guides.shape[2]])
    off = torch.where(guides < NO_GUIDE, driven - guides, 0.0)
    return imitation_scale * off * (1.0 - driven * driven)


def _for_critics(observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Return the inputs of both critics of every agent, (2A, B, observation + action)."""
    joined = torch.cat([observations, actions], dim=2)
    agents, rows, width = joined.shape
    return joined[:, None].expand(agents, _CRITICS, rows, width).reshape(_CRITICS * agents, rows, width)
