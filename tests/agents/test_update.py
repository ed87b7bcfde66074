"""The fast update computes what stable-baselines3's SAC computes, on the same batch with the same noise.

For one agent, and for several that are updated together: each of them moves as a SAC that learns alone.
"""

from __future__ import annotations

import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import DummyVecEnv

from training.agents.batched_agents import BatchedAgents
from training.agents.export import model_zip
from training.agents.networks import Batch
from training.agents.policy import Policy
from training.agents.sac import Agent, Spaces
from training.agents.stacked_mlp import StackedMlp
from training.agents.update import SacUpdate
from training.config import SacSettings

WIDTH, ACTIONS, ROWS = 11, 2, 64


class Still(gymnasium.Env):
    """Gives the shapes; is never stepped."""

    observation_space = spaces.Box(-1, 1, (WIDTH,), np.float32)
    action_space = spaces.Box(-1, 1, (ACTIONS,), np.float32)

    def reset(self, *, seed=None, options=None):  # noqa: ARG002 - gymnasium's signature
        return np.zeros(WIDTH, np.float32), {}


GAMMA = 0.98


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


def team_of(count: int, *, compute: torch.dtype = torch.float32, **changes) -> BatchedAgents:
    chosen = settings(**changes)
    spaces = Spaces(Still.observation_space, Still.action_space, num_cars=1)
    agents = [Agent(spaces, chosen, seed=3, device="cpu", number=a) for a in range(count)]
    return BatchedAgents(agents, chosen.policy_ema_tau, compute)


def alone(agent: Agent, **changes) -> SAC:
    """Return stable-baselines3's learner with the weights of an agent."""
    chosen = settings(**changes)
    slow = SAC(
        "MlpPolicy",
        DummyVecEnv([Still]),
        learning_rate=chosen.learning_rate,
        gamma=GAMMA,
        tau=chosen.tau,
        ent_coef=chosen.ent_coef,
        target_entropy=chosen.target_entropy,
        policy_kwargs={"net_arch": list(chosen.net_arch)},
        seed=3,
        device="cpu",
    )
    slow.policy.load_state_dict(copy.deepcopy(agent.policy.state_dict()))
    slow.set_logger(Logger(None, []))
    return slow


def stacked_batch(samples: list[ReplayBufferSamples]) -> Batch:
    """Return the batches of several agents as one."""
    return Batch(
        *(
            torch.stack([getattr(s, name) for s in samples])
            for name in ("observations", "actions", "next_observations")
        ),
        torch.stack([s.rewards[:, 0] for s in samples]),
        torch.stack([GAMMA * (1.0 - s.dones[:, 0]) for s in samples]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("ent_coef", ["auto", 0.2])
@pytest.mark.parametrize("count", [1, 3])
def test_many_updates_equal_those_of_stable_baselines3(count, ent_coef, compiled):
    """After 30 updates every weight of every agent agrees to float32 rounding, targets and entropy included."""
    team = team_of(count, ent_coef=ent_coef)
    assert team.update._fused is not None
    if not compiled:
        team.update._fused = None  # what a GPU computes
    slow = [alone(agent, ent_coef=ent_coef) for agent in team.agents]
    generator = torch.Generator().manual_seed(5)
    for _ in range(30):
        samples, noise = [random_batch(generator) for _ in slow], []
        for learner, one in zip(slow, samples, strict=True):
            learner.replay_buffer = Fixed(one)
            torch.manual_seed(int(torch.randint(0, 10**6, (1,), generator=generator)))
            state = torch.get_rng_state()
            learner.train(1, ROWS)
            torch.set_rng_state(state)
            noise.append((torch.randn(ROWS, ACTIONS), torch.randn(ROWS, ACTIONS)))
        here, following = (torch.stack(parts) for parts in zip(*noise, strict=True))
        team.update.step(stacked_batch(samples), here, following)
    for a, (agent, learner) in enumerate(zip(team.agents, slow, strict=True)):
        ours = agent.policy.state_dict()
        for name, expected in learner.policy.state_dict().items():
            torch.testing.assert_close(
                ours[name], expected, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
        if ent_coef == "auto":
            torch.testing.assert_close(
                team.update.log_alpha[a : a + 1], learner.log_ent_coef.detach(), rtol=1e-5, atol=1e-6
            )


def test_agents_of_a_team_differ_from_the_start():
    """Each has weights and generators of its own seed."""
    first, second = team_of(2).agents
    assert not torch.equal(first.actor.mu.weight, second.actor.mu.weight)
    assert first.rng.random() != second.rng.random()
    assert first.noise.initial_seed() != second.noise.initial_seed()


def test_every_agent_saves_as_a_model_of_stable_baselines3(tmp_path):
    """What an agent of a team has learnt is in its zip, not in that of another."""
    team = team_of(2)
    team.update.actor.flat.mul_(1.5)
    observation = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None]
    predicted = []
    for a, agent in enumerate(team.agents):
        agent.save(tmp_path / f"{a}.zip", exclude=["rng", "noise", "replay_buffer"])
        loaded = SAC.load(tmp_path / f"{a}.zip", device="cpu")
        predicted.append(loaded.predict(observation, deterministic=True)[0])
        np.testing.assert_array_equal(predicted[a], agent.predict(observation, deterministic=True)[0])
    assert not np.allclose(*predicted)


def test_the_model_for_people_sums_returns_over_the_steps_of_the_run(tmp_path):
    (agent,) = team_of(1, n_steps=3).agents
    policy = Policy([WIDTH, 24, 16, 2 * ACTIONS])
    place = tmp_path / "model.zip"
    place.write_bytes(model_zip(agent, policy, step=1))
    replay = SAC.load(place, device="cpu").replay_buffer
    assert isinstance(replay, NStepReplayBuffer)
    assert (replay.n_steps, replay.gamma) == (3, GAMMA)


def test_agents_updated_together_equal_agents_updated_alone():
    """Stacking agents changes nothing of an agent: actor, critics, targets, entropy coefficient."""
    generator = torch.Generator().manual_seed(7)
    agents = 3
    together = stacked(agents)
    for stack in (together.actor, together.critic, together.target):
        stack.flat.copy_(torch.randn(stack.flat.shape, generator=generator) * 0.3)
    singles = [stacked(1) for _ in range(agents)]
    for a, single in enumerate(singles):
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
        batch = stacked_batch([random_batch(generator) for _ in range(agents)])
        noise = torch.randn((2, agents, ROWS, ACTIONS), generator=generator)
        together.step(batch, noise[0], noise[1])
        for a, single in enumerate(singles):
            single.step(Batch(*(t[a : a + 1] for t in batch[:-1])), noise[0, a : a + 1], noise[1, a : a + 1])
    for a, single in enumerate(singles):
        for name in ("actor", "critic", "target"):
            one, many = getattr(single, name), getattr(together, name)
            mine = many.part(a * one.nets, one.nets)
            torch.testing.assert_close(
                one.flat, mine, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )
        torch.testing.assert_close(single.log_alpha[0], together.log_alpha[a])


def stacked(agents: int) -> SacUpdate:
    return SacUpdate(
        StackedMlp(agents, [WIDTH, 24, 16, 2 * ACTIONS]),
        StackedMlp(2 * agents, [WIDTH + ACTIONS, 24, 16, 1]),
        StackedMlp(2 * agents, [WIDTH + ACTIONS, 24, 16, 1]),
        learning_rate=1e-3,
        tau=0.01,
        log_alpha=torch.zeros(agents),
        target_entropy=-2.0,
    )


def test_the_modules_are_views_of_the_stacks():
    """What the update changes is what stable-baselines3's predict uses."""
    team = team_of(2)
    second = team.agents[1]
    observation = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None]
    before, _ = second.predict(observation, deterministic=True)
    team.update.actor.flat.add_(0.05)
    after, _ = second.predict(observation, deterministic=True)
    assert not np.allclose(before, after)
    assert second.critic.q_networks[1][0].weight.data_ptr() == team.update.critic.weights[0][3].data_ptr()


def test_a_part_of_a_stack_is_a_stack_of_its_own():
    """What `part` takes out computes as it did among the others, and goes back where it was."""
    generator = torch.Generator().manual_seed(2)
    many = StackedMlp(4, [3, 5, 2])
    many.flat.copy_(torch.randn(many.flat.shape, generator=generator))
    two = StackedMlp(2, [3, 5, 2])
    two.flat.copy_(many.part(1, 2))
    inputs = torch.randn((4, 7, 3), generator=generator)
    torch.testing.assert_close(two.forward(inputs[1:3])[-1], many.forward(inputs)[-1][1:3])
    before = many.flat.clone()
    many.set_part(1, 2, 2 * two.flat)
    torch.testing.assert_close(many.part(1, 2), 2 * two.flat)
    torch.testing.assert_close(many.part(3, 1), StackedMlp.part(many, 3, 1, before))


@pytest.mark.slow
def test_mixed_precision_follows_full_precision():
    """In bfloat16 an update moves the weights where float32 moves them, to the type's two to three digits."""
    samples = random_batch(torch.Generator().manual_seed(1))
    moved = []
    for compute in (torch.float32, torch.bfloat16):
        update = team_of(1, compute=compute).update
        before = update.critic.flat.clone()
        batch = stacked_batch([samples])
        noise = torch.randn((2, 1, ROWS, ACTIONS), generator=torch.Generator().manual_seed(2))
        losses = [update.step(batch, noise[0], noise[1]).critic.item() for _ in range(50)]
        assert losses[-1] < 0.8 * losses[0]
        moved.append(update.critic.flat - before)
    full, half = moved
    assert torch.nn.functional.cosine_similarity(full, half, dim=0) > 0.95
