"""A recorded lap is the lap that was timed, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.runs import QUICK, driver_by_hand, straight_on
from training.config import Config, load_config
from training.evaluation.baselines import EvalTrack, drive, tally
from training.evaluation.lap_evaluation import evaluate
from training.evaluation.recording import DriveTape, best_lap
from training.sim import Track
from training.sim.params import SPEED
from training.sim.track import occupancy

TRACK = "generated-1-l60"


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(None, QUICK, "local")


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.load(TRACK)


def test_the_recorded_lap_passes_through_every_state_that_evaluation_saw(
    config: Config, track: Track
) -> None:
    tape = DriveTape(driver_by_hand(config))
    states = []
    drives = evaluate(
        tape, config.env, [track], starts=4, watch=lambda race: states.append(race.world.states[:, 0].copy())
    )
    trace = best_lap(tape, drives, track, config.env)
    fastest = min(range(4), key=lambda e: drives[e].lap_s)
    assert trace.lap_s == drives[fastest].lap_s[0]
    repeat = config.env.action_repeat
    whole = (len(trace.states) - 1) // repeat
    seen = np.array(states)[:whole, fastest]
    np.testing.assert_array_equal(trace.states[repeat : whole * repeat + 1 : repeat], seen)


def test_the_recorded_lap_lasts_as_long_as_the_timed_one(config: Config, track: Track) -> None:
    tape, drives = drive(driver_by_hand(config), config.env, EvalTrack(track, seen=True), starts=3, laps=2)
    trace = best_lap(tape, drives, track, config.env)
    assert trace.lap_s == min(lap for one in drives for lap in one.lap_s)
    assert trace.time_s[-1] == pytest.approx(trace.lap_s, abs=0.021)
    assert trace.states[0, SPEED] > 2.0  # a flying lap is faster than one from standing
    assert np.linalg.norm(trace.xy[-1] - trace.xy[0]) < 1.0  # once round


def test_without_a_lap_the_longest_drive_is_recorded_up_to_the_wall(config: Config, track: Track) -> None:
    tape, drives = drive(straight_on(config), config.env, EvalTrack(track, seen=True), starts=3)
    assert [one.completed for one in drives] == [False] * 3
    trace = best_lap(tape, drives, track, config.env)
    assert trace.lap_s is None
    assert trace.collided
    longest = max(drives, key=lambda one: one.distance_m)
    assert trace.time_s[-1] <= longest.distance_m / longest.mean_speed_mps + 1e-9
    _, row, col = occupancy.what_is_at(track.free, track.frame, *trace.xy[-1])
    assert track.distance_field_m[row, col] < 0.4  # half a car's length


def test_the_same_starts_are_driven_whatever_else_is(config: Config, track: Track) -> None:
    policy, course = driver_by_hand(config), EvalTrack(track, seen=True)
    alone = drive(policy, config.env, course, starts=3)[1]
    drive(policy, config.env, EvalTrack(Track.load("generated-3-l60"), seen=False), starts=5)
    assert drive(policy, config.env, course, starts=3)[1] == alone


def test_a_tally_counts_what_happened(config: Config, track: Track) -> None:
    _, drives = drive(driver_by_hand(config), config.env, EvalTrack(track, seen=True), starts=3)
    one = tally(
        [*drives, drives[0]._replace(completed=False, collided=True, laps=0, lap_s=(), distance_m=7.0)]
    )
    assert (one.track, one.starts, one.completed, one.collisions) == (TRACK, 4, 3, 1)
    assert one.completion_rate == 0.75
    assert one.lap_s == tuple(d.lap_s[0] for d in drives)
    assert one.mean_lap_s == pytest.approx(np.mean(one.lap_s))
    assert one.best_lap_s == min(one.lap_s)
    assert one.mean_speed_mps == pytest.approx(np.mean([d.mean_speed_mps for d in drives]))
    assert one.top_speed_mps == max(d.top_speed_mps for d in drives)
