"""Speeds that tyres hold: inside the ellipse of friction, the closed form on a circle, slow before a hairpin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.envs.drivers.grip_profile import (
    GripLimits,
    grip_limits,
    grip_profile,
    lap_time_s,
    point_mass_lap_s,
)
from training.sim import Vehicle
from training.sim.dynamics import GRAVITY_MPS2
from training.sim.track import centerline

Array = NDArray[np.float64]
CAR = Vehicle()
GRIP_MPS2 = CAR.mu * GRAVITY_MPS2


def flower(lobes: int, depth: float, radius_m: float = 10.0, count: int = 400) -> Array:
    angle = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    radius = radius_m * (1.0 + depth * np.cos(lobes * angle))
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def oval(straight_m: float, radius_m: float, spacing_m: float = 0.1) -> Array:
    """Two straights and two half circles, from the first straight's beginning, anticlockwise."""
    along = np.arange(0.0, straight_m, spacing_m)
    turn = np.arange(0.0, np.pi, spacing_m / radius_m)
    end = np.stack([straight_m + radius_m * np.sin(turn), radius_m - radius_m * np.cos(turn)], axis=1)
    first = np.stack([along, 0.0 * along], axis=1)
    half = np.concatenate([first, end])
    return np.concatenate([half, [straight_m, 2.0 * radius_m] - half])


def accelerations(points: Array, speed: Array) -> tuple[Array, Array, Array]:
    """Return along each chord, and across it at its beginning and at its end, m/s^2."""
    chords = centerline.chord_lengths(points)
    bend = np.abs(centerline.curvature(points, chords))
    along = (np.roll(speed, -1) ** 2 - speed**2) / (2.0 * chords)
    across = speed**2 * bend
    return along, across, np.roll(across, -1)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1.0, 12.0),
    st.floats(2.0, 12.0),
    st.floats(1.0, 12.0),
    st.floats(1.0, 12.0),
    st.floats(1.0, 10.0),
    st.floats(2.0, 12.0),
    st.integers(3, 9),
    st.floats(0.0, 0.4),
)
def test_no_speed_asks_for_more_than_the_ellipse_or_the_motor_gives(  # noqa: PLR0917 - drawn by hypothesis
    cap: float,
    lateral: float,
    driving: float,
    braking: float,
    motor: float,
    power: float,
    lobes: int,
    depth: float,
) -> None:
    limits = GripLimits(cap, lateral, driving, braking, motor, power)
    points = flower(lobes, depth)
    speed = grip_profile(points, limits)
    along, *across = accelerations(points, speed)
    axis = np.where(along > 0.0, driving, braking)
    assert (speed <= cap + 1e-9).all()
    for one in across:
        assert ((along / axis) ** 2 + (one / lateral) ** 2 <= 1.0 + 1e-6).all()
    assert (np.abs(along) <= motor + 1e-9).all()
    assert (along * speed <= motor * power + motor * 1e-6).all() or power >= cap


def test_on_a_circle_the_speed_is_the_square_root_of_acceleration_times_radius() -> None:
    points = flower(3, 0.0, radius_m=4.0)
    limits = grip_limits(CAR, 20.0, lateral_share=0.8)
    np.testing.assert_allclose(grip_profile(points, limits), np.sqrt(0.8 * GRIP_MPS2 * 4.0), rtol=1e-4)
    # 2 pi r / sqrt(a r), of all grip
    expected_s = 2.0 * np.pi * 4.0 / np.sqrt(GRIP_MPS2 * 4.0)
    assert point_mass_lap_s(points, CAR, 20.0) == pytest.approx(expected_s, rel=1e-3)


def test_before_a_hairpin_the_car_brakes_as_the_closed_form_says() -> None:
    """On the straight the squared speed falls by twice the braking times the way, to that of the bend."""
    points, radius_m = oval(40.0, 1.0), 1.0
    limits = GripLimits(8.0, 8.0, 4.0, 4.0, 9.0, 20.0)
    speed = grip_profile(points, limits)
    entry = int(40.0 / 0.1)
    slow = np.sqrt(8.0 * radius_m)
    assert speed[entry + 10] == pytest.approx(slow, rel=0.01)
    for back in (20, 40, 60):
        way_m = 0.1 * back
        assert speed[entry - back] ** 2 == pytest.approx(slow**2 + 2.0 * 4.0 * way_m, rel=0.03)
    assert speed[entry - 150] == 8.0  # not before it must
    assert speed[:60].max() < 8.0  # out of the other hairpin it accelerates
    assert speed[50] ** 2 == pytest.approx(slow**2 + 2.0 * 4.0 * 5.0, rel=0.03)


def test_above_the_power_limit_the_motor_gives_less() -> None:
    points = oval(60.0, 3.0)
    weak = grip_profile(points, GripLimits(20.0, 8.0, 9.0, 9.0, 9.0, 5.0))
    strong = grip_profile(points, GripLimits(20.0, 8.0, 9.0, 9.0, 9.0, 20.0))
    assert weak.max() < strong.max() - 1.0
    assert lap_time_s(points, weak) > lap_time_s(points, strong)


def test_more_grip_is_never_slower() -> None:
    points = flower(5, 0.3)
    slow, fast = (grip_profile(points, grip_limits(CAR, 8.0, share, share)) for share in (0.6, 0.9))
    assert (slow <= fast + 1e-9).all()
    assert slow.min() < fast.min()
