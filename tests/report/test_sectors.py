"""Laps divided into sectors, and compared with the reference driver's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.runs import driver_by_hand, straight_on
from training.config import Config
from training.evaluation.baselines import (
    REFERENCE,
    DriverController,
    EvalTrack,
    baseline_drivers,
    drive,
    results,
)
from training.evaluation.recording import Trace, best_lap, matching_lap
from training.report.sectors import SECTORS, compared, edges_m, sector_at, sector_times
from training.report.tables import signed


@pytest.fixture(scope="module")
def flying(config: Config, course: EvalTrack) -> Trace:
    tape, drives = drive(driver_by_hand(config), config.env, course, starts=2, laps=2)
    trace = best_lap(tape, drives, course.track, config.env)
    assert trace.lap == 1
    return trace


@pytest.fixture(scope="module")
def standing(config: Config, course: EvalTrack) -> Trace:
    tape, drives = drive(driver_by_hand(config), config.env, course, starts=2)
    return best_lap(tape, drives, course.track, config.env)


def evenly(trace: Trace, first_m: float, lap_s: float) -> Trace:
    """Return a lap at one speed along the centreline from a place."""
    time_s = np.arange(round(lap_s / 0.01) + 1) * 0.01
    arc_m = (first_m + trace.track.length_m * time_s / lap_s) % trace.track.length_m
    return trace._replace(time_s=time_s, arc_m=arc_m, lap_s=lap_s)


# --- times ---
@pytest.mark.parametrize("share", [0.0, 0.13, 0.5, 0.999])
def test_a_lap_at_one_speed_takes_the_same_time_in_each_sector_wherever_it_begins(
    flying: Trace, share: float
) -> None:
    lap = evenly(flying, share * flying.track.length_m, 12.0)
    np.testing.assert_allclose(sector_times(lap), 12.0 / SECTORS, atol=1e-9)


def test_the_sectors_of_a_real_lap_add_up_to_its_time(flying: Trace, standing: Trace) -> None:
    for trace in (flying, standing):
        times = sector_times(trace)
        assert times.sum() == pytest.approx(trace.lap_s, abs=1e-9)
        assert times.min() > 0.3


def test_a_sector_s_time_is_that_of_the_rows_within_it(flying: Trace) -> None:
    """Counted another way; rows are 10 ms apart, and at either end one may be cut."""
    numbers = np.array([sector_at(flying, row) for row in range(len(flying.arc_m))])
    rows_s = np.bincount(numbers - 1, minlength=SECTORS) * flying.step_s
    np.testing.assert_allclose(sector_times(flying), rows_s, atol=0.031)


def test_the_sector_of_a_standing_start_takes_longer_than_of_a_flying_lap(
    flying: Trace, standing: Trace
) -> None:
    sector = sector_at(standing) - 1
    assert sector_times(standing)[sector] > sector_times(flying)[sector] + 0.1


@pytest.mark.slow
def test_a_car_that_slides_back_over_a_line_has_passed_it_once(flying: Trace) -> None:
    lap = evenly(flying, 0.0, 12.0)
    back = lap.arc_m.copy()
    row = len(back) // 2 + 2
    back[row : row + 5] -= 0.6  # behind the middle line again for 50 ms
    np.testing.assert_allclose(sector_times(lap._replace(arc_m=back)), sector_times(lap), atol=1e-9)


def test_a_drive_without_a_lap_has_no_sector_times(flying: Trace) -> None:
    with pytest.raises(ValueError, match="the drive on generated-1-l60 is no completed lap"):
        sector_times(flying._replace(lap_s=None))


def test_sectors_are_equal_parts_of_the_centreline(course: EvalTrack) -> None:
    edges = edges_m(course.track.length_m)
    np.testing.assert_allclose(np.diff(edges), course.track.length_m / SECTORS)
    assert (edges[0], edges[-1]) == (0.0, course.track.length_m)


# --- the two laps ---
@pytest.mark.slow
def test_the_reference_s_lap_is_from_the_same_start(config: Config, course: EvalTrack) -> None:
    found = {
        one.driver: one
        for one in results({"policy": driver_by_hand(config)}, config.env, config.evaluation, [course])
    }
    policy, reference = found["policy"], found[REFERENCE]
    assert policy.trace.lap_s == policy.tally.best_lap_s
    assert (reference.trace.start, reference.trace.lap) == (policy.trace.start, policy.trace.lap)
    assert reference.trace.lap_s == reference.drives[policy.trace.start].lap_s[0]
    np.testing.assert_array_equal(reference.trace.states[0], policy.trace.states[0])
    times = compared(policy.trace, reference.trace)
    assert times.standing == ()
    assert times.lost_s.sum() == pytest.approx(policy.trace.lap_s - reference.trace.lap_s)
    assert [one.trace for name, one in found.items() if name not in {"policy", REFERENCE}] == [None, None]


def test_without_a_lap_from_that_start_the_reference_s_best_is_taken_and_said(
    config: Config, course: EvalTrack, standing: Trace
) -> None:
    controller, settings = baseline_drivers(config.env)[REFERENCE]
    assert isinstance(controller, DriverController)
    tape, drives = drive(controller, settings, course, starts=2)
    drives[standing.start] = drives[standing.start]._replace(lap_s=(), laps=0, completed=False)
    other = matching_lap(tape, drives, course.track, settings, standing)
    assert other.start != standing.start
    times = compared(standing, other)
    assert times.standing == tuple(sorted({sector_at(standing), sector_at(other)}))


@pytest.mark.slow
def test_a_reference_without_any_lap_leaves_the_policy_s_times_alone(
    config: Config, course: EvalTrack, standing: Trace
) -> None:
    tape, drives = drive(straight_on(config), config.env, course, starts=2)
    crash = matching_lap(tape, drives, course.track, config.env, standing)
    times = compared(standing, crash)
    assert times.reference_s is None
    assert times.lost_s is None
    np.testing.assert_array_equal(times.policy_s, sector_times(standing))
    assert compared(crash, standing) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "+0.12"), (-0.05, "−0.05"), (0.004, "0.00"), (-0.004, "0.00"), (-1.0, "−1.00")],
)
def test_a_difference_has_its_sign_unless_it_rounds_to_nothing(seconds: float, text: str) -> None:
    assert signed(seconds) == text
