"""A round of steps and updates that is broken off, looked at or saved in its middle ends in the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.devices import DEVICES
from tests.support.training_sessions import Session, assert_same, begin, every_second, settings, several
from training.agents import snapshot
from training.agents.league import PromotionResult
from training.agents.policy import Policy
from training.config import Config
from training.process.systemd_notify import alive

STEPS, UPDATES = 3, 4
LENGTH = {"sac.train_freq": STEPS, "sac.gradient_steps": UPDATES, "evaluation.frequency": 200}
TOTAL = 360


def alone() -> Config:
    return settings(4, **LENGTH)


def together() -> Config:
    return several(2, "league", **LENGTH)


def train(session: Session, *, breaks: bool, at: tuple[int, int] | None = None, from_step: int = 0) -> None:
    """Train to the end; look within rounds after every step and update, and break off at a place in one of them.

    at: steps and updates of the round that are done then, from a timestep on. breaks: the look ends training.
    """
    learner = session.parts.learner

    def pause() -> bool:
        reached = learner.num_timesteps >= from_step and (at is None or learner.place[1:] == at)
        if reached:
            session.everything()  # what a checkpoint copies
        return not (breaks and reached)

    learner.pause_due, learner.at_pause = lambda: True, pause
    session.train_to(TOTAL)


@pytest.mark.slow
@pytest.mark.parametrize("make", [alone, together])
def test_a_run_saved_at_any_place_of_a_round_ends_as_one_that_was_not(
    tmp_path: Path, make: Callable[[], Config]
) -> None:
    config = make()
    whole = begin(config, tmp_path / "whole")
    whole.train_to(TOTAL)
    end = whole.everything()
    places = [
        *((step, 0) for step in range(1, STEPS + 1)),
        *((STEPS, update) for update in range(1, UPDATES)),
    ]
    for place in places:
        store = tmp_path / f"{place}"
        cut = begin(config, store)
        train(cut, breaks=True, at=place, from_step=300)
        assert cut.parts.learner.place[1:] == place
        assert 300 <= cut.parts.learner.num_timesteps < TOTAL
        cut.save()
        again = begin(config, store, resume=True)
        assert again.parts.learner.place == cut.parts.learner.place
        again.train_to(TOTAL)
        assert_same(end, again.everything())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [alone, together])
def test_looks_within_a_round_change_nothing(tmp_path: Path, make: Callable[[], Config], device: str) -> None:
    plain, watched = (
        begin(make(), tmp_path / "plain", device=device),
        begin(make(), tmp_path / "watched", device=device),
    )
    plain.train_to(TOTAL)
    train(watched, breaks=False)
    assert_same(plain.everything(), watched.everything())


def test_steps_end_at_the_total_however_long_the_round_is(tmp_path: Path) -> None:
    """And go on from there with a larger total, in the same round."""
    long = {"sac.train_freq": 10_000, "evaluation.frequency": 0}
    learner = begin(settings(4, **long), tmp_path / "one").parts.learner
    learner.learn(1_001)
    assert learner.place == (1_004, 251, 0)
    learner.learn(1_100)
    assert learner.place == (1_100, 275, 0)


def test_updates_that_follow_the_last_step_are_made_up_for_by_a_resume(tmp_path: Path) -> None:
    config = settings(4, **LENGTH)
    whole, cut = begin(config, tmp_path / "whole"), begin(config, tmp_path / "cut")
    whole.parts.learner.learn(TOTAL)
    train(cut, breaks=True, at=(STEPS, 2), from_step=TOTAL)
    assert cut.parts.learner.place == (TOTAL, STEPS, 2)
    cut.save()
    again = begin(config, tmp_path / "cut", resume=True).parts.learner
    again.learn(TOTAL)
    assert again.place == (TOTAL, 0, 0)
    assert again.agents[0]._n_updates == whole.parts.learner.agents[0]._n_updates


def test_a_checkpoint_of_before_rounds_were_saved_in_their_middle_stands_between_two(tmp_path: Path) -> None:
    session = begin(settings(4, **LENGTH), tmp_path)
    session.train_to(60)
    learner = session.parts.learner
    saved = snapshot.world_state_dict(learner)
    assert saved.meta.pop("round") == [0, 0]
    learner.steps_in_round = 2
    snapshot.load_world_state_dict(learner, saved)
    assert learner.place == (60, 0, 0)
    session.saver.close()


@pytest.mark.slow
@pytest.mark.parametrize("raced", [1, 3])
def test_a_challenge_that_is_left_for_a_stop_is_made_by_the_resume(tmp_path: Path, raced: int) -> None:
    """Left while the first or the second of two agents races; the champions, and all else, end as without."""
    config = several(2, "league", **LENGTH, **{"multi_agent.league.champions": "true"})
    whole = begin(config, tmp_path / "whole")
    whole.train_to(TOTAL)
    cut = begin(config, tmp_path / "cut")
    learner = cut.parts.learner
    pieces = 0

    def contest(challenger: Policy, champions: Sequence[Policy], step: int) -> PromotionResult:
        nonlocal pieces
        for _ in range(2):  # races
            pieces += 1
            alive()
        return every_second(challenger, champions, step)

    learner.league._contest = contest
    learner.league.asked = lambda: pieces == raced
    cut.train_to(TOTAL)
    assert learner.unended is not None
    assert 200 <= learner.num_timesteps < TOTAL
    assert not any(learner.league.champions)
    cut.save()
    again = begin(config, tmp_path / "cut", resume=True)
    again.train_to(TOTAL)
    assert_same(whole.everything(), again.everything())
    assert all(again.parts.learner.league.champions)
