"""Several agents: their figures as they are logged, and which of them is the best."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.agents.policy import Policy, SelectedPolicy
from training.run.step_hooks import Episodes, RunParts, aggregate


def test_every_agents_figures_stand_under_its_name_and_their_mean_under_the_plain_one() -> None:
    """Three agents; what only some have is the mean of those: an agent that has not begun to learn has no losses."""
    first = {"rollout/reward": 2.0, "train/actor_loss": -1.0}
    second = {"rollout/reward": 6.0, "train/actor_loss": -4.0}
    third = {"rollout/reward": 4.0}
    assert aggregate([first, second, third]) == {
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
    together = aggregate(figures)
    assert together["rollout/laps"] == sum(laps)
    assert together["rollout/best_lap_s"] == min(t for t in best if np.isfinite(t))
    assert together["agent2/rollout/laps"] == 4.0


def test_where_nobody_has_finished_a_lap_there_is_no_best_one() -> None:
    """Without a warning of numpy's, which the tests take for an error."""
    assert np.isnan(aggregate([{"rollout/best_lap_s": np.nan}] * 2)["rollout/best_lap_s"])


@pytest.mark.parametrize("laps", [0.0, 7.0])
def test_figures_of_a_single_agent_are_left_as_they_are(laps: float) -> None:
    """One agent's curves have no agent in their names."""
    assert aggregate([{"rollout/laps": laps}]) == {"rollout/laps": laps}


def episode(progress_m: float, **more: float) -> dict[str, Any]:
    return {
        "r": 1.0, "t": 2.0, "laps": 0, "best_lap_s": float("nan"), "progress_m": progress_m, "collided": True,
        "terms": {}, **more,
    }  # fmt: skip


def test_the_share_of_a_lap_is_the_mean_over_recent_episodes() -> None:
    episodes = Episodes()
    for progress_m, length_m in ((12.0, 120.0), (30.0, 100.0)):
        episodes.note(episode(progress_m, lap_share=progress_m / length_m))
    figures = episodes.figures()
    assert figures["rollout/lap_share"] == pytest.approx(0.2)
    assert figures["rollout/progress_m"] == 21.0


def test_episodes_of_a_checkpoint_from_before_the_share_of_a_lap_are_left_out_of_it() -> None:
    episodes = Episodes()
    episodes.load_state_dict({"recent": [episode(12.0)] * 3, "laps": 0, "best_lap_s": float("nan")})
    assert np.isnan(episodes.figures()["rollout/lap_share"])
    episodes.note(episode(30.0, lap_share=0.25))
    assert episodes.figures()["rollout/lap_share"] == 0.25
    assert episodes.figures()["rollout/progress_m"] == pytest.approx(16.5)


def kept(completed: int, steady: float, mean_speed_mps: float, raced: float) -> SelectedPolicy:
    return SelectedPolicy(Policy([4, 8, 4]), 10_000, completed, 48, mean_speed_mps, steady, raced)


@pytest.mark.parametrize(
    ("bests", "best"),
    [
        ([kept(48, 0.5, 7.0, 0.60), kept(48, 1.0, 7.9, 0.55)], 1),  # more races won, of easier ones
        ([kept(48, 1.0, 7.0, 0.90), kept(48, 1.0, 7.9, 0.50)], 1),  # as steady: the faster
        ([kept(47, 1.0, 7.9, 0.90), kept(48, 0.5, 7.0, 0.50)], 1),
        ([None, kept(0, 0.0, 0.0, 0.0)], 1),
        ([None, None], 0),
    ],
)
def test_the_best_agent_is_the_one_that_laps_best_whatever_races_it_won_against_itself(
    bests: list[SelectedPolicy | None], best: int
) -> None:
    """A share of races won against an agent's own candidates says nothing beside another agent's."""
    nothing: Any = None
    keepers: Any = [SimpleNamespace(best=one) for one in bests]
    parts = RunParts(nothing, keepers, nothing, nothing, nothing, nothing, nothing)
    assert parts.best_agent == best
