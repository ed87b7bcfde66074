"""What each car draws at each reset: its physics, the faults of its actuators and of what it senses.

A draw is a hash of environment seed, episode and car (noise.py), so nothing but those counters has to be saved, and a
draw that is added changes no other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .array_types import Floats
from .arrays import Cars, Rules
from .compiled import inner
from .noise import chain, uniform
from .params import MAX_STEERING_DELAY, POSES_KEPT, Randomisation

if TYPE_CHECKING:
    from collections.abc import Mapping

# Stands for the tick in the key of an episode's draws; no tick comes near it.
DRAWS = 1 << 62
# Keys of the faults' draws begin here; those before are of friction, mass, delay and noise.
_FIRST_KEY = 16

# Named indices of a car's faults, axis 2 of `Cars.faults`.
(
    STIFFNESS, ALONG, ALONG_WAVES, ALONG_PHASE, OVER_TIME, OVER_TIME_S, OVER_TIME_PHASE,
    STEERING_LAG, STEERING_RATE, STEERING_GAIN, STEERING_TRIM, BACKLASH, DRIVE_DELAY, DRIVE_LAG, DRIVE_GAIN,
    SCAN_BIAS, SCAN_LATENCY, SCAN_PERIOD, SCAN_PHASE, BEAM_DROPOUT, BLOCK_DROPOUT,
    SPEED_NOISE, SPEED_BIAS, YAW_RATE_NOISE, YAW_RATE_BIAS, STEERING_NOISE, STEERING_BIAS,
    LIDAR_OFFSET,
) = range(28)  # fmt: skip
NUM_FAULTS = 28
# Each fault that is a range of Randomisation, by its name there.
_RANGES: Mapping[str, int] = {
    "stiffness_scale": STIFFNESS,
    "friction_along_track": ALONG,
    "friction_over_time": OVER_TIME,
    "steering_lag_s": STEERING_LAG,
    "steering_rate_scale": STEERING_RATE,
    "steering_gain": STEERING_GAIN,
    "steering_trim_rad": STEERING_TRIM,
    "steering_backlash_rad": BACKLASH,
    "drive_delay_steps": DRIVE_DELAY,
    "drive_lag_s": DRIVE_LAG,
    "drive_gain": DRIVE_GAIN,
    "lidar_offset_m": LIDAR_OFFSET,
    "scan_bias_m": SCAN_BIAS,
    "scan_latency_steps": SCAN_LATENCY,
    "scan_period_s": SCAN_PERIOD,
    "beam_dropout": BEAM_DROPOUT,
    "block_dropout": BLOCK_DROPOUT,
    "speed_noise_mps": SPEED_NOISE,
    "speed_bias_mps": SPEED_BIAS,
    "yaw_rate_noise_radps": YAW_RATE_NOISE,
    "yaw_rate_bias_radps": YAW_RATE_BIAS,
    "steering_noise_rad": STEERING_NOISE,
    "steering_bias_rad": STEERING_BIAS,
}
_COUNTED = ("drive_delay_steps", "scan_latency_steps")
# Waves of friction: their number round the lap, their length in time, s.
_MOST_WAVES = 4
_WAVE_S = (5.0, 20.0)
# What may be below 0.
_SIGNED = (
    "steering_trim_rad", "lidar_offset_m", "scan_bias_m", "speed_bias_mps", "yaw_rate_bias_radps", "steering_bias_rad",
)  # fmt: skip


class Draws(NamedTuple):
    """Hold the ranges (low, high) for the kernels."""

    friction_scale: tuple[float, float]
    mass_scale: tuple[float, float]
    steering_delay_steps: tuple[int, int]
    scan_noise_m: tuple[float, float]
    faults: Floats  # (NUM_FAULTS, 2)
    obstacles: tuple[int, int]
    obstacle_size_m: tuple[float, float]


def check_randomisation(r: Randomisation, *, slipping: bool, footprint: bool, timestep_s: float) -> None:
    """Refuse ranges that are out of order or of what is legal; slipping, footprint: the switches.

    Raises:
        ValueError: names the range and what is allowed.

    """
    for name, (low, high) in r._asdict().items():
        if not low <= high or (low < 0 and name not in _SIGNED) or not math.isfinite(high - low):
            allowed = "low <= high" if name in _SIGNED else "0 <= low <= high"
            raise ValueError(f"randomisation {name}=({low}, {high}) must be {allowed}")
    for name in ("steering_delay_steps", "drive_delay_steps"):
        if getattr(r, name)[1] >= MAX_STEERING_DELAY:
            raise ValueError(f"{name}={getattr(r, name)} must stay below {MAX_STEERING_DELAY}")
    oldest = r.scan_latency_steps[1] + math.ceil(r.scan_period_s[1] / timestep_s)
    if oldest >= POSES_KEPT:
        raise ValueError(
            f"scan_latency_steps={r.scan_latency_steps} and scan_period_s={r.scan_period_s}: a scan may be "
            f"{POSES_KEPT - 1} steps old, not {oldest}"
        )
    if slipping:  # forces are divided by both
        for name in ("friction_scale", "mass_scale"):
            if getattr(r, name)[0] <= 0.0:
                raise ValueError(f"randomisation {name}={getattr(r, name)} must be above 0 on slipping tyres")
    if not footprint and (has_faults(r) or r.obstacles[1] > 0):
        usual = Randomisation()
        asked = [n for n in (*_RANGES, "obstacles") if getattr(r, n) != getattr(usual, n)]
        raise ValueError(
            f"randomisation {', '.join(asked)}: only with footprint_contact (profile 'training')"
        )


def has_faults(r: Randomisation) -> bool:
    """Tell whether any range lets a car have a fault."""
    usual = Randomisation()
    return any(tuple(getattr(r, name)) != getattr(usual, name) for name in _RANGES)


def to_draws(r: Randomisation, scan_noise_m: float) -> Draws:
    """Return the ranges as the kernels read them; scan_noise_m: the world's own, added to that of the draws."""
    ranges = np.zeros((NUM_FAULTS, 2))
    for name, index in _RANGES.items():
        low, high = getattr(r, name)
        ranges[index] = low, high + (1 if name in _COUNTED else 0)
    ranges[ALONG_WAVES] = 1, _MOST_WAVES + 1
    ranges[OVER_TIME_S] = _WAVE_S
    ranges[ALONG_PHASE] = ranges[OVER_TIME_PHASE] = ranges[SCAN_PHASE] = 0.0, 1.0

    def pair(name: str, more: float = 0.0) -> tuple[float, float]:
        low, high = getattr(r, name)
        return float(low) + more, float(high) + more

    def counts(name: str) -> tuple[int, int]:
        low, high = getattr(r, name)
        return int(low), int(high)

    return Draws(
        pair("friction_scale"),
        pair("mass_scale"),
        counts("steering_delay_steps"),
        pair("scan_noise_m", float(scan_noise_m)),
        ranges,
        counts("obstacles"),
        pair("obstacle_size_m"),
    )


@inner
def draw_episode(cars: Cars, rules: Rules, r: Draws, e: int, n: int) -> None:
    """Draw this episode's friction, mass, delay, noise and faults of one car."""
    key = chain(chain(chain(rules.seeds[e], cars.episode[e]), n), DRAWS)
    cars.friction[e, n] = rules.vehicle.mu * uniform(chain(key, 1), r.friction_scale[0], r.friction_scale[1])
    cars.mass_kg[e, n] = rules.vehicle.m * uniform(chain(key, 2), r.mass_scale[0], r.mass_scale[1])
    low, high = r.steering_delay_steps
    cars.delay[e, n] = min(int(uniform(chain(key, 3), float(low), float(high + 1))), high)
    cars.noise_m[e, n] = uniform(chain(key, 4), r.scan_noise_m[0], r.scan_noise_m[1])
    if rules.faulty:
        faults = cars.faults[e, n]
        for i in range(faults.size):
            faults[i] = uniform(chain(key, _FIRST_KEY + i), r.faults[i, 0], r.faults[i, 1])
        for i in (ALONG_WAVES, DRIVE_DELAY, SCAN_LATENCY):
            faults[i] = math.floor(faults[i])
