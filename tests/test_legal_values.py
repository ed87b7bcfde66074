"""Every legal value runs: with the ends of all settings together a run learns, or is refused by a message; no fault."""

from __future__ import annotations

import sys

import pytest

from tests.support.legal_values import LEFT_OUT, TOGETHER, Case, ends, pairwise_cases, single_cases, try_out
from training.config import Config
from training.config.text import walk

SEEDS = range(1, 9)  # of `make torture`


def test_every_setting_is_tried_or_has_a_reason() -> None:
    known = {key for key, _ in walk(Config)}
    tried = ends()
    assert set(LEFT_OUT) <= known
    assert set(TOGETHER) <= set(tried) <= known
    assert all(len(values) >= 2 for values in tried.values())
    assert len(tried) > 60


def test_pairwise_cases_hold_every_pair_of_ends() -> None:
    tried = {key: TOGETHER.get(key, values) for key, values in ends().items()}
    cases = [dict(case.values) for case in pairwise_cases(seed=3)]
    for first, second in (
        ("env.beams", "sac.gamma"),
        ("env.action_repeat", "env.scan_noise_m"),
        ("env.profile", "imitation.expert"),
    ):
        met = {(case[first], case[second]) for case in cases}
        assert len(met) == len(tried[first]) * len(tried[second])


@pytest.mark.slow
def test_every_two_ends_together_run_or_are_refused() -> None:
    outcomes = [outcome(case) for case in pairwise_cases(seed=1)]
    assert outcomes.count("learnt") > len(outcomes) / 2


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key in TOGETHER if key != "sac.net_arch"])
def test_the_highest_value_of_what_grows_runs_or_is_refused(key: str) -> None:
    """Those are too large to be tried together with all others."""
    outcome(Case(((key, ends()[key][-1]),)))


@pytest.mark.torture
def test_each_end_by_itself_and_many_pairs_run_or_are_refused() -> None:
    cases = [*single_cases(), *(case for seed in SEEDS for case in pairwise_cases(seed))]
    outcomes = [outcome(case) for case in cases]
    sys.stdout.write(f"\n  {len(outcomes)} cases, {outcomes.count('learnt')} learnt, the others refused\n")


def outcome(case: Case) -> str:
    """Try a case; a fault names all of its settings."""
    try:
        return try_out(case)
    except BaseException as error:
        raise AssertionError(f"{error!r} with {case}") from error
