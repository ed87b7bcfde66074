"""What it costs to hold every start against the map (training.envs.starts): training's environments with and without.

    make bench ARGS="-k bench_clear_starts"

64 environments on the tracks that a run learns on, driven at random: cars crash soon, so there are more starts than a
learner makes. Goal: at least 0.98 of the steps without the look at the map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.bench.measuring import in_turns
from training.config import EnvSettings
from training.envs import race
from training.envs.batch import RaceBatch
from training.sim import Track

DECISIONS = 60


def driven(monkeypatch: pytest.MonkeyPatch, look: Callable[..., np.ndarray]) -> Callable[[], int]:
    """Return work that drives from one saved state and counts decisions of all environments."""
    settings = EnvSettings(max_episode_s=5.0)
    batch = RaceBatch(settings, [Track.load(name) for name in settings.tracks])
    batch.reset()
    begun, rng = batch.state_dict(), np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (DECISIONS, settings.num_envs, 1, 2))

    def work() -> int:
        monkeypatch.setattr(race, "clear_starts", look)
        batch.load_state_dict(begun)
        for action in actions:
            batch.step(action)
        return DECISIONS * settings.num_envs

    return work


@pytest.mark.bench
def test_a_look_at_the_map_costs_no_share_of_training(
    monkeypatch: pytest.MonkeyPatch, record_speeds: Callable[..., None]
) -> None:
    look, without, with_it = race.clear_starts, "starts as drawn", "starts held against the map"
    candidates = {
        without: driven(monkeypatch, lambda _world, _settings, poses, *_: poses),
        with_it: driven(monkeypatch, look),
    }
    record_speeds("starts", in_turns(candidates), peers=[without], goals={with_it: {without: 0.98}})
