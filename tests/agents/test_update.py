"""The fast update computes what stable-baselines3's SAC computes, on the same batch with the same noise."""

from __future__ import annotations

import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import DummyVecEnv

from training.agents.sac import FastSAC
from training.agents.stack import Stack
from training.agents.update import Batch, SacUpdate
from training.config import SacSettings

WIDTH, ACTIONS, ROWS = 11, 2, 64


class Still(gymnasium.Env):
    """Gives the shapes; is never stepped."""

    observation_space = spaces.Box(-1, 1, (WIDTH,), np.float32)
    action_space = spaces.Box(-1, 1, (ACTIONS,), np.float32)

    def reset(self, *, seed=None, options=None):  # noqa: ARG002 - gymnasium's signature
        return np.zeros(WIDTH, np.float32), {}


class Fixed:
    """Hand stable-baselines3 the same batch every time."""

    def __init__(self, samples: ReplayBufferSamples) -> None:
        self.samples = samples

    def sample(self, batch_size: int, env: object = None) -> ReplayBufferSamples:  # noqa: ARG002 - the base's
        return self.samples


def settings(**changes) -> SacSettings:
    return SacSettings(buffer_size=1000, net_arch=(24, 16), learning_rate=1e-3, **changes)


def random_batch(generator: torch.Generator) -> ReplayBufferSamples:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    dones = (torch.rand((ROWS, 1), generator=generator) < 0.2).float()
    actions = torch.tanh(normal(ROWS, ACTIONS))
    return ReplayBufferSamples(normal(ROWS, WIDTH), actions, normal(ROWS, WIDTH), dones, normal(ROWS, 1))


def pair(**changes) -> tuple[SAC, FastSAC]:
    """Return stable-baselines3's learner and ours with equal weights."""
    env = DummyVecEnv([Still])
    fast = FastSAC(env, settings(**changes), seed=3, device="cpu")
    chosen = settings(**changes)
    slow = SAC(
        "MlpPolicy",
        env,
        learning_rate=chosen.learning_rate,
        gamma=chosen.gamma,
        tau=chosen.tau,
        ent_coef=chosen.ent_coef,
        target_entropy=chosen.target_entropy,
        policy_kwargs={"net_arch": list(chosen.net_arch)},
        seed=3,
        device="cpu",
    )
    slow.policy.load_state_dict(copy.deepcopy(fast.policy.state_dict()))
    return slow, fast


@pytest.mark.parametrize("ent_coef", ["auto", 0.2])
def test_many_updates_equal_those_of_stable_baselines3(ent_coef):
    """After 30 updates every weight agrees to float32 rounding, targets and entropy coefficient included."""
    slow, fast = pair(ent_coef=ent_coef)
    slow.set_logger(__import__("stable_baselines3.common.logger", fromlist=["configure"]).configure(None, []))
    generator = torch.Generator().manual_seed(5)
    for _ in range(30):
        samples = random_batch(generator)
        slow.replay_buffer = Fixed(samples)
        torch.manual_seed(int(torch.randint(0, 10**6, (1,), generator=generator)))
        state = torch.get_rng_state()
        slow.train(1, ROWS)
        torch.set_rng_state(state)
        noise, next_noise = torch.randn(ROWS, ACTIONS), torch.randn(ROWS, ACTIONS)
        batch = Batch(
            samples.observations[None],
            samples.actions[None],
            samples.next_observations[None],
            samples.rewards.T,
            samples.dones.T,
        )
        fast.update.step(batch, noise[None], next_noise[None])
    ours, theirs = fast.policy.state_dict(), slow.policy.state_dict()
    for name, expected in theirs.items():
        torch.testing.assert_close(
            ours[name], expected, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    if ent_coef == "auto":
        torch.testing.assert_close(fast.update.log_alpha, slow.log_ent_coef.detach(), rtol=1e-5, atol=1e-6)


def test_agents_updated_together_equal_agents_updated_alone():
    """Stacking agents changes no agent's weights."""
    generator = torch.Generator().manual_seed(7)
    agents = 3
    together = stacked(agents)
    for stack in (together.actor, together.critic, together.target):
        stack.flat.copy_(torch.randn(stack.flat.shape, generator=generator) * 0.3)
    alone = [stacked(1) for _ in range(agents)]
    for a, single in enumerate(alone):
        for one, many in (
            (single.actor, together.actor),
            (single.critic, together.critic),
            (single.target, together.target),
        ):
            nets = one.nets
            for mine, all_of_them in zip(
                [*one.weights, *one.biases], [*many.weights, *many.biases], strict=True
            ):
                mine.copy_(all_of_them[a * nets : (a + 1) * nets])
    for _ in range(5):
        parts = [random_batch(generator) for _ in range(agents)]
        batch = Batch(
            *(
                torch.stack([getattr(p, name) for p in parts])
                for name in ("observations", "actions", "next_observations")
            ),
            torch.stack([p.rewards[:, 0] for p in parts]),
            torch.stack([p.dones[:, 0] for p in parts]),
        )
        noise = torch.randn((2, agents, ROWS, ACTIONS), generator=generator)
        together.step(batch, noise[0], noise[1])
        for a, single in enumerate(alone):
            single.step(Batch(*(t[a : a + 1] for t in batch[:-1])), noise[0, a : a + 1], noise[1, a : a + 1])
    for a, single in enumerate(alone):
        for mine, all_of_them in zip(single.actor.weights, together.actor.weights, strict=True):
            torch.testing.assert_close(mine[0], all_of_them[a], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(single.log_alpha[0], together.log_alpha[a])


def stacked(agents: int) -> SacUpdate:
    return SacUpdate(
        Stack(agents, [WIDTH, 24, 16, 2 * ACTIONS]),
        Stack(2 * agents, [WIDTH + ACTIONS, 24, 16, 1]),
        Stack(2 * agents, [WIDTH + ACTIONS, 24, 16, 1]),
        learning_rate=1e-3,
        gamma=0.98,
        tau=0.01,
        log_alpha=torch.zeros(agents),
        target_entropy=-2.0,
    )


def test_the_modules_are_views_of_the_stacks():
    """What the update changes is what stable-baselines3's predict uses."""
    _, fast = pair()
    observation = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None]
    before, _ = fast.predict(observation, deterministic=True)
    fast.update.actor.flat.add_(0.05)
    after, _ = fast.predict(observation, deterministic=True)
    assert not np.allclose(before, after)
    assert fast.critic.q_networks[1][0].weight.data_ptr() == fast.update.critic.weights[0][1].data_ptr()


def test_mixed_precision_follows_full_precision():
    """In bfloat16 an update moves the weights where float32 moves them, to the type's two to three digits."""
    samples = random_batch(torch.Generator().manual_seed(1))
    moved = []
    for mixed in (False, True):
        learner = FastSAC(DummyVecEnv([Still]), settings(), seed=3, device="cpu", mixed_precision=mixed)
        before = learner.update.critic.flat.clone()
        batch = Batch(
            samples.observations[None],
            samples.actions[None],
            samples.next_observations[None],
            samples.rewards.T,
            samples.dones.T,
        )
        noise = torch.randn((2, 1, ROWS, ACTIONS), generator=torch.Generator().manual_seed(2))
        losses = [learner.update.step(batch, noise[0], noise[1]).critic.item() for _ in range(50)]
        assert losses[-1] < 0.8 * losses[0]
        moved.append(learner.update.critic.flat - before)
    full, half = moved
    assert torch.nn.functional.cosine_similarity(full, half, dim=0) > 0.95
