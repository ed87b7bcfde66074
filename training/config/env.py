"""Settings of the car, its tracks, its races, what it sees and what it is paid for: the group env."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import model_validator

from .fields import TRACKS, Grid, Section, Texts, setting
from .randomisation import LEAST_FACTOR, RandomisationSettings
from .vehicle import VEHICLES, CarSettings, contradiction, numbers_of

# A few flowing ones, and many with the tight corners, chicanes and narrow parts of real circuits: a policy that has met
# only the first leaves the track in the hairpins of every third circuit of f1tenth_racetracks:
# docs/notes/performance.md.
LEARNING_TRACKS = (
    *(f"generated-{seed}" for seed in range(1, 5)),
    *(f"generated-{seed}-r0.7" for seed in range(5, 19)),
    *(f"generated-{seed}-w0.8-r0.9" for seed in range(19, 22)),
    *(f"generated-{seed}-w0.7-r0.7" for seed in range(22, 25)),
)


USUAL_CAP_MPS = 8.0
# Steering angle, yaw rate and the previous action's two numbers.
PROPRIOCEPTION = 4


class RewardSettings(Section):
    """The reward, a sum of named terms; each is logged by its name."""

    progress: float = setting(1.0, "per metre driven forward along the centre line", ge=-1000, le=1000)
    trajectory: float = setting(0.0, "closeness to a pure-pursuit action, 0 to 1 a step", ge=-1000, le=1000)
    collision: float = setting(-5.0, "when it hits a wall or, by fault, a car", ge=-1000, le=1000)
    hit: float = setting(0.0, "when another car hits it without its fault", ge=-1000, le=1000)
    overtake: float = setting(0.0, "per place won in a race; a place lost costs it", ge=-1000, le=1000)
    relative_progress: float = setting(
        0.0, "per metre gained on each other car within 20 m; one lost costs it", ge=-1000, le=1000
    )
    lead: float = setting(
        0.0,
        "at each decision, per other car within 20 m that is behind; one before costs it",
        ge=-1000,
        le=1000,
    )
    steering_smoothness: float = setting(
        0.0, "per full change of steering between decisions (negative: smoother)", ge=-1000, le=1000
    )


class RaceSettings(Section):
    """What holds where several cars share a track."""

    after_crash: Literal["out", "restart"] = setting(
        "out", "a crashed car is out until the next race, or starts again elsewhere"
    )
    terminate_at_fault_contact: bool = setting(
        True,
        "true: a car that drives into another one has crashed, and its episode ends; false: it passes through the "
        "other car and gets the contact penalty at each decision",
        formerly="contact_ends",
    )
    hit_cars_continue: bool = setting(
        True,
        "true: a car that is hit without its fault continues; false: its episode ends too",
        formerly="victims_race_on",
    )
    grid: Grid = setting(
        "either", "cars start one behind the other, two by two side by side, or either, drawn for each race"
    )
    grid_spacing_m: float = setting(2.0, "from row to row of the starting grid", ge=1, le=50)


class EnvSettings(Section):
    """The car, the tracks, what it sees and what it is paid for."""

    backend: Literal["native", "f1tenth_gym"] = setting("native", "our simulator, or the f1tenth_gym package")
    profile: Literal["training", "f1tenth_gym"] = setting(
        "training", "physics: mended for learning, or equal to f1tenth_gym v1.0.0 in every quirk"
    )
    num_envs: int = setting(64, "environments that step together", ge=1, le=65_536)
    tracks: Texts = setting(
        LEARNING_TRACKS,
        "tracks to learn on; in the cloud a map of this computer is uploaded with the run",
        legal=f"{TRACKS}, not empty",
        min_length=1,
    )
    beams: int = setting(36, "lidar beams over the lidar's field of view", ge=3, le=1080)
    scans_stacked: int = setting(2, "scans in an observation, the newest and those before it", ge=1, le=16)
    proprioception: bool = setting(True, "see steering angle, yaw rate and the previous action too")
    scan_range_m: float = setting(10.0, "scans are clipped to this and divided by it", ge=1, le=30)
    scan_noise_m: float = setting(0.0, "standard deviation of the lidar's noise", ge=0, le=1)
    action_repeat: int = setting(
        10, "simulator steps of 10 ms per decision: 10 is 10 Hz, 4 is 25 Hz", ge=1, le=100
    )
    speed_cap_mps: float = setting(
        USUAL_CAP_MPS, "fastest speed that the policy can ask for; at most the car's top speed", ge=0.1, le=20
    )
    min_speed_mps: float = setting(1.0, "slowest speed that the policy can ask for", ge=-5, le=20)
    max_episode_s: float = setting(
        60.0, "simulated seconds after which an episode is truncated", ge=1, le=3600
    )
    random_starts: bool = setting(
        True, "start anywhere on the track, a little off the line; else at its start"
    )
    solid_thin_walls: bool = setting(
        True, "beams end at walls one cell thick (profile training); else some pass, as in runs of before"
    )
    tyres: Literal["linear", "lateral_circle", "saturating"] = setting(
        "saturating",
        "forces that grow with slip for ever, as in f1tenth_gym; lateral forces cut at the friction circle; or tyres "
        "that slip: every force inside the friction ellipse, and sliding costs speed. With profile or backend "
        "f1tenth_gym: linear",
        formerly="friction_circle",
        former_values={False: "linear", True: "lateral_circle"},
    )
    vehicle: str = setting(
        "f1tenth_gym",
        "the car that is simulated",
        legal=f"{' | '.join(VEHICLES)}, or the path of a YAML file with every number of env.car",
        min_length=1,
    )
    car: CarSettings = CarSettings()
    race: RaceSettings = RaceSettings()
    reward: RewardSettings = RewardSettings()
    randomisation: RandomisationSettings = RandomisationSettings()

    @property
    def observation_size(self) -> int:
        """Return the length of an observation: stacked scans, the speed, and proprioception."""
        return self.beams * self.scans_stacked + 1 + (PROPRIOCEPTION if self.proprioception else 0)

    @property
    def car_numbers(self) -> Mapping[str, float]:
        """Return every number of the car, by its name in env.car."""
        return MappingProxyType(numbers_of(self.vehicle, self.car))

    @model_validator(mode="before")
    @classmethod
    def _tyres_of_the_package(cls, data: object) -> object:
        """Take f1tenth_gym's tyres with its physics, unless others are given."""
        if isinstance(data, Mapping) and "f1tenth_gym" in (data.get("profile"), data.get("backend")):
            return {"tyres": "linear", **data}
        return data

    @model_validator(mode="after")
    def _tyres_fit_the_profile(self) -> EnvSettings:
        if self.profile == "f1tenth_gym" and self.tyres != "linear":
            message = f"tyres = {self.tyres}: only with profile = training; f1tenth_gym's are linear"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _car_is_whole(self) -> EnvSettings:
        if message := contradiction(self.vehicle, self.car_numbers):
            raise ValueError(message)
        if self.speed_cap_mps > self.car_numbers["top_speed_mps"]:
            message = (
                f"speed_cap_mps = {self.speed_cap_mps} is more than the car can do: top_speed_mps = "
                f"{self.car_numbers['top_speed_mps']:g} ({self.vehicle})"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _slipping_cars_have_grip_and_mass(self) -> EnvSettings:
        draws = self.randomisation
        for name, (low, _) in (("friction", draws.friction_factor), ("mass", draws.mass_factor)):
            if self.tyres != "linear" and low < LEAST_FACTOR:
                message = (
                    f"randomisation.{name}_factor begins at {low}: with tyres = {self.tyres} at least {LEAST_FACTOR}, "
                    "since forces are divided by it"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _faults_need_the_training_profile(self) -> EnvSettings:
        asked = self.randomisation.faults
        if self.profile == "f1tenth_gym" and asked:
            raise ValueError(f"{', '.join(asked)}: only with profile = training")
        return self

    @model_validator(mode="after")
    def _speeds_are_ordered(self) -> EnvSettings:
        if self.min_speed_mps >= self.speed_cap_mps:
            message = (
                f"min_speed_mps = {self.min_speed_mps} must be below speed_cap_mps = {self.speed_cap_mps}"
            )
            raise ValueError(message)
        return self
