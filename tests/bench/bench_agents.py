"""Updates of several agents: all together beside one after the other, and beside stable-baselines3.

    make bench ARGS="-k agents"

One update of 8 agents of the default observation (41 numbers and proprioception) and the local preset's networks and
batch: in one Team; as 8 Teams of one agent, the same kernel; as 8 SACs of stable-baselines3. All on the same
threads, in turns, the shortest of several rounds each. Goal: together at most 60 % of one after the other.

Then the whole loop, simulation, storing and drawing included: rounds of 64 environments and 8 updates, by number of
cars and by mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numba
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from training.agents.multi_agent import MultiAgentSAC
from training.agents.replay import Row
from training.agents.sac import Agent, Spaces
from training.agents.team import Team
from training.config import load_config
from training.envs.batch import RaceBatch
from training.rng import set_threads
from training.sim import Track

AGENTS, ROUNDS, TURNS = 8, 8, 7
FILLED = 2_000
Record = Callable[[str, dict[str, object]], None]


def filled(agents: list[Agent], width: int) -> None:
    """Give every agent a replay to draw from."""
    rng = np.random.default_rng(0)
    for agent in agents:
        cars = agent.n_envs
        for _ in range(FILLED // cars):
            seen = rng.random((cars, width), dtype=np.float32)
            actions = rng.uniform(-1, 1, (cars, 2)).astype(np.float32)
            over = np.zeros(cars, dtype=np.bool_)
            agent.replay_buffer.store(
                Row(seen, actions, rng.random(cars, dtype=np.float32), seen, over, over)
            )


def of_stable_baselines3(like: Agent) -> SAC:
    """Return a SAC of stable-baselines3 of the same shape, with a filled buffer of its own."""
    model = SAC(
        "MlpPolicy",
        None,
        batch_size=like.batch_size,
        buffer_size=FILLED,
        policy_kwargs={"net_arch": list(like.policy.net_arch)},
        target_entropy=like.target_entropy,
        device="cpu",
        _init_setup_model=False,
    )
    model.observation_space, model.action_space, model.n_envs = like.observation_space, like.action_space, 1
    model._setup_model()
    model.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    for _ in range(FILLED):
        seen = rng.random((1, like.observation_space.shape[0]), dtype=np.float32)
        action = rng.uniform(-1, 1, (1, 2)).astype(np.float32)
        model.replay_buffer.add(seen, seen, action, np.ones(1), np.zeros(1), [{}])
    return model


@pytest.mark.bench
@pytest.mark.parametrize("threads", [1, 2])
def test_eight_agents_together_beside_eight_alone(threads: int, record_bench: Record) -> None:
    """Milliseconds for one update of every agent."""
    config = load_config(None, [], preset="local")
    set_threads(threads)  # torch's, for stable-baselines3
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    env = RaceBatch(config.env, [Track.load(config.env.tracks[0])])
    surface = Spaces(env.observation_space, env.action_space, config.env.num_envs)
    width, rows = env.observation_space.shape[0], config.sac.batch_size

    def agents(count: int) -> list[Agent]:
        made = [Agent(surface, config.sac, seed=0, device="cpu", number=number) for number in range(count)]
        filled(made, width)
        return made

    together = Team(agents(AGENTS), config.sac.average_tau)
    alone = [Team(agents(1), config.sac.average_tau) for _ in range(AGENTS)]
    theirs = [of_stable_baselines3(together.agents[0]) for _ in range(AGENTS)]
    ways: dict[str, Callable[[], None]] = {
        "together": lambda: together.train(ROUNDS, rows),
        "one by one": lambda: [team.train(ROUNDS, rows) for team in alone] and None,
        "stable-baselines3": lambda: [model.train(ROUNDS, rows) for model in theirs] and None,
    }
    spent = dict.fromkeys(ways, float("inf"))
    for turn in range(TURNS + 1):
        for name, update in ways.items():
            began = time.perf_counter()
            update()
            if turn > 0:  # the first is warming up
                spent[name] = min(spent[name], (time.perf_counter() - began) / ROUNDS)
    row = {f"{name} ms": round(1000 * s, 2) for name, s in spent.items()}
    record_bench(
        "agents",
        {
            "agents": AGENTS,
            "threads": torch.get_num_threads(),
            "batch": rows,
            "units": list(config.sac.net_arch),
            **row,
            "together / one by one": round(spent["together"] / spent["one by one"], 3),
            "together / stable-baselines3": round(spent["together"] / spent["stable-baselines3"], 3),
        },
    )
    set_threads(config.sac.torch_threads)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.mark.bench
@pytest.mark.parametrize(
    ("cars", "mode"),
    [(1, "independent"), (2, "independent"), (4, "independent"), (2, "shared"), (2, "league")],
)
def test_rounds_of_training_by_number_of_cars(cars: int, mode: str, record_bench: Record) -> None:
    """Decisions of all cars a second; the replay holds a few thousand of them when the clock starts."""
    overrides = [
        f"training.training_type={'sac' if cars == 1 else 'sac_multiagent'}",
        f"training.num_agents={cars}",
        f"multi_agent.mode={mode}",
        "multi_agent.league.interval=1000",
        "sac.learning_starts=640",
    ]
    config = load_config(None, overrides, preset="local")
    set_threads(config.sac.torch_threads)
    tracks = [Track.load(name) for name in config.env.tracks[:4]]
    learner = MultiAgentSAC(RaceBatch(config.env, tracks, config.num_cars), config, device="cpu")
    each = learner.agents[0].n_envs
    learner.learn(30 * each)
    began = time.perf_counter()
    learner.learn(60 * each)
    round_s = (time.perf_counter() - began) / 30
    decisions = config.env.num_envs * cars
    row = {"cars": cars, "mode": mode, "ms a round": round(1000 * round_s, 1)}
    record_bench("training", {**row, "decisions/s": round(decisions / round_s)})
