"""Which policy is kept: laps first, then what it can spare, then speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from training.agents.league import PolicySnapshot
from training.agents.policy import Policy, SelectedPolicy
from training.config import Config, load_config
from training.evaluation import policy_selection
from training.evaluation.entrants import driver
from training.evaluation.lap_evaluation import Drive
from training.evaluation.policy_selection import DISTURBANCE, BestPolicyTracker, disturb
from training.sim import Track

POLICY = Policy([4, 8, 4])


def kept(completed: int, steady: float, mean_speed_mps: float) -> SelectedPolicy:
    return SelectedPolicy(POLICY, 10_000, completed, 48, mean_speed_mps, steady)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (kept(48, 0.2, 3.0), kept(47, 1.0, 8.0)),  # a lap not completed counts more than all else
        (kept(48, 0.98, 7.8), kept(48, 0.91, 8.0)),  # of two that lap the one that can spare more
        (kept(48, 0.981, 8.0), kept(48, 0.984, 7.9)),  # as steady within a hundredth: the faster
    ],
)
def test_laps_come_first_then_steadiness_then_speed(better: SelectedPolicy, worse: SelectedPolicy) -> None:
    assert better.score > worse.score


def test_a_hand_shakes_alike_for_the_same_seed() -> None:
    seen = np.zeros((500, 1, 4), dtype=np.float32)
    race: Any = None  # a policy does not look at it
    plain = POLICY(race, seen)
    shaken = [disturb(POLICY, seed)(race, seen) for seed in (1, 1, 2)]
    assert np.array_equal(shaken[0], shaken[1])
    assert not np.array_equal(shaken[0], shaken[2])
    assert np.std(shaken[0] - plain) == pytest.approx(DISTURBANCE, rel=0.1)


def drive(*, completed: bool = True) -> Drive:
    return Drive(
        "oval",
        0.0,
        completed=completed,
        collided=False,
        laps=1,
        lap_s=(15.0,),
        distance_m=120.0,
        mean_speed_mps=8.0,
        top_speed_mps=8.0,
    )


def keeper_of(config: Config, tracks: Sequence[Track], agent: int = 0) -> BestPolicyTracker:
    return BestPolicyTracker(
        config.evaluation, config.env, tracks,
        sizes=config.actor_sizes, num_cars=config.num_cars, agent=agent,
    )  # fmt: skip


def test_the_final_choice_finds_a_failure_that_few_starts_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    rarely_fails, never_fails = Policy([4, 8, 4]), Policy([4, 8, 4])
    asked: list[tuple[object, int]] = []

    def drives(controller: object, *_: object, starts: int, **__: object) -> list[Drive]:
        asked.append((controller, starts))
        fails = controller is rarely_fails
        return [drive(completed=not (fails and i == 20)) for i in range(starts)]

    monkeypatch.setattr(policy_selection, "evaluate", drives)
    keeper = keeper_of(load_config(None, ["evaluation.starts=10"]), [])
    keeper.candidates = [
        SelectedPolicy(rarely_fails, 1, 48, 48, 8.0, 1.0),
        SelectedPolicy(never_fails, 2, 48, 48, 7.0, 0.9),
    ]
    best = keeper.select_final()
    assert best is not None
    assert best.policy is never_fails
    assert (best.completed, best.starts) == (40, 40)
    # The other is out by its laps and need not be disturbed.
    assert [controller for controller, _ in asked[:2]] == [rarely_fails, never_fails]
    assert len(asked) == 3


@pytest.mark.parametrize(("cars", "first"), [(1, "steadier"), (2, "racer")])
def test_cars_that_learn_together_race_for_the_final_choice(
    cars: int, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone both lap, and the steadier is better; in races it leaves the track, and pure pursuit wins in front."""
    monkeypatch.setattr(
        policy_selection, "evaluate", lambda *_, starts, **__: [drive() for _ in range(starts)]
    )
    kind = "sac_multiagent" if cars > 1 else "sac"
    several = (f"training.training_type={kind}", f"training.num_agents={max(cars, 2)}")
    config = load_config(None, [*several, "env.tyres=linear"])
    straight_on = Policy(config.actor_sizes)
    racer: Any = driver("pure_pursuit", config.env).controller
    names = {id(straight_on): "steadier", id(racer): "racer"}
    keeper = keeper_of(config, [Track.load("generated-1")])
    keeper.candidates = [SelectedPolicy(straight_on, 1, 48, 48, 8.0), SelectedPolicy(racer, 2, 48, 48, 7.0)]
    best = keeper.select_final()
    assert best is not None
    assert names[id(best.policy)] == first
    assert sorted(kept.raced for kept in keeper.candidates) == [0.0, 0.0 if cars == 1 else 0.5]


def test_an_agent_s_newest_champion_is_kept_and_driven_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a league has champions they are kept, however steady others were; until then the averaged policy is."""
    driven: list[object] = []

    def drives(controller: object, *_: object, starts: int, **__: object) -> list[Drive]:
        driven.append(controller)
        return [drive() for _ in range(starts)]

    class Learner:
        num_timesteps = 10_000
        newest: PolicySnapshot | None = None

        def champion(self, agent: int) -> PolicySnapshot | None:
            assert agent == 1
            return self.newest

        def average_policy(self, agent: int) -> Policy:
            assert agent == 1
            return POLICY

    monkeypatch.setattr(policy_selection, "evaluate", drives)
    learner: Any = Learner()
    keeper = keeper_of(load_config(None, ["evaluation.starts=10"]), [], agent=1)
    assert keeper.evaluate(learner)["evaluation/completed"] == 1.0
    assert [kept.step for kept in keeper.candidates] == [10_000]
    for step in (20_000, 40_000):
        learner.newest = PolicySnapshot("champion", Policy([4, 8, 4]), step)
        for _ in range(2):
            driven.clear()
            learner.num_timesteps += 15_000
            told = keeper.evaluate(learner)
            assert not keeper.due(learner.num_timesteps)
            assert (driven, bool(told)) in (([learner.newest.policy], True), ([], False))
            assert [kept.step for kept in keeper.candidates] == [step]
        assert driven == []
    best = keeper.select_final()
    assert best is not None
    assert best.policy is learner.newest.policy
    assert (best.completed, best.steady) == (40, 1.0)
