"""The vehicle model against the published one, and its controllers against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vehiclemodels.parameters_vehicle1 import parameters_vehicle1
from vehiclemodels.vehicle_dynamics_st import vehicle_dynamics_st

from training.sim import dynamics
from training.sim.params import Vehicle

CAR = Vehicle()


def published(state: tuple[float, ...], sv: float, acc: float) -> np.ndarray:
    """Return CommonRoad's derivative with our car's parameters."""
    p = parameters_vehicle1()
    p.a, p.b, p.h_s, p.m, p.I_z = CAR.lf, CAR.lr, CAR.h, CAR.m, CAR.I
    # The package gives cornering stiffness as C = p_ky1 / p_dy1 and friction as p_dy1, one value for both axles.
    p.tire.p_dy1, p.tire.p_ky1 = CAR.mu, -CAR.C_Sf * CAR.mu
    p.steering.min, p.steering.max, p.steering.v_min, p.steering.v_max = -10.0, 10.0, -10.0, 10.0
    p.longitudinal.v_min, p.longitudinal.v_max = -100.0, 100.0
    p.longitudinal.v_switch, p.longitudinal.a_max = 1000.0, 1000.0
    return np.array(vehicle_dynamics_st(list(state), [sv, acc], p))


@given(
    steering=st.floats(-0.4, 0.4),
    speed=st.floats(1.0, 15.0),
    yaw=st.floats(-3.0, 3.0),
    yaw_rate=st.floats(-4.0, 4.0),
    slip=st.floats(-0.4, 0.4),
    sv=st.floats(-3.0, 3.0),
    acc=st.floats(-9.0, 9.0),
)
def test_the_dynamic_branch_is_commonroads(steering, speed, yaw, yaw_rate, slip, sv, acc):
    """Above walking speed every derivative equals the single-track model of CommonRoad (one tyre stiffness)."""
    car = CAR._replace(C_Sr=CAR.C_Sf, v_switch=1000.0, a_max=1000.0, v_max=100.0)
    state = (1.0, -2.0, steering, speed, yaw, yaw_rate, slip)
    np.testing.assert_allclose(
        dynamics.derivative(state, sv, acc, car, False), published(state, sv, acc), rtol=1e-9, atol=1e-9
    )


def test_the_motor_limits_acceleration():
    """Full up to v_switch, less in proportion above, none beyond the speed limits; braking at most a_max."""
    assert dynamics.limit_acceleration(5.0, 50.0, CAR) == CAR.a_max
    assert dynamics.limit_acceleration(14.638, 50.0, CAR) == pytest.approx(CAR.a_max / 2)
    assert dynamics.limit_acceleration(CAR.v_max, 1.0, CAR) == 0.0
    assert dynamics.limit_acceleration(CAR.v_min, -1.0, CAR) == 0.0
    assert dynamics.limit_acceleration(5.0, -50.0, CAR) == -CAR.a_max


def test_the_servo_is_limited_in_speed_and_angle():
    """At most 3.2 rad/s, and no further than the stops."""
    assert dynamics.limit_steering_velocity(0.0, 9.0, CAR) == CAR.sv_max
    assert dynamics.limit_steering_velocity(CAR.s_max, 1.0, CAR) == 0.0
    assert dynamics.limit_steering_velocity(CAR.s_max, -1.0, CAR) == -1.0


@given(target=st.floats(-0.4, 0.4), start=st.floats(-0.4, 0.4))
def test_the_exact_servo_never_passes_its_target(target, start):
    """One step brings the angle nearer, or onto the target."""
    sv = dynamics.steering_velocity(target, start, True, 0.01, CAR)
    after = start + 0.01 * sv
    assert abs(target - after) <= abs(target - start) + 1e-15
    assert (target - after) * (target - start) >= -1e-15


@given(
    steering=st.floats(-0.4, 0.4), speed=st.floats(0.6, 8.0), slip=st.floats(-0.2, 0.2), rate=st.floats(-2, 2)
)
def test_left_and_right_are_mirror_images(steering, speed, slip, rate):
    """Steering the other way gives the mirrored motion."""
    one = dynamics.integrate((0.0, 0.0, steering, speed, 0.0, rate, slip), 1.0, 2.0, 0.01, CAR, False)
    other = dynamics.integrate((0.0, 0.0, -steering, speed, 0.0, -rate, -slip), -1.0, 2.0, 0.01, CAR, False)
    mirrored = (other[0], -other[1], -other[2], other[3], -other[4] % (2 * math.pi), -other[5], -other[6])
    assert mirrored[:4] == pytest.approx(one[:4], abs=1e-12)
    assert math.cos(mirrored[4] - one[4]) == pytest.approx(1.0, abs=1e-12)
    assert mirrored[5:] == pytest.approx(one[5:], abs=1e-12)
