"""Soft actor-critic of stable-baselines3 with the fast update, the compact replay and a clean cut between steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import RolloutReturn

from training.agents.policy import Policy
from training.agents.replay import CompactReplay, Transitions
from training.agents.stack import Stack
from training.agents.update import LOG_STD_MAX, LOG_STD_MIN, Batch, Losses, SacUpdate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import VecEnv

    from training.config import GuideSettings, SacSettings


class FastSAC(SAC):
    """Learn as stable-baselines3's SAC does, in less time.

    Its policy, networks, `predict` and `save` are stable-baselines3's; the networks' parameters are views into the
    flat tensors that the update works on. `at_boundary` is called at the one point where nothing is half done, the
    top of `collect_rollouts`: there a checkpoint is exact, and returning False ends `learn`.
    """

    replay_buffer: CompactReplay

    def __init__(  # noqa: PLR0913 - the run's own settings, by name
        self,
        env: VecEnv,
        settings: SacSettings,
        *,
        seed: int,
        device: torch.device | str,
        mixed_precision: bool = False,
        guide: GuideSettings | None = None,
    ) -> None:
        super().__init__(
            "MlpPolicy",
            env,
            learning_rate=settings.learning_rate,
            buffer_size=settings.buffer_size,
            learning_starts=settings.learning_starts,
            batch_size=settings.batch_size,
            tau=settings.tau,
            gamma=settings.gamma,
            train_freq=settings.train_freq,
            gradient_steps=settings.gradient_steps,
            replay_buffer_class=CompactReplay,
            replay_buffer_kwargs={"guide_dim": 2 if _leads(guide) else 0},
            ent_coef=settings.ent_coef,
            target_entropy=settings.target_entropy,
            policy_kwargs={"net_arch": list(settings.net_arch)},
            seed=seed,
            device=device,
        )
        # Ours are written by training.metrics; the default logger would leave a folder in /tmp for every run.
        self.set_logger(Logger(None, []))
        self.at_boundary: Callable[[], bool] = lambda: True
        # Batches, exploration noise and warm-up actions each have a generator of their own that a checkpoint keeps.
        self.rng = np.random.default_rng([seed, 1])
        self.noise = torch.Generator(device=self.device).manual_seed(seed)
        self.update = self._bind(torch.bfloat16 if mixed_precision else torch.float32)
        # The mean of the recent policies (Polyak and Juditsky 1992) drives steadier than the newest one.
        self.average = Stack(1, self.update.actor.sizes, self.device)
        self.average.flat.copy_(self.update.actor.flat)
        self.average_tau = settings.average_tau
        self.guide = guide if _leads(guide) else None
        self.losses: dict[str, float] = {}

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        *args: Any,  # noqa: ANN401 - handed on
        **kwargs: Any,  # noqa: ANN401 - handed on
    ) -> RolloutReturn:
        """Collect steps, unless the boundary says that it is time to stop."""
        if not self.at_boundary():
            return RolloutReturn(0, 0, continue_training=False)
        return super().collect_rollouts(env, callback, *args, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Update `gradient_steps` times; the whole round's batches are gathered at once."""
        self.update.set_learning_rate(self.lr_schedule(self._current_progress_remaining))
        self.update.guide_weight = self.guide_weight()
        picked = self.replay_buffer.pick(self.rng, gradient_steps * batch_size)
        batches = self._batches(picked, gradient_steps, batch_size)
        actions = picked.actions.shape[1]
        noise = torch.randn(
            (gradient_steps, 2, 1, batch_size, actions), generator=self.noise, device=self.device
        )
        for i in range(gradient_steps):
            batch = Batch(*(part[i] for part in batches))
            losses = self.update.step(batch, noise[i, 0], noise[i, 1])
            self.average.flat.lerp_(self.update.actor.flat, self.average_tau)
        self._n_updates += gradient_steps
        self._record(losses)

    def _batches(self, picked: Transitions, rounds: int, rows: int) -> list[torch.Tensor]:
        """Return each part of the transitions as (rounds, 1 agent, rows, ·) on the device."""
        tensors = [torch.from_numpy(part).to(self.device, non_blocking=True) for part in picked]
        return [t.view(rounds, 1, rows, *t.shape[1:]) for t in tensors]

    def _record(self, losses: Losses) -> None:
        """Log the last update's losses; one transfer from the device a round."""
        actor, critic, entropy, coefficient = torch.cat(list(losses)).tolist()
        self.losses = {
            "actor_loss": actor,
            "critic_loss": critic,
            "ent_coef_loss": entropy,
            "ent_coef": coefficient,
        }
        for name, value in self.losses.items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _sample_action(
        self,
        learning_starts: int,
        action_noise: Any = None,  # noqa: ANN401, ARG002 - stable-baselines3's signature
        n_envs: int = 1,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return exploring actions (E, 2), for the environment and for the replay: they are the same here."""
        self.replay_buffer.guide = reference = self._reference()
        if reference is not None and self.num_timesteps < learning_starts:
            # Around the guide's way, not on it: the policy must learn to come back, the critics what leads off.
            noise = self.guide.noise * self.rng.standard_normal((n_envs, 2))
            action = np.clip(reference + noise, -1.0, 1.0).astype(np.float32)
        elif self.num_timesteps < learning_starts:
            action = self.rng.uniform(-1.0, 1.0, size=(n_envs, 2)).astype(np.float32)
        else:
            action = self.explore(self._last_obs)
        return action, action

    def guide_weight(self) -> float:
        """Return the guide's present weight: it fades over `guide.timesteps`, to nothing."""
        if self.guide is None:
            return 0.0
        return self.guide.weight * max(0.0, 1.0 - self.num_timesteps / self.guide.timesteps)

    def _reference(self) -> NDArray[np.float32] | None:
        """Return what the guide would do now (E, 2), while it is listened to."""
        if self.guide_weight() == 0.0:
            return None
        return self.env.guide_actions().astype(np.float32)

    @torch.no_grad()
    def explore(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return sampled actions (n, 2) in [-1, 1] for observations (n, D)."""
        inputs = torch.from_numpy(observations).to(self.device)[None]
        mean, raw = self.update.actor.forward(inputs)[-1][0].chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=self.noise, device=self.device)
        return torch.tanh(mean + raw.clamp(LOG_STD_MIN, LOG_STD_MAX).exp() * noise).cpu().numpy()

    def average_policy(self) -> Policy:
        """Return a copy of the averaged policy."""
        policy = Policy(self.average.sizes)
        policy.stack.flat.copy_(self.average.flat)
        return policy

    def _bind(self, compute: torch.dtype) -> SacUpdate:
        """Lay the networks out in flat tensors and make stable-baselines3's modules views of them."""
        width, actions = self.observation_space.shape[0], self.action_space.shape[0]
        hidden = list(self.policy.net_arch)
        actor = Stack(1, [width, *hidden, 2 * actions], self.device, compute)
        layers = [[m] for m in self.actor.latent_pi if isinstance(m, torch.nn.Linear)]
        actor.bind(0, [*layers, [self.actor.mu, self.actor.log_std]])
        stacks = []
        for module in (self.critic, self.critic_target):
            stack = Stack(len(module.q_networks), [width + actions, *hidden, 1], self.device, compute)
            for i, network in enumerate(module.q_networks):
                stack.bind(i, [[m] for m in network if isinstance(m, torch.nn.Linear)])
            stacks.append(stack)
        learned = self.log_ent_coef is not None
        log_alpha = self.log_ent_coef.detach() if learned else torch.log(self.ent_coef_tensor).reshape(1)
        return SacUpdate(
            actor,
            *stacks,
            learning_rate=self.lr_schedule(1.0),
            gamma=self.gamma,
            tau=self.tau,
            log_alpha=log_alpha,
            target_entropy=float(self.target_entropy) if learned else None,
        )


def _leads(guide: GuideSettings | None) -> bool:
    return guide is not None and guide.driver != "none"
