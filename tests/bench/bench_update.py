"""The SAC update beside stable-baselines3 and SBX, stacked agents beside separate ones, and what the replay costs.

    make bench ARGS="-k update"

Batch 256, observation 64, action 2, two layers of 256; and the network of `make train` on its 41 numbers. Each peer
samples from its own replay buffer of random transitions, as ours does. SBX is measured where BENCH_JAX_PYTHON names a
Python that has it, and all on a GPU once more where there is one (`-k gpu`).
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numba
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from tests.bench.measuring import JAX_PYTHON, JaxPeer, in_turns
from training.agents.replay import CompactReplay, Row
from training.agents.stack import Stack
from training.agents.update import Batch, SacUpdate

BATCH, ACTIONS, FILLED = 256, 2, 20_000
UPDATES = 10
# Observation numbers and width of the two hidden layers.
CASES = ((64, 256), (41, 100))
ENVS = 32


def space(observation: int) -> tuple[spaces.Box, spaces.Box]:
    return spaces.Box(-1, 1, (observation,), np.float32), spaces.Box(-1, 1, (ACTIONS,), np.float32)


class Still(gymnasium.Env):
    """Gives the shapes; is never stepped."""

    def __init__(self, observation: int) -> None:
        self.observation_space, self.action_space = space(observation)


def filled_replay(observation: int) -> CompactReplay:
    replay = CompactReplay(FILLED, *space(observation), n_envs=ENVS)
    rng = np.random.default_rng(0)
    for _ in range(FILLED // ENVS):
        seen = rng.uniform(-1, 1, (2, ENVS, observation)).astype(np.float32)
        done = rng.uniform(size=ENVS) < 0.01
        actions = rng.uniform(-1, 1, (ENVS, ACTIONS)).astype(np.float32)
        rewards = rng.uniform(size=ENVS).astype(np.float32)
        replay.store(Row(seen[0], actions, rewards, seen[1], terminated=done, ended=done))
    return replay


def learner(agents: int, observation: int, width: int, device: str = "cpu") -> SacUpdate:
    generator = torch.Generator().manual_seed(0)
    stacks = []
    for nets, sizes in (
        (agents, [observation, width, width, 2 * ACTIONS]),
        (2 * agents, [observation + ACTIONS, width, width, 1]),
        (2 * agents, [observation + ACTIONS, width, width, 1]),
    ):
        stack = Stack(nets, sizes, device)
        stack.flat.copy_(0.06 * torch.randn(stack.flat.shape, generator=generator))
        stacks.append(stack)
    return SacUpdate(
        *stacks,
        learning_rate=3e-4,
        gamma=0.98,
        tau=0.01,
        log_alpha=torch.zeros(agents, device=device),
        target_entropy=-2.0,
    )


def step_by_step(update: SacUpdate) -> SacUpdate:
    """Return it without its compiled code and without its graph: torch's operators one after the other."""
    update._fused = update._graph = None
    return update


def sample(
    replay: CompactReplay, rng: np.random.Generator, rounds: int, device: str = "cpu"
) -> list[torch.Tensor]:
    picked = replay.pick(rng, rounds * BATCH)
    parts = [torch.from_numpy(part).to(device) for part in picked[:5]]
    return [part.view(rounds, 1, BATCH, *part.shape[1:]) for part in parts]


def ours(observation: int, update: SacUpdate) -> Callable[[], int]:
    """Return a round as training does it: one gather, its noise, UPDATES updates."""
    device = update.actor.flat.device.type
    replay, rng = filled_replay(observation), np.random.default_rng(1)
    generator = torch.Generator(device).manual_seed(1)

    def work() -> int:
        batches = sample(replay, rng, UPDATES, device)
        noise = torch.randn((UPDATES, 2, 1, BATCH, ACTIONS), generator=generator, device=device)
        for i in range(UPDATES):
            update.step(Batch(*(part[i] for part in batches)), noise[i, 0], noise[i, 1])
        wait_for(device)
        return UPDATES

    return work


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def stable_baselines3(observation: int, width: int, device: str = "cpu") -> Callable[[], int]:
    model = SAC(
        "MlpPolicy",
        Still(observation),
        batch_size=BATCH,
        buffer_size=FILLED,
        policy_kwargs={"net_arch": [width, width]},
        device=device,
    )
    model.set_logger(Logger(None, []))
    rng, buffer = np.random.default_rng(0), model.replay_buffer
    buffer.observations[:] = rng.uniform(-1, 1, buffer.observations.shape)
    buffer.next_observations[:] = rng.uniform(-1, 1, buffer.observations.shape)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.full = True

    def work() -> int:
        model.train(gradient_steps=2, batch_size=BATCH)
        wait_for(device)
        return 2

    return work


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(request.param)
    numba.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


@pytest.mark.bench
@pytest.mark.parametrize(("observation", "width"), CASES)
def test_updates_per_second_beside_the_peers(observation, width, threads, record_speeds, bench_note) -> None:
    """With one thread and with two; SBX takes what XLA takes. Goals: 3 x stable-baselines3, 1.2 x SBX."""
    what = f"[{width}, {width}], observation {observation}, {threads} thread{'s' * (threads > 1)}"
    theirs, sbx, mine = (f"{whose} {what}" for whose in ("stable-baselines3", "SBX", "ours"))
    peers = {theirs: stable_baselines3(observation, width)}
    jax_peer = JaxPeer("sbx", str(observation), str(width), "10") if JAX_PYTHON else None
    if jax_peer:
        peers[sbx] = jax_peer
    else:
        bench_note("SBX (BENCH_JAX_PYTHON names no Python)")
    speeds = in_turns({mine: ours(observation, learner(1, observation, width)), **peers})
    record_speeds("update", speeds, peers=list(peers), goals={mine: {theirs: 3.0, sbx: 1.2}})
    if jax_peer:
        jax_peer.close()


def of_eight(updates: list[SacUpdate], observation: int) -> Callable[[], int]:
    """Return rounds in which each of 8 agents, held by one update or by several, is updated once."""
    device, each = updates[0].actor.flat.device.type, 8 // len(updates)
    generator = torch.Generator(device).manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn((8, BATCH, *shape), generator=generator, device=device)

    dones = torch.zeros((8, BATCH), device=device)
    parts = (normal(observation), normal(ACTIONS), normal(observation), normal(), dones)
    noise, rounds = (normal(ACTIONS), normal(ACTIONS)), 1 if device == "cpu" else UPDATES

    def work() -> int:
        for _ in range(rounds):
            for number, update in enumerate(updates):
                own = slice(number * each, (number + 1) * each)
                update.step(Batch(*(part[own] for part in parts)), *(part[own] for part in noise))
        wait_for(device)
        return rounds

    return work


@pytest.mark.bench
@pytest.mark.parametrize(("observation", "width"), CASES)
def test_eight_agents_together_beside_eight_alone(observation, width, record_speeds) -> None:
    """Rounds of 8 updates a second, beside the same kernel's apart (goal: in 60 % of the time), torch's and SB3's."""
    together, apart = learner(8, observation, width), [learner(1, observation, width) for _ in range(8)]
    with_torch = [step_by_step(learner(1, observation, width)) for _ in range(8)]
    eight = stable_baselines3(observation, width)

    def eight_of_stable_baselines3() -> int:
        for _ in range(4):
            eight()  # two updates
        return 1

    what = f"[{width}, {width}]"
    mine, alone = f"8 agents together, {what}", f"8 agents apart, {what}"
    peers = {
        alone: of_eight(apart, observation),
        f"8 agents apart with torch, {what}": of_eight(with_torch, observation),
        f"8 agents of stable-baselines3, {what}": eight_of_stable_baselines3,
    }
    speeds = in_turns({mine: of_eight([together], observation), **peers})
    record_speeds("update", speeds, peers=list(peers), goals={mine: {alone: 1 / 0.6}})


@pytest.fixture(scope="module")
def gpu(bench_note) -> str:
    if not torch.cuda.is_available():
        bench_note("the update on a GPU (CUDA finds no device here)")
        pytest.skip("CUDA finds no device here")
    torch.backends.cuda.matmul.allow_tf32 = True  # as in training, for the peer as well
    return "cuda"


@pytest.mark.bench
@pytest.mark.gpu
@pytest.mark.parametrize(("observation", "width"), CASES)
def test_updates_per_second_on_a_gpu(observation, width, gpu, record_speeds) -> None:
    """Replayed as a CUDA graph, beside the same launched operator by operator and stable-baselines3 on the same GPU."""
    what = f"[{width}, {width}], observation {observation}, on a GPU"
    peers = {
        f"without graph {what}": ours(observation, step_by_step(learner(1, observation, width, gpu))),
        f"stable-baselines3 {what}": stable_baselines3(observation, width, gpu),
    }
    mine = f"ours {what}"
    speeds = in_turns({mine: ours(observation, learner(1, observation, width, gpu)), **peers})
    record_speeds("update", speeds, peers=list(peers))


@pytest.mark.bench
@pytest.mark.gpu
@pytest.mark.parametrize(("observation", "width"), CASES)
def test_eight_agents_together_beside_eight_alone_on_a_gpu(observation, width, gpu, record_speeds) -> None:
    """Rounds of 8 updates a second, all by graphs but the last."""
    what = f"[{width}, {width}], on a GPU"
    mine, alone = f"8 agents together, {what}", f"8 agents apart, {what}"
    apart = [learner(1, observation, width, gpu) for _ in range(8)]
    peers = {
        alone: of_eight(apart, observation),
        f"8 agents together without graph, {what}": of_eight(
            [step_by_step(learner(8, observation, width, gpu))], observation
        ),
    }
    together = of_eight([learner(8, observation, width, gpu)], observation)
    speeds = in_turns({mine: together, **peers})
    record_speeds("update", speeds, peers=list(peers), goals={mine: {alone: 1 / 0.6}})


@pytest.mark.bench
def test_sampling_beside_an_update(record_speeds, record_bench) -> None:
    """Goal: sampling a batch takes less than 5 % of an update, so it is at least 20 times as fast."""
    observation, width = CASES[0]
    replay, rng = filled_replay(observation), np.random.default_rng(1)

    def sampling() -> int:
        sample(replay, rng, UPDATES)
        return UPDATES

    sampled, update = "batches sampled, observation 64", f"ours [{width}, {width}], sampling included"
    speeds = in_turns({sampled: sampling, update: ours(observation, learner(1, observation, width))})
    record_speeds("replay", speeds, peers=[update], goals={sampled: {update: 20.0}})
    arrays = (replay.observations, replay.actions, replay.rewards, replay.dones, replay.final_number)
    per_transition = sum(a.nbytes for a in arrays) / (replay.rows * ENVS)
    record_bench(
        "replay memory", {"observation": observation, "bytes per transition": round(per_transition, 1)}
    )
