"""Training of several agents as a whole, simulation, storing and drawing included.

    make bench ARGS="-k bench_agents"

Rounds of 64 environments and 8 updates of every agent, in the settings of `make train`, by number of cars and by
mode. The updates alone, of 8 agents together and apart, are in bench_update.py.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from training.agents.multi_agent import MultiAgentSAC
from training.config import load_config
from training.envs.batch import RaceBatch
from training.rng import set_threads
from training.sim import Track

PARTS, ROUNDS = 5, 10


@pytest.mark.bench
@pytest.mark.parametrize(
    ("cars", "mode"),
    [(1, "independent"), (2, "independent"), (4, "independent"), (2, "shared"), (2, "league")],
)
def test_rounds_of_training_by_cars_and_mode(
    cars: int, mode: str, record_speeds: Callable[..., None]
) -> None:
    """Decisions of all cars a second, the median of parts of a training whose replay holds some already."""
    overrides = [
        f"training.training_type={'sac' if cars == 1 else 'sac_multiagent'}",
        f"training.num_agents={cars}",
        f"multi_agent.mode={mode}",
        "multi_agent.league.snapshot_interval=1000",
        "sac.learning_starts=640",
    ]
    config = load_config(None, overrides)
    set_threads(config.sac.torch_threads)
    tracks = [Track.load(name) for name in config.env.tracks[:4]]
    learner = MultiAgentSAC(RaceBatch(config.env, tracks, config.num_cars), config, device="cpu")
    each = learner.agents[0].n_envs
    learner.learn(30 * each)
    spent_s = []
    for part in range(PARTS):
        began = time.perf_counter()
        learner.learn((30 + ROUNDS * (part + 1)) * each)
        spent_s.append(time.perf_counter() - began)
    decisions = config.env.num_envs * cars * ROUNDS
    what = f"decisions of {cars} car{'s' * (cars > 1)}" + f", {mode}" * (cars > 1)
    record_speeds("training", {what: decisions / statistics.median(spent_s)})
