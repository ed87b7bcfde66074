"""The SAC update beside stable-baselines3 and SBX, stacked agents beside separate ones, and what the replay costs.

    make bench ARGS="-k bench_update"

Batch 256, observation 64, two layers of 256; and the network, observation and batch of `make train`. Everybody draws
each batch from a replay of random transitions, with 8 agents as well. SBX is measured where BENCH_JAX_PYTHON names a
Python that has it, and all on a GPU once more where there is one (`-k gpu`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numba
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from tests.bench.measuring import JAX_PYTHON, JaxPeer, in_turns
from training.agents.networks import Batch
from training.agents.replay import CompactReplay, ReplayRow
from training.agents.stacked_mlp import StackedMlp
from training.agents.update import SacUpdate
from training.config import load_config
from training.envs import observation

ACTIONS, FILLED = 2, 20_000
UPDATES = 10
ENVS = 32
EIGHT_IN = 1 / 0.6  # the goal of 8 agents together: 60 % of the time of 8 apart


class Case(NamedTuple):
    """A network's hidden layers, the numbers that it sees, and the transitions of an update."""

    units: tuple[int, ...]
    observation: int
    batch: int

    def __str__(self) -> str:
        return f"{list(self.units)}, observation {self.observation}, batch {self.batch}"


def of_make_train() -> Case:
    config = load_config(None)
    return Case(config.sac.net_arch, len(observation.bounds(config.env)[0]), config.sac.batch_size)


WIDE = Case((256, 256), 64, 256)
CASES = (WIDE, of_make_train())


def space(numbers: int) -> tuple[spaces.Box, spaces.Box]:
    return spaces.Box(-1, 1, (numbers,), np.float32), spaces.Box(-1, 1, (ACTIONS,), np.float32)


class Still(gymnasium.Env):
    """Gives the shapes; is never stepped."""

    def __init__(self, numbers: int) -> None:
        self.observation_space, self.action_space = space(numbers)


def filled_replay(numbers: int) -> CompactReplay:
    replay = CompactReplay(FILLED, *space(numbers), n_envs=ENVS)
    rng = np.random.default_rng(0)
    for _ in range(FILLED // ENVS):
        seen = rng.uniform(-1, 1, (2, ENVS, numbers)).astype(np.float32)
        done = rng.uniform(size=ENVS) < 0.01
        actions = rng.uniform(-1, 1, (ENVS, ACTIONS)).astype(np.float32)
        rewards = rng.uniform(size=ENVS).astype(np.float32)
        replay.store(ReplayRow(seen[0], actions, rewards, seen[1], terminated=done, ended=done))
    return replay


def learner(agents: int, case: Case, device: str = "cpu") -> SacUpdate:
    generator = torch.Generator().manual_seed(0)
    stacks = []
    for nets, sizes in (
        (agents, [case.observation, *case.units, 2 * ACTIONS]),
        (2 * agents, [case.observation + ACTIONS, *case.units, 1]),
        (2 * agents, [case.observation + ACTIONS, *case.units, 1]),
    ):
        stack = StackedMlp(nets, sizes, device)
        stack.flat.copy_(0.06 * torch.randn(stack.flat.shape, generator=generator))
        stacks.append(stack)
    return SacUpdate(
        *stacks,
        learning_rate=3e-4,
        tau=0.01,
        log_alpha=torch.zeros(agents, device=device),
        target_entropy=-2.0,
    )


def step_by_step(update: SacUpdate) -> SacUpdate:
    """Return it without its compiled code and without its graph: torch's operators one after the other."""
    update._fused = update._graph = None
    return update


def sample(replay: CompactReplay, rng: np.random.Generator, rounds: int, batch: int) -> list[torch.Tensor]:
    """Return the parts of an agent's transitions, (rounds, batch, ·) each."""
    picked = replay.sample_transitions(rng, rounds * batch)
    return [torch.from_numpy(part).view(rounds, batch, *part.shape[1:]) for part in picked[:5]]


def ours(case: Case, *updates: SacUpdate, rounds: int = UPDATES) -> Callable[[], int]:
    """Return rounds as training does them: one gather, its noise, then every agent's update in each.

    The agents are held by one update or by several; each draws its own transitions.
    """
    device, each = updates[0].actor.flat.device.type, updates[0].agents
    agents = each * len(updates)
    replay, rng = filled_replay(case.observation), np.random.default_rng(1)
    generator = torch.Generator(device).manual_seed(1)

    def work() -> int:
        drawn = [sample(replay, rng, rounds, case.batch) for _ in range(agents)]
        parts = [torch.stack(own, dim=1).to(device) for own in zip(*drawn, strict=True)]
        normal = torch.randn((rounds, 2, agents, case.batch, ACTIONS), generator=generator, device=device)
        for part, noise in zip(zip(*parts, strict=True), normal, strict=True):
            for number, update in enumerate(updates):
                own = slice(number * each, (number + 1) * each)
                update.step(Batch(*(values[own] for values in part)), noise[0, own], noise[1, own])
        wait_for(device)
        return rounds

    return work


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def stable_baselines3(case: Case, device: str = "cpu", updates: int = 2) -> Callable[[], int]:
    model = SAC(
        "MlpPolicy",
        Still(case.observation),
        batch_size=case.batch,
        buffer_size=FILLED,
        policy_kwargs={"net_arch": list(case.units)},
        device=device,
    )
    model.set_logger(Logger(None, []))
    rng, buffer = np.random.default_rng(0), model.replay_buffer
    buffer.observations[:] = rng.uniform(-1, 1, buffer.observations.shape)
    buffer.next_observations[:] = rng.uniform(-1, 1, buffer.observations.shape)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.full = True

    def work() -> int:
        model.train(gradient_steps=updates, batch_size=case.batch)
        wait_for(device)
        return updates

    return work


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(request.param)
    numba.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def with_threads(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


@pytest.mark.bench
@pytest.mark.parametrize("case", CASES, ids=str)
def test_updates_per_second_beside_the_peers(case, threads, record_speeds, bench_note) -> None:
    """With one thread and with two; SBX takes what XLA takes. Goals: 3 x stable-baselines3, 1.2 x SBX."""
    what = f"{case}, {with_threads(threads)}"
    theirs, sbx, mine = (f"{whose} {what}" for whose in ("stable-baselines3", "SBX", "ours"))
    peers = {theirs: stable_baselines3(case)}
    jax_peer = None
    if JAX_PYTHON:
        numbers = (case.observation, case.batch, UPDATES, *case.units)
        peers[sbx] = jax_peer = JaxPeer("sbx", *map(str, numbers))
    else:
        bench_note("SBX (BENCH_JAX_PYTHON names no Python)")
    speeds = in_turns({mine: ours(case, learner(1, case)), **peers})
    record_speeds("update", speeds, peers=list(peers), goals={mine: {theirs: 3.0, sbx: 1.2}})
    if jax_peer:
        jax_peer.close()


@pytest.mark.bench
@pytest.mark.parametrize("case", CASES, ids=str)
def test_eight_agents_together_beside_eight_alone(case, threads, record_speeds) -> None:
    """Rounds of 8 updates a second, beside the same kernel's apart (goal: in 60 % of the time), torch's and SB3's."""
    what = f"{case}, {with_threads(threads)}"
    mine, apart = f"8 agents together, {what}", f"8 agents apart, {what}"
    eight = stable_baselines3(case, updates=8)
    peers = {
        apart: ours(case, *(learner(1, case) for _ in range(8)), rounds=1),
        f"8 agents apart with torch, {what}": ours(
            case, *(step_by_step(learner(1, case)) for _ in range(8)), rounds=1
        ),
        f"8 agents of stable-baselines3, {what}": lambda: eight() // 8,
    }
    speeds = in_turns({mine: ours(case, learner(8, case), rounds=1), **peers})
    record_speeds("update", speeds, peers=list(peers), goals={mine: {apart: EIGHT_IN}})


@pytest.fixture(scope="module")
def gpu(bench_note) -> str:
    if not torch.cuda.is_available():
        bench_note("the update on a GPU (CUDA finds no device here)")
        pytest.skip("CUDA finds no device here")
    torch.backends.cuda.matmul.allow_tf32 = True  # as in training, for the peer as well
    return "cuda"


@pytest.mark.bench
@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=str)
def test_updates_per_second_on_a_gpu(case, gpu, record_speeds) -> None:
    """Replayed as a CUDA graph, beside the same launched operator by operator and stable-baselines3 on the same GPU."""
    what = f"{case}, on a GPU"
    peers = {
        f"without graph {what}": ours(case, step_by_step(learner(1, case, gpu))),
        f"stable-baselines3 {what}": stable_baselines3(case, gpu),
    }
    speeds = in_turns({f"ours {what}": ours(case, learner(1, case, gpu)), **peers})
    record_speeds("update", speeds, peers=list(peers))


@pytest.mark.bench
@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=str)
def test_eight_agents_together_beside_eight_alone_on_a_gpu(case, gpu, record_speeds) -> None:
    """Rounds of 8 updates a second, all by graphs but the last."""
    what = f"{case}, on a GPU"
    mine, apart = f"8 agents together, {what}", f"8 agents apart, {what}"
    peers = {
        apart: ours(case, *(learner(1, case, gpu) for _ in range(8))),
        f"8 agents together without graph, {what}": ours(case, step_by_step(learner(8, case, gpu))),
    }
    speeds = in_turns({mine: ours(case, learner(8, case, gpu)), **peers})
    record_speeds("update", speeds, peers=list(peers), goals={mine: {apart: EIGHT_IN}})


@pytest.mark.bench
def test_sampling_beside_an_update(record_speeds, record_bench) -> None:
    """Goal: sampling a batch takes less than 5 % of an update, so it is at least 20 times as fast."""
    replay, rng = filled_replay(WIDE.observation), np.random.default_rng(1)

    def sampling() -> int:
        sample(replay, rng, UPDATES, WIDE.batch)
        return UPDATES

    sampled, update = f"batches sampled, {WIDE}", f"ours {WIDE}, sampling included"
    speeds = in_turns({sampled: sampling, update: ours(WIDE, learner(1, WIDE))})
    record_speeds("replay", speeds, peers=[update], goals={sampled: {update: 20.0}})
    arrays = (replay.observations, replay.actions, replay.rewards, replay.dones, replay.final_number)
    per_transition = sum(a.nbytes for a in arrays) / (replay.rows * ENVS)
    record_bench(
        "replay memory", {"observation": WIDE.observation, "bytes per transition": round(per_transition, 1)}
    )
