"""What is drawn for each car in each episode: its physics, its actuators, what it senses, what stands in its way."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict

from .fields import FACTORS, MOST_STEERING_DELAY, DelaySpan, FactorSpan, Section, Share, low_to_high, setting

MOST_SCAN_LATENCY = 20
MOST_OBSTACLES = 20

_Scale = Annotated[float, Field(ge=0.1, le=10)]
_Gain = Annotated[float, Field(ge=0.5, le=2)]
_Time = Annotated[float, Field(ge=0, le=1)]
_Period = Annotated[float, Field(ge=0, le=0.2)]
_Noise = Annotated[float, Field(ge=0, le=5)]
_Bias = Annotated[float, Field(ge=-5, le=5)]
_Offset = Annotated[float, Field(ge=-0.5, le=0.5)]
_Angle = Annotated[float, Field(ge=-0.3, le=0.3)]
_Play = Annotated[float, Field(ge=0, le=0.3)]
_Size = Annotated[float, Field(ge=0.05, le=2)]
_Latency = Annotated[int, Field(ge=0, le=MOST_SCAN_LATENCY)]
_Count = Annotated[int, Field(ge=0, le=MOST_OBSTACLES)]
_Ordered = AfterValidator(low_to_high)
ShareSpan = Annotated[tuple[Share, Share], Strict(strict=False), _Ordered]
ScaleSpan = Annotated[tuple[_Scale, _Scale], Strict(strict=False), _Ordered]
GainSpan = Annotated[tuple[_Gain, _Gain], Strict(strict=False), _Ordered]
TimeSpan = Annotated[tuple[_Time, _Time], Strict(strict=False), _Ordered]
PeriodSpan = Annotated[tuple[_Period, _Period], Strict(strict=False), _Ordered]
NoiseSpan = Annotated[tuple[_Noise, _Noise], Strict(strict=False), _Ordered]
OffsetSpan = Annotated[tuple[_Offset, _Offset], Strict(strict=False), _Ordered]
BiasSpan = Annotated[tuple[_Bias, _Bias], Strict(strict=False), _Ordered]
AngleSpan = Annotated[tuple[_Angle, _Angle], Strict(strict=False), _Ordered]
PlaySpan = Annotated[tuple[_Play, _Play], Strict(strict=False), _Ordered]
SizeSpan = Annotated[tuple[_Size, _Size], Strict(strict=False), _Ordered]
LatencySpan = Annotated[tuple[_Latency, _Latency], Strict(strict=False), _Ordered]
CountSpan = Annotated[tuple[_Count, _Count], Strict(strict=False), _Ordered]


def _legal(low: float, high: float, kind: str = "numbers") -> str:
    return f"[low, high], {kind} within {low:g} to {high:g}"


# The ranges from which every simulator draws, the package f1tenth_gym too.
SIMPLE_RANGES = (
    "friction_factor",
    "mass_factor",
    "scan_noise_factor",
    "scan_noise_m",
    "steering_delay_steps",
)
Preset = Literal["none", "mild", "robust"]


class RandomisationSettings(Section):
    """The range a car is drawn from in each episode, low and high; equal ends switch it off."""

    preset: Preset = setting(
        "none",
        "ranges for the settings below that are not given by themselves: none of them, what two cars of one kind "
        "differ by, or what a policy for a car should bear (env.tyres = saturating)",
    )
    friction_factor: FactorSpan = setting((1.0, 1.0), "times the tyres' friction coefficient", legal=FACTORS)
    friction_along_track: ShareSpan = setting(
        (0.0, 0.0), "friction rises and falls by this share along the lap", legal=_legal(0, 1)
    )
    friction_over_time: ShareSpan = setting(
        (0.0, 0.0), "and by this share within an episode, in 5 to 20 s", legal=_legal(0, 1)
    )
    stiffness_factor: ScaleSpan = setting(
        (1.0, 1.0), "times both axles' cornering stiffness", legal=_legal(0.1, 10)
    )
    mass_factor: FactorSpan = setting((1.0, 1.0), "times the car's mass and moment of inertia", legal=FACTORS)
    steering_delay_steps: DelaySpan = setting(
        (2, 2),
        "simulator steps of 10 ms before a steering command acts",
        legal=f"[low, high], integers within 0 to {MOST_STEERING_DELAY}",
    )
    steering_lag_s: TimeSpan = setting(
        (0.0, 0.0), "time constant of the servo, added to the car's", legal=_legal(0, 1)
    )
    steering_rate_factor: ScaleSpan = setting((1.0, 1.0), "times the servo's speed", legal=_legal(0.1, 10))
    steering_gain: GainSpan = setting((1.0, 1.0), "times the steering command", legal=_legal(0.5, 2))
    steering_trim_rad: AngleSpan = setting(
        (0.0, 0.0), "added to the steering command", legal=_legal(-0.3, 0.3)
    )
    steering_backlash_rad: PlaySpan = setting(
        (0.0, 0.0), "play of the steering, from end to end", legal=_legal(0, 0.3)
    )
    drive_delay_steps: DelaySpan = setting(
        (0, 0),
        "simulator steps before a speed command acts",
        legal=f"[low, high], integers within 0 to {MOST_STEERING_DELAY}",
    )
    drive_lag_s: TimeSpan = setting((0.0, 0.0), "time constant of the speed command", legal=_legal(0, 1))
    drive_gain: GainSpan = setting((1.0, 1.0), "times the speed command", legal=_legal(0.5, 2))
    scan_noise_factor: FactorSpan = setting((1.0, 1.0), "times scan_noise_m", legal=FACTORS)
    scan_noise_m: NoiseSpan = setting(
        (0.0, 0.0), "standard deviation of the lidar's noise, added to that", legal=_legal(0, 5)
    )
    lidar_offset_m: OffsetSpan = setting(
        (0.0, 0.0), "of the lidar, ahead of where the car has it", legal=_legal(-0.5, 0.5)
    )
    scan_bias_m: BiasSpan = setting((0.0, 0.0), "added to every range of a scan", legal=_legal(-5, 5))
    scan_latency_steps: LatencySpan = setting(
        (0, 0),
        "simulator steps from a scan to its arrival",
        legal=_legal(0, MOST_SCAN_LATENCY, "integers"),
    )
    scan_period_s: PeriodSpan = setting(
        (0.0, 0.0),
        "time from scan to scan, at its own beat (UST-10LX: 0.025); 0: a scan at each decision",
        legal=_legal(0, 0.2),
    )
    beam_dropout: ShareSpan = setting(
        (0.0, 0.0), "share of beams without a return, which read the lidar's range", legal=_legal(0, 1)
    )
    block_dropout: ShareSpan = setting(
        (0.0, 0.0), "share of scans in which a block of up to 0.5 rad has no return", legal=_legal(0, 1)
    )
    speed_noise_mps: NoiseSpan = setting(
        (0.0, 0.0), "standard deviation of the speed that is observed", legal=_legal(0, 5)
    )
    speed_bias_mps: BiasSpan = setting((0.0, 0.0), "added to it", legal=_legal(-5, 5))
    yaw_rate_noise_radps: NoiseSpan = setting(
        (0.0, 0.0), "standard deviation of the yaw rate that is observed", legal=_legal(0, 5)
    )
    yaw_rate_bias_radps: BiasSpan = setting((0.0, 0.0), "added to it", legal=_legal(-5, 5))
    steering_noise_rad: NoiseSpan = setting(
        (0.0, 0.0), "standard deviation of the steering angle that is observed", legal=_legal(0, 5)
    )
    steering_bias_rad: AngleSpan = setting((0.0, 0.0), "added to it", legal=_legal(-0.3, 0.3))
    obstacles: CountSpan = setting(
        (0, 0),
        "boxes on the track, each leaving a way past it of at least the car's width and 0.5 m",
        legal=_legal(0, MOST_OBSTACLES, "integers"),
    )
    obstacle_size_m: SizeSpan = setting((0.2, 0.5), "sides of a box", legal=_legal(0.05, 2))

    @property
    def faults(self) -> list[str]:
        """Return in words the ranges that need the training profile, as far as they are not switched off."""
        usual, given = (
            RandomisationSettings(),
            self.model_dump(exclude={"preset", "obstacle_size_m", *SIMPLE_RANGES}),
        )
        return [
            f"randomisation.{name} = {list(span)}"
            for name, span in given.items()
            if span != getattr(usual, name)
        ]


# Of friction and mass, on tyres whose forces are divided by both.
LEAST_FACTOR = 0.05

# mild: cars of one kind on one floor. robust: cars and floors as their owners describe them: docs/car.md.
PRESETS: Mapping[str, Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "none": {},
        "mild": {
            "friction_factor": (0.9, 1.1),
            "stiffness_factor": (0.8, 1.25),
            "mass_factor": (0.95, 1.1),
            "steering_delay_steps": (1, 3),
            "steering_lag_s": (0.0, 0.04),
            "steering_gain": (0.97, 1.03),
            "steering_trim_rad": (-0.01, 0.01),
            "drive_delay_steps": (0, 2),
            "drive_lag_s": (0.0, 0.05),
            "drive_gain": (0.97, 1.03),
            "scan_noise_m": (0.0, 0.02),
            "lidar_offset_m": (-0.02, 0.02),
            "scan_bias_m": (-0.02, 0.02),
            "scan_latency_steps": (0, 2),
            "scan_period_s": (0.025, 0.025),
            "beam_dropout": (0.0, 0.01),
            "block_dropout": (0.0, 0.02),
            "speed_noise_mps": (0.0, 0.05),
            "yaw_rate_noise_radps": (0.0, 0.05),
            "steering_noise_rad": (0.0, 0.01),
        },
        "robust": {
            "friction_factor": (0.45, 1.15),
            "friction_along_track": (0.0, 0.15),
            "friction_over_time": (0.0, 0.1),
            "stiffness_factor": (0.6, 4.0),
            "mass_factor": (0.85, 1.2),
            "steering_delay_steps": (0, 8),
            "steering_lag_s": (0.0, 0.16),
            "steering_rate_factor": (0.7, 1.1),
            "steering_gain": (0.9, 1.1),
            "steering_trim_rad": (-0.03, 0.03),
            "steering_backlash_rad": (0.0, 0.03),
            "drive_delay_steps": (0, 5),
            "drive_lag_s": (0.0, 0.15),
            "drive_gain": (0.9, 1.1),
            "scan_noise_m": (0.0, 0.03),
            "lidar_offset_m": (-0.1, 0.1),
            "scan_bias_m": (-0.04, 0.04),
            "scan_latency_steps": (0, 5),
            "scan_period_s": (0.025, 0.025),
            "beam_dropout": (0.0, 0.1),
            "block_dropout": (0.0, 0.1),
            "speed_noise_mps": (0.0, 0.1),
            "speed_bias_mps": (-0.1, 0.1),
            "yaw_rate_noise_radps": (0.0, 0.1),
            "yaw_rate_bias_radps": (-0.05, 0.05),
            "steering_noise_rad": (0.0, 0.02),
            "steering_bias_rad": (-0.02, 0.02),
        },
    }
)


def randomisation_of(preset: Preset) -> RandomisationSettings:
    """Return the ranges of a preset."""
    return RandomisationSettings.model_validate({"preset": preset, **PRESETS[preset]})
