"""All agents of a run in common flat tensors: explore together, learn together.

On a GPU one optimizer step updates all agents; on a CPU compiled code updates them one after the other, or as many at
once as there are threads (training/agents/compiled_update).

An agent's networks are stable-baselines3's modules bound to views of these tensors, so each agent stays a SAC that
predicts and saves by itself; tests/agents/test_update.py checks that every agent equals a SAC that learns alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..process.systemd_notify import alive
from .networks import Batch, Losses
from .policy import Policy
from .stacked_mlp import StackedMlp
from .update import LOG_STD_MAX, LOG_STD_MIN, Backend, SacUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from stable_baselines3.sac.policies import Actor

    from .sac import Agent


class Pause(NamedTuple):
    """Looks that others take between two updates of a round."""

    due: Callable[[], bool]  # whether it is time for one; asked after each update
    look: Callable[
        [int], bool
    ]  # with the number of updates done, at a state to be saved; return whether to continue


NO_PAUSE = Pause(lambda: False, lambda _done: True)


class BatchedAgents:
    """Hold the networks of A agents of one shape, and their EMA policies.

    policy_ema_tau: the mean of the recent policies (Polyak and Juditsky 1992) drives more steadily than the newest one.
    This is the weight of the newest policy in it, per update. compute: the type of the products, bfloat16 for mixed
    precision. backend: the setting sac.update_backend.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        policy_ema_tau: float,
        compute: torch.dtype = torch.float32,
        backend: Backend = "auto",
    ) -> None:
        self.agents = list(agents)
        self.device = agents[0].device
        self.update = _bind(self.agents, compute, backend)
        self.average = StackedMlp(len(self.agents), self.update.actor.sizes, self.device)
        self.average.flat.copy_(self.update.actor.flat)
        self.policy_ema_tau = policy_ema_tau

    def train(
        self, rounds: int, rows: int, imitation_coef: float = 0.0, *, first: int = 0, pause: Pause = NO_PAUSE
    ) -> int:
        """Update every agent `rounds` times, each on its own batch of `rows` transitions; gather all batches at once.

        Returns how many updates are done: all, or fewer if a pause ended them. In that case the generators are reset to
        their state before the first update, and the same call with `first` at that number continues to bit-identical
        results.
        """
        self.update.imitation_coef = imitation_coef
        before = self._generators()
        picked = [agent.replay_buffer.sample_transitions(agent.rng, rounds * rows) for agent in self.agents]
        batches = [self._batches(parts, rounds, rows) for parts in zip(*picked, strict=True)]
        actions = picked[0].actions.shape[1]
        noise = torch.stack(
            [
                torch.randn((rounds, 2, rows, actions), generator=agent.noise, device=self.device)
                for agent in self.agents
            ],
            dim=2,
        )
        done = first
        while done < rounds:
            batch = Batch(*(part[done] for part in batches))
            losses = self.update.step(batch, noise[done, 0], noise[done, 1])
            self.average.flat.lerp_(self.update.actor.flat, self.policy_ema_tau)
            done += 1
            for agent in self.agents:
                agent._n_updates += 1  # noqa: SLF001 - stable-baselines3's counter, saved with its model
            alive()
            if done < rounds and pause.due() and not self._look(pause, done, before, losses):
                break
        if first < rounds:
            self._record(losses)
        return done

    @torch.no_grad()
    def explore(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return sampled actions (A, K, 2) in [-1, 1] for observations (A, K, D)."""
        inputs = torch.from_numpy(observations).to(self.device)
        mean, raw = self.update.actor.forward(inputs)[-1].chunk(2, dim=2)
        noise = torch.stack(
            [torch.randn(mean.shape[1:], generator=agent.noise, device=self.device) for agent in self.agents]
        )
        return torch.tanh(mean + raw.clamp(LOG_STD_MIN, LOG_STD_MAX).exp() * noise).cpu().numpy()

    def average_policy(self, agent: int = 0) -> Policy:
        """Return a copy of an agent's EMA policy."""
        policy = Policy(self.average.sizes)
        policy.stack.flat.copy_(self.average.part(agent, 1))
        return policy

    def _batches(self, parts: Sequence[NDArray[np.float32]], rounds: int, rows: int) -> torch.Tensor:
        """Return one part of every agent's transitions as (rounds, A, rows, ·) on the device."""
        own = [torch.from_numpy(part).view(rounds, rows, *part.shape[1:]) for part in parts]
        # Locked in memory where a device fetches it by itself, in one go for all agents.
        shape, locked = (rounds, len(own), *own[0].shape[1:]), self.device.type == "cuda"
        host = torch.stack(own, dim=1, out=torch.empty(shape, pin_memory=locked))
        return host.to(self.device, non_blocking=True)

    def _look(self, pause: Pause, done: int, before: list[Any], losses: Losses) -> bool:
        """Let others look, and save, between two updates: generators as before the first, losses of the last."""
        after = self._generators()
        self._set_generators(before)
        self._record(losses)
        goes_on = pause.look(done)
        if goes_on:
            self._set_generators(after)
        return goes_on

    def _generators(self) -> list[Any]:
        return [(agent.rng.bit_generator.state, agent.noise.get_state()) for agent in self.agents]

    def _set_generators(self, states: list[Any]) -> None:
        for agent, (rng, noise) in zip(self.agents, states, strict=True):
            agent.rng.bit_generator.state = rng
            agent.noise.set_state(noise)

    def _record(self, losses: Losses) -> None:
        """Keep the last update's losses; one transfer from the device a round."""
        values = torch.stack(list(losses)).T.tolist()
        for agent, (actor, critic, entropy, coefficient) in zip(self.agents, values, strict=True):
            agent.losses = {
                "actor_loss": actor,
                "critic_loss": critic,
                "ent_coef_loss": entropy,
                "ent_coef": coefficient,
            }


def _bind(agents: Sequence[Agent], compute: torch.dtype, backend: Backend) -> SacUpdate:
    """Lay the networks of all agents out in flat tensors and make stable-baselines3's modules views of them."""
    first = agents[0]
    width, actions = first.observation_space.shape[0], first.action_space.shape[0]
    hidden = list(first.policy.net_arch)
    critics = len(first.critic.q_networks)
    actor = StackedMlp(len(agents), [width, *hidden, 2 * actions], first.device, compute)
    critic, target = (
        StackedMlp(critics * len(agents), [width + actions, *hidden, 1], first.device, compute)
        for _ in range(2)
    )
    learned = first.log_ent_coef is not None
    log_alpha = torch.zeros(len(agents), device=first.device)
    for a, agent in enumerate(agents):
        actor.bind(a, actor_layers(agent.actor))
        for stack, module in ((critic, agent.critic), (target, agent.critic_target)):
            for i, network in enumerate(module.q_networks):
                stack.bind(critics * a + i, _linears(network))
        log_alpha[a] = agent.log_ent_coef.detach() if learned else torch.log(agent.ent_coef_tensor)
        if learned:
            agent.log_ent_coef.data = log_alpha[a : a + 1]
    return SacUpdate(
        actor,
        critic,
        target,
        learning_rate=first.lr_schedule(1.0),
        tau=first.tau,
        log_alpha=log_alpha,
        target_entropy=float(first.target_entropy) if learned else None,
        backend=backend,
    )


def actor_layers(actor: Actor) -> list[list[torch.nn.Linear]]:
    """Return stable-baselines3's modules of each layer of a policy, as `StackedMlp.bind` takes them."""
    return [*_linears(actor.latent_pi), [actor.mu, actor.log_std]]


def _linears(layers: torch.nn.Sequential) -> list[list[torch.nn.Linear]]:
    return [[layer] for layer in layers if isinstance(layer, torch.nn.Linear)]
