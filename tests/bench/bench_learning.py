"""Learning: five seeds, two minutes of training each, ten laps on three tracks.

    make bench ARGS="-k learning"

Each seed trains by itself with the settings of `make train` (preset local), stopped after 120 s of training. The policy
that training kept is then driven from 10 fresh standing starts on its first training track and on two tracks that it
never saw and that took no part in the choice: Track.generate(2001) and (2002), 120 m, half width 1.1 m, minimum radius
2.0 m, 8 m/s cap. Then the same for the whole preset.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from training import runner
from training.config import load_config
from training.report.evaluation import evaluate
from training.report.loading import policy_of, runs_in
from training.sim import Track
from training.store.opening import open_store

STARTS = 10
SEEDS = range(5)
UNSEEN = (2001, 2002)


def tracks() -> list[Track]:
    """Return the training track and the two unseen ones."""
    unseen = [Track.generate(seed, length_m=120.0, half_width_m=1.1, min_radius_m=2.0) for seed in UNSEEN]
    return [Track.load("generated-1"), *unseen]


@pytest.mark.bench
@pytest.mark.parametrize("minutes", [2.0, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_laps_after_two_minutes_and_at_the_end(
    tmp_path: Path, seed: int, minutes: float, record_bench
) -> None:
    """10 of 10 on every track, for every seed."""
    overrides = [f"training.seed={seed}", f"training.max_minutes={minutes}"]
    config = load_config(None, overrides, preset="local")
    runner.train(config, store=str(tmp_path))
    storage = open_store(str(tmp_path))
    loaded = policy_of(storage, runs_in(storage)[-1])
    drives = evaluate(loaded.policy, loaded.config.env, tracks(), starts=STARTS, seed=12345 + seed)
    row = {"seed": seed, "minutes": minutes, "kept_step": loaded.kept_step}
    for track in tracks():
        here = [d for d in drives if d.track == track.name]
        row[track.name] = f"{sum(d.completed for d in here)}/{STARTS}"
        row[f"{track.name} m/s"] = round(sum(d.mean_speed_mps for d in here) / STARTS, 2)
    record_bench("learning", row)
    assert all(d.completed for d in drives)
