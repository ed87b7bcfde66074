"""Constants of the vehicle, the lidar and the two profiles, as NamedTuples that numba kernels take as they are."""

from __future__ import annotations

from typing import NamedTuple

# Named indices of the state vector, axis 2 of `World.states`.
X, Y, STEERING, SPEED, YAW, YAW_RATE, SLIP = range(7)
NUM_STATES = 7

# Longest delay of a command that domain randomisation may ask for, in physics steps, and one more.
MAX_STEERING_DELAY = 16
# Poses that a car with an old scan keeps: the longest latency and the longest period, in physics steps, and one more.
POSES_KEPT = 48


class Vehicle(NamedTuple):
    """Hold the single-track parameters of an F1TENTH car (defaults: f1tenth_gym v1.0.0).

    Symbols follow the CommonRoad vehicle models (section 7, single-track model).
    """

    mu: float = 1.0489  # friction coefficient, -
    C_Sf: float = 4.718  # cornering stiffness of the front axle, 1/rad
    C_Sr: float = 5.4562  # cornering stiffness of the rear axle, 1/rad
    lf: float = 0.15875  # centre of gravity to front axle, m
    lr: float = 0.17145  # centre of gravity to rear axle, m
    h: float = 0.074  # height of the centre of gravity, m
    m: float = 3.74  # mass, kg
    I: float = 0.04712  # yaw inertia, kg m^2
    s_min: float = -0.4189  # steering angle, rad
    s_max: float = 0.4189
    sv_min: float = -3.2  # steering velocity, rad/s
    sv_max: float = 3.2
    v_switch: float = 7.319  # speed above which the motor's power limits acceleration, m/s
    a_max: float = 9.51  # acceleration, m/s^2
    v_min: float = -5.0  # speed, m/s
    v_max: float = 20.0
    width: float = 0.31  # body, m
    length: float = 0.58
    v_kinematic: float = 0.5  # speed below which, and in reverse, the kinematic model holds, m/s
    throttle_error: float = 2.0  # speed below the command at which the controller asks for a_max, m/s
    brake_error: float = 0.5  # speed above the command at which it asks for -a_max, m/s
    steering_lag: float = 0.0  # time constant of the servo near its target, s
    lidar_x: float = 0.0  # scanner ahead of the centre of gravity, m


class Lidar(NamedTuple):
    """Hold the geometry of the scanner (defaults: f1tenth_gym v1.0.0, a Hokuyo UST-10LX)."""

    beams: int = 1080
    fov_rad: float = 4.7
    max_range_m: float = 30.0


class Switches(NamedTuple):
    """Name every way in which the training profile may differ from f1tenth_gym.

    All False is f1tenth_gym v1.0.0, quirks included. `docs/simulator.md` gives the reason for each.
    """

    exact_steering: bool = False  # reach the commanded angle and stay; else bang-bang around it
    exact_beams: bool = False  # beam directions computed; else truncated to a table of 2,000
    closed_border: bool = False  # rays end at the map's edge; else they read its last cell
    footprint_contact: bool = False  # body against the map; else time to collision on the scan
    keep_yaw_on_contact: bool = False  # a car that hits a wall keeps its yaw; else yaw becomes 0
    independent_noise: bool = False  # fresh per car and episode; else the same for all
    tyre_saturation: bool = False  # lateral tyre forces stay inside the friction circle
    solid_thin_walls: bool = False  # a beam ends at a wall one cell thick; else it may step over it
    slipping_tyres: bool = False  # every tyre force inside the friction ellipse, speed from forces: tyres.py


PROFILES = {
    "f1tenth_gym": Switches(),
    "training": Switches(
        exact_steering=True,
        exact_beams=True,
        closed_border=True,
        footprint_contact=True,
        keep_yaw_on_contact=True,
        independent_noise=True,
        solid_thin_walls=True,
        # Off: linear tyres are what every published F1TENTH result was driven with.
        tyre_saturation=False,
    ),
}


class Randomisation(NamedTuple):
    """Give the ranges (low, high) from which each car draws at each reset; equal ends switch one off.

    Those from `friction_along_track` on need the training profile (`Switches.footprint_contact`).
    """

    friction_scale: tuple[float, float] = (1.0, 1.0)
    mass_scale: tuple[float, float] = (1.0, 1.0)
    steering_delay_steps: tuple[int, int] = (2, 2)
    scan_noise_m: tuple[float, float] = (0.0, 0.0)  # added to the world's own scan_noise_m
    friction_along_track: tuple[float, float] = (
        0.0,
        0.0,
    )  # share by which friction rises and falls along the lap
    friction_over_time: tuple[float, float] = (0.0, 0.0)  # share by which it does in 5 to 20 s
    stiffness_scale: tuple[float, float] = (1.0, 1.0)
    steering_lag_s: tuple[float, float] = (0.0, 0.0)  # added to the vehicle's
    steering_rate_scale: tuple[float, float] = (1.0, 1.0)
    steering_gain: tuple[float, float] = (1.0, 1.0)
    steering_trim_rad: tuple[float, float] = (0.0, 0.0)
    steering_backlash_rad: tuple[float, float] = (0.0, 0.0)  # from end to end
    drive_delay_steps: tuple[int, int] = (0, 0)
    drive_lag_s: tuple[float, float] = (0.0, 0.0)
    drive_gain: tuple[float, float] = (1.0, 1.0)
    lidar_offset_m: tuple[float, float] = (0.0, 0.0)  # of the scanner, ahead of where the vehicle has it
    scan_bias_m: tuple[float, float] = (0.0, 0.0)
    scan_latency_steps: tuple[int, int] = (0, 0)
    scan_period_s: tuple[float, float] = (0.0, 0.0)  # 0: a scan at each decision
    beam_dropout: tuple[float, float] = (0.0, 0.0)  # share of beams without a return
    block_dropout: tuple[float, float] = (0.0, 0.0)  # share of scans in which a block of beams has none
    speed_noise_mps: tuple[float, float] = (0.0, 0.0)  # of what is measured: World.measured
    speed_bias_mps: tuple[float, float] = (0.0, 0.0)
    yaw_rate_noise_radps: tuple[float, float] = (0.0, 0.0)
    yaw_rate_bias_radps: tuple[float, float] = (0.0, 0.0)
    steering_noise_rad: tuple[float, float] = (0.0, 0.0)
    steering_bias_rad: tuple[float, float] = (0.0, 0.0)
    obstacles: tuple[int, int] = (0, 0)  # boxes on the track, in each environment
    obstacle_size_m: tuple[float, float] = (0.2, 0.5)  # their sides
