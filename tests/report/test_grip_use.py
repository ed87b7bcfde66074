"""Accelerations of recorded laps against what the tyres hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.report.runs import QUICK, driver_by_hand, straight_on
from training.config import load_config
from training.evaluation.baselines import EvalTrack, drive
from training.evaluation.recording import Trace, best_lap
from training.report.grip_use import MOMENTS, SETTLED_S, common_reach, described_use, grip_use, verdict
from training.report.tables import percent
from training.sim import Track
from training.sim.dynamics import GRAVITY_MPS2
from training.sim.params import SLIP, SPEED, YAW, YAW_RATE

STEP_S = 0.01
MU_G = 1.0489


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.load("generated-1-l60")


def recorded(track: Track, *overrides: str, boldness: float = 2.5, crash: bool = False) -> Trace:
    """Drive with real physics; return the best lap."""
    config = load_config(None, [*QUICK, *overrides], "local")
    policy = straight_on(config) if crash else driver_by_hand(config, boldness=boldness)
    tape, drives = drive(policy, config.env, EvalTrack(track, seen=True), starts=2)
    return best_lap(tape, drives, track, config.env)


@pytest.fixture(scope="module")
def linear(track: Track) -> Trace:
    return recorded(track, "env.tyres=linear", boldness=8.0)


@pytest.fixture(scope="module")
def slipping(track: Track) -> Trace:
    return recorded(track, boldness=1.2)


def made_up(trace: Trace, states: np.ndarray) -> Trace:
    """Return a trace with the given states, a row every 10 ms."""
    return trace._replace(states=states, time_s=np.arange(len(states)) * STEP_S, collided=False)


def turning(rows: int, speed_mps: float, yaw_rate_radps: float, slip_rad: float = 0.0) -> np.ndarray:
    """Return the states of a car on a circle."""
    states = np.zeros((rows, 7))
    states[:, SPEED], states[:, SLIP], states[:, YAW_RATE] = speed_mps, slip_rad, yaw_rate_radps
    states[:, YAW] = (yaw_rate_radps * STEP_S * np.arange(rows)) % (2 * math.pi)
    return states


# --- accelerations ---
@pytest.mark.parametrize("slip_rad", [0.0, -0.3, 0.2])
@pytest.mark.parametrize("yaw_rate_radps", [2.0, -3.0])
def test_a_circle_has_the_centripetal_acceleration_in_the_car_s_axes(
    linear: Trace, yaw_rate_radps: float, slip_rad: float
) -> None:
    use = grip_use(made_up(linear, turning(400, 5.0, yaw_rate_radps, slip_rad)))
    centripetal_g = 5.0 * yaw_rate_radps / GRAVITY_MPS2
    np.testing.assert_allclose(use.across_g, centripetal_g * math.cos(slip_rad), rtol=1e-3)
    np.testing.assert_allclose(use.along_g, -centripetal_g * math.sin(slip_rad), rtol=1e-3, atol=1e-9)
    assert use.settled_g == pytest.approx(abs(centripetal_g) * math.cos(slip_rad), rel=1e-3)


def test_speeding_up_is_forward_and_braking_is_negative(linear: Trace) -> None:
    states = turning(100, 0.0, 0.0)
    states[:, YAW] = 1.0
    states[:50, SPEED] = 3.0 * STEP_S * np.arange(50)
    states[50:, SPEED] = states[49, SPEED] - 2.0 * STEP_S * np.arange(1, 51)
    use = grip_use(made_up(linear, states))
    np.testing.assert_allclose(use.along_g[:49], 3.0 / GRAVITY_MPS2, rtol=1e-9)
    np.testing.assert_allclose(use.along_g[49:], -2.0 / GRAVITY_MPS2, rtol=1e-9)
    np.testing.assert_allclose(use.across_g, 0.0, atol=1e-9)


def test_a_moment_and_a_swing_to_both_sides_are_no_settled_corner(linear: Trace) -> None:
    rows = round(SETTLED_S / STEP_S)
    short, swing = turning(200, 5.0, 0.0), turning(200, 5.0, 0.0)
    for states, rates in ((short, np.zeros(200)), (swing, np.zeros(200))):
        rates[100 : 100 + rows // 2] = 4.0
        if states is swing:
            rates[100 + rows // 2 : 100 + rows] = -4.0
        states[:, YAW] = np.concatenate([[0.0], np.cumsum(rates[:-1] * STEP_S)])
    for states in (short, swing):
        use = grip_use(made_up(linear, states))
        assert np.abs(use.across_g).max() > 2.0
        assert use.settled_g == pytest.approx(0.0, abs=1e-9)


def test_the_limit_is_the_vehicle_s_friction(linear: Trace) -> None:
    assert linear.grip_mps2 == pytest.approx(MU_G * GRAVITY_MPS2)
    assert grip_use(linear).limit_g == pytest.approx(MU_G)


def test_the_step_in_which_a_car_is_stopped_by_a_wall_does_not_count(track: Track) -> None:
    trace = recorded(track, crash=True)
    assert trace.collided
    stopped = grip_use(trace._replace(collided=False))
    assert stopped.along_g[-1] < -10.0
    use = grip_use(trace)
    assert len(use.along_g) == len(stopped.along_g) - 1
    assert np.hypot(use.along_g, use.across_g).max() < 1.2


def test_a_drive_of_one_row_uses_no_grip(linear: Trace) -> None:
    use = grip_use(linear._replace(states=linear.states[:1]))
    assert (use.share_beyond, use.settled_g) == (0.0, 0.0)


# --- real laps, and what is said of them ---
def test_on_linear_tyres_a_fast_lap_corners_beyond_the_limit(linear: Trace) -> None:
    use = grip_use(linear)
    assert linear.lap_s is not None
    assert use.settled_g > 1.1 * use.limit_g
    assert 0.02 < use.share_beyond < 0.9
    drivable, words = verdict([use], linear.settings)
    assert not drivable
    assert words.startswith("A real car could not be driven like this.")
    assert f"corners at up to {use.settled_g:.1f} g, where the tyres hold 1.05 g" in words
    assert f"for up to {percent(use.share_beyond)} of a lap" in words
    assert "env.tyres is linear" in words
    assert words.endswith("Next step: train with env.tyres = saturating.")
    assert described_use(use) == (
        f"{100 * use.share_beyond:.1f} % of the time beyond the limit of 1.05 g; largest settled lateral acceleration "
        f"{use.settled_g:.2f} g"
    )


def test_on_tyres_that_slip_no_moment_of_a_lap_is_beyond_the_limit(slipping: Trace) -> None:
    use = grip_use(slipping)
    assert slipping.lap_s is not None
    assert 0.3 < use.settled_g <= use.limit_g
    assert use.share_beyond == 0.0
    drivable, words = verdict([use], slipping.settings)
    assert drivable
    assert f"up to {use.settled_g:.2f} g of 1.05 g" in words
    assert "Next step" not in words


def test_one_track_that_a_car_could_not_drive_is_enough(linear: Trace, slipping: Trace) -> None:
    uses = [grip_use(slipping), grip_use(linear)]
    assert verdict(uses, linear.settings) == verdict(uses[::-1], linear.settings)
    assert not verdict(uses, linear.settings)[0]


def test_moments_beyond_the_limit_are_told_apart_from_a_car_that_cannot_be_driven(track: Track) -> None:
    trace = recorded(track, "env.tyres=linear", boldness=3.0)
    use = grip_use(trace)
    assert 0.0 < use.share_beyond < MOMENTS
    drivable, words = verdict([use], trace.settings)
    assert drivable
    assert f"for moments only, {percent(use.share_beyond)} of a lap at most" in words


def test_braking_beyond_the_limit_for_long_is_no_moment(linear: Trace) -> None:
    use = grip_use(linear)._replace(settled_g=0.8)
    assert use.share_beyond > MOMENTS
    assert not verdict([use], linear.settings)[0]


def test_the_next_step_names_what_tyres_that_slip_need(linear: Trace) -> None:
    settings = linear.settings.model_copy(update={"profile": "f1tenth_gym", "backend": "f1tenth_gym"})
    words = verdict([grip_use(linear)], settings)[1]
    assert "env.tyres = saturating, env.profile = training, env.backend = native." in words


def test_pictures_of_one_scale_show_the_largest_of_all(linear: Trace, slipping: Trace) -> None:
    uses = [grip_use(linear), grip_use(slipping)]
    reach = common_reach(uses)
    for use in uses:
        assert np.abs(use.across_g).max() <= reach.across_g
        assert -reach.braking_g <= use.along_g.min()
        assert use.along_g.max() <= reach.forward_g
    assert common_reach([]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0 %"), (0.0001, "below 0.1 %"), (0.0005, "0.1 %"), (0.214, "21.4 %"), (1.0, "100.0 %")],
)
def test_a_share_above_nothing_never_reads_as_nothing(share: float, text: str) -> None:
    assert percent(share) == text
