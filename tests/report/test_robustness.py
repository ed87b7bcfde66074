"""Completion under randomisation: real drives of cars that are drawn at each start."""

from __future__ import annotations

import pytest

from tests.report.runs import QUICK, driver_by_hand
from training.config import Config, load_config
from training.config.randomisation import RandomisationSettings, randomisation_of
from training.evaluation.baselines import EvalTrack, drive, tally
from training.evaluation.robustness import (
    AS_TRAINED,
    UNDISTURBED,
    completion_under,
    conditions_of,
    ranges,
    trained_under,
)

WIDE = ("env.tyres=saturating", "env.randomisation.friction_factor=[0.2, 1.3]", "evaluation.starts=6")


def with_settings(*overrides: str) -> Config:
    return load_config(None, [*QUICK, *overrides], "local")


# --- conditions ---
def test_a_run_without_randomisation_is_driven_under_the_presets() -> None:
    assert conditions_of(with_settings().env) == {
        UNDISTURBED: RandomisationSettings(),
        "mild": randomisation_of("mild"),
        "robust": randomisation_of("robust"),
    }


@pytest.mark.parametrize(
    "override", ["env.scan_noise_m=0.01", "env.randomisation.steering_delay_steps=[1, 4]"]
)
def test_noise_or_any_range_of_its_own_makes_a_condition(override: str) -> None:
    assert list(conditions_of(with_settings(override).env)) == [UNDISTURBED, AS_TRAINED, "mild", "robust"]


def test_a_run_that_learnt_under_a_preset_is_named_there() -> None:
    found = conditions_of(with_settings("env.randomisation.preset=robust").env)
    assert list(found) == [UNDISTURBED, "mild", f"robust, {AS_TRAINED}"]


def test_the_package_s_profile_knows_no_presets() -> None:
    plain = "env.profile=f1tenth_gym"
    assert conditions_of(with_settings(plain).env) == {}
    own = conditions_of(with_settings(plain, "env.randomisation.friction_factor=[0.8, 1.2]").env)
    assert list(own) == [UNDISTURBED, AS_TRAINED]


def test_the_lidar_s_usual_noise_is_among_what_training_draws() -> None:
    env = with_settings(
        "env.scan_noise_m=0.1",
        "env.randomisation.scan_noise_factor=[0.5, 2]",
        "env.randomisation.scan_noise_m=[0, 0.01]",
    ).env
    assert ranges(trained_under(env)) == {"scan_noise_m": (0.05, pytest.approx(0.21))}


# --- drives ---
@pytest.mark.slow
def test_undisturbed_is_the_report_s_own_tally(course: EvalTrack) -> None:
    config = with_settings(*WIDE)
    policy, starts = driver_by_hand(config, boldness=1.2), config.evaluation.starts
    (plain,) = completion_under(
        {UNDISTURBED: RandomisationSettings()}, policy, config.env, config.evaluation, [course]
    )
    assert plain.tallies == (tally(drive(policy, config.env, course, starts=starts)[1]),)


def test_a_policy_completes_less_where_the_floor_may_be_slippery(course: EvalTrack) -> None:
    config = with_settings(*WIDE)
    found = conditions_of(config.env)
    chosen = {name: found[name] for name in (UNDISTURBED, AS_TRAINED)}
    policy = driver_by_hand(config, boldness=1.2)
    plain, drawn = completion_under(chosen, policy, config.env, config.evaluation, [course])
    assert (plain.completed, plain.starts) == (6, 6)
    assert 0 < drawn.completed < drawn.starts == 6


def test_each_start_draws_its_own_car_and_the_starts_stay(course: EvalTrack) -> None:
    config = with_settings(*WIDE)
    policy = driver_by_hand(config, boldness=1.2)
    drawn = conditions_of(config.env)[AS_TRAINED]
    plain = drive(policy, config.env, course, starts=4)[1]
    disturbed = drive(policy, config.env, course, starts=4, randomisation=drawn)[1]
    assert [one.start_m for one in disturbed] == [one.start_m for one in plain]
    assert all(one != other for one, other in zip(disturbed, plain, strict=True))
    assert disturbed == drive(policy, config.env, course, starts=4, randomisation=drawn)[1]
