"""Figures of several agents, as they are logged."""

from __future__ import annotations

import numpy as np
import pytest

from training.callbacks import of_all


def test_every_agents_figures_stand_under_its_name_and_their_mean_under_the_plain_one() -> None:
    """Three agents; what only some have is the mean of those: an agent that has not begun to learn has no losses."""
    first = {"rollout/reward": 2.0, "train/actor_loss": -1.0}
    second = {"rollout/reward": 6.0, "train/actor_loss": -4.0}
    third = {"rollout/reward": 4.0}
    assert of_all([first, second, third]) == {
        "agent0/rollout/reward": 2.0,
        "agent0/train/actor_loss": -1.0,
        "agent1/rollout/reward": 6.0,
        "agent1/train/actor_loss": -4.0,
        "agent2/rollout/reward": 4.0,
        "rollout/reward": 4.0,
        "train/actor_loss": -2.5,
    }


def test_laps_are_added_up_and_the_best_lap_is_the_best_of_all() -> None:
    """An agent that has not finished a lap has no best one, and takes none away from the others."""
    laps = (3.0, 0.0, 4.0)
    best = (9.5, float("nan"), 8.25)
    figures = [{"rollout/laps": n, "rollout/best_lap_s": t} for n, t in zip(laps, best, strict=True)]
    together = of_all(figures)
    assert together["rollout/laps"] == sum(laps)
    assert together["rollout/best_lap_s"] == min(t for t in best if np.isfinite(t))
    assert together["agent2/rollout/laps"] == 4.0


def test_where_nobody_has_finished_a_lap_there_is_no_best_one() -> None:
    """Without a warning of numpy's, which the tests take for an error."""
    assert np.isnan(of_all([{"rollout/best_lap_s": np.nan}] * 2)["rollout/best_lap_s"])


@pytest.mark.parametrize("laps", [0.0, 7.0])
def test_figures_of_a_single_agent_are_left_as_they_are(laps: float) -> None:
    """One agent's curves have no agent in their names."""
    assert of_all([{"rollout/laps": laps}]) == {"rollout/laps": laps}
