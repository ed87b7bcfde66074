"""A policy trained under the preset robust, in cars drawn from ranges that are fixed whatever training draws.

    make bench ARGS="-k bench_robust"      three trainings of 20 minutes, then minutes of driving

100 standing starts on each track, one draw each, all ranges uniform and independent; and ten on each with every number
at an end of its range. It needs the circuits (`python -m training tracks fetch`), and drives aut, esp, gbr and mco
where F1TENTH_BENCHMARKS_MAPS names the folder maps/ of f1tenth_benchmarks. Runs are kept in .cache/experiments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.bench import experiment
from tests.bench.bench_learning import RESULTS, trained
from training.config.randomisation import RandomisationSettings
from training.evaluation.lap_evaluation import Controller, evaluate
from training.evaluation.load_run import policy_of
from training.sim import Track
from training.store.open import open_store

# Real cars were measured at 0.62 to 0.65 of grip where the model says 1.05.
RANGES: dict[str, tuple[float, float]] = {
    "friction_factor": (0.45, 1.1),
    "stiffness_factor": (1.0, 4.0),
    "steering_delay_steps": (0, 8),
    "steering_lag_s": (0.0, 0.16),
    "steering_trim_rad": (-0.03, 0.03),
    "steering_gain": (0.9, 1.1),
    "drive_gain": (0.9, 1.1),
    "scan_latency_steps": (0, 5),
    "lidar_offset_m": (-0.1, 0.1),
    "beam_dropout": (0.0, 0.1),
}
STARTS, CORNERS = 100, 10
ANYWHERE, AT_THE_CORNERS = 0.96, 0.85


def tracks() -> list[Track]:
    """Return the circuits and f1tenth_benchmarks' maps."""
    return [track for track in experiment.tracks() if not track.name.startswith("generated-")]


def share_anywhere(controller: Controller, settings: Any, fields: list[Track]) -> float:
    """Return the share of completed laps in cars from anywhere in the ranges."""
    ranges = RandomisationSettings(**RANGES)
    drives = evaluate(controller, settings, fields, starts=STARTS, seed=11, randomisation=ranges)
    return float(np.mean([one.completed for one in drives]))


def share_at_the_corners(controller: Controller, settings: Any, fields: list[Track]) -> float:
    """Return the share in cars of which every number is at an end: the worse one, or a random one of two alike.

    The worse ends: least friction, longest delay, lag and latency, most dropouts.
    """
    rng, completed = np.random.default_rng(12), []
    for corner in range(CORNERS):
        ends = {name: span[rng.integers(2)] for name, span in RANGES.items()}
        ends["friction_factor"] = RANGES["friction_factor"][0]
        for name in ("steering_delay_steps", "steering_lag_s", "scan_latency_steps", "beam_dropout"):
            ends[name] = RANGES[name][1]
        ranges = RandomisationSettings(**{name: (end, end) for name, end in ends.items()})
        drives = evaluate(controller, settings, fields, starts=1, seed=100 + corner, randomisation=ranges)
        completed += [one.completed for one in drives]
    return float(np.mean(completed))


@pytest.mark.bench
def test_a_robust_policy_laps_in_cars_that_it_was_not_told_of(record_bench: Any) -> None:
    rows, shares = trained("robust"), []
    storage = open_store(str(RESULTS / "robust" / "store"))
    for row in rows:
        loaded = policy_of(storage, f"robust-{row['seed']}")
        fields = tracks()
        anywhere, corners = (
            measure(loaded.policy, loaded.config.env, fields)
            for measure in (share_anywhere, share_at_the_corners)
        )
        shares.append((anywhere, corners))
        figures = {"anywhere": round(anywhere, 4), "at the corners": round(corners, 4)}
        record_bench("learning to be robust", {**experiment.summary(row), **figures})
    assert sum(anywhere >= ANYWHERE and corners >= AT_THE_CORNERS for anywhere, corners in shares) >= 2
