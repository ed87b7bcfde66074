"""Worlds of cars with faults, and every fault at once."""

from __future__ import annotations

import numpy as np

from training.sim import Randomisation, Track, World
from training.sim.params import PROFILES

SLIPPING = PROFILES["training"]._replace(slipping_tyres=True)
ALL = Randomisation(
    friction_scale=(0.7, 1.1),
    mass_scale=(0.9, 1.2),
    steering_delay_steps=(0, 6),
    scan_noise_m=(0.0, 0.03),
    friction_along_track=(0.0, 0.3),
    friction_over_time=(0.0, 0.3),
    stiffness_scale=(0.6, 2.0),
    steering_lag_s=(0.0, 0.15),
    steering_rate_scale=(0.6, 1.1),
    steering_gain=(0.9, 1.1),
    steering_trim_rad=(-0.05, 0.05),
    steering_backlash_rad=(0.0, 0.04),
    drive_delay_steps=(0, 6),
    drive_lag_s=(0.0, 0.2),
    drive_gain=(0.9, 1.1),
    lidar_offset_m=(-0.1, 0.1),
    scan_bias_m=(-0.05, 0.05),
    scan_latency_steps=(0, 6),
    scan_period_s=(0.025, 0.05),
    beam_dropout=(0.0, 0.1),
    block_dropout=(0.0, 0.5),
    speed_noise_mps=(0.0, 0.2),
    speed_bias_mps=(-0.2, 0.2),
    yaw_rate_noise_radps=(0.0, 0.2),
    yaw_rate_bias_radps=(-0.1, 0.1),
    steering_noise_rad=(0.0, 0.02),
    steering_bias_rad=(-0.02, 0.02),
    obstacles=(0, 4),
)


def world(track: Track, num_envs: int = 1, num_cars: int = 1, beams: int = 36, **ranges) -> World:
    vehicle = ranges.pop("vehicle", None)
    draws = Randomisation(**ranges)
    return World(
        track, num_envs, num_cars, beams, seed=3, switches=SLIPPING, randomisation=draws, vehicle=vehicle
    )


def straight(w: World, steps: int, steering: float = 0.0, speed: float = 3.0, repeat: int = 1) -> np.ndarray:
    """Drive from the middle of the hall under one command; return the states (steps + 1, 7)."""
    w.reset(np.zeros((w.num_envs, w.num_cars, 3)))
    rows = [w.states[0, 0].copy()]
    for _ in range(steps):
        w.step(np.tile([steering, speed], (w.num_envs, w.num_cars, 1)), repeat)
        rows.append(w.states[0, 0].copy())
    return np.array(rows)
