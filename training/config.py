"""The settings of a run: typed, strict, frozen. config.example.yaml is written from this file.

A new setting is one line: a field with its default, its description and its legal range. The example file,
the checks, the error messages and `--set` follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from training.config_text import Given, Leaves, explain, flatten, nested, parse_override, read_settings_file
from training.errors import ConfigurationError
from training.layout import RUN_NAME_PATTERN, RUN_NAME_RULE

Preset = Literal["local", "cloud"]

# YAML writes lists, frozen models hold tuples: only the container is lax, its items stay strict.
Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(strict=False)]
Sizes = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Strict(strict=False)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
Entropy = Annotated[float, Field(ge=-100, le=100)]
Factor = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Delay = Annotated[int, Field(ge=0, le=20)]


def _low_to_high(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the low end is above the high end")
    return span


FactorSpan = Annotated[tuple[Factor, Factor], Strict(strict=False), AfterValidator(_low_to_high)]
DelaySpan = Annotated[tuple[Delay, Delay], Strict(strict=False), AfterValidator(_low_to_high)]


def setting(default: object, description: str, *, legal: str = "", **limits: Any) -> Any:  # noqa: ANN401 - any field
    """Declare one setting; limits are pydantic's (ge, gt, le, pattern, …), legal says them in words."""
    return Field(default=default, description=description, json_schema_extra={"legal": legal}, **limits)


class Section(BaseModel):
    """A group of settings; unknown keys, wrong types and later changes are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# training.envs.drivers_gap says why; settings are read without loading the simulator.
GAP_BEAMS = 20
FACTORS = "[low, high], numbers within 0 to 10"
TRACKS = "list of names (`python -m training tracks list`), generated-SEED, or paths of ROS map yamls"


class TrainingSettings(Section):
    """The run as a whole: how long, how often saved, on what."""

    training_type: Literal["sac", "sac_multiagent"] = setting(
        "sac", "one car, or num_agents that learn together"
    )
    preset: Preset = setting(
        "local", "settings to start from: minutes on a laptop, or a long run in the cloud"
    )
    run_name: str | None = setting(
        None,
        "name of the run and of its folder; null: made from the time",
        legal=RUN_NAME_RULE,
        pattern=RUN_NAME_PATTERN,
    )
    total_timesteps: int = setting(
        1_000_000, "decisions of each agent in the run, all environments together", ge=1, le=10_000_000_000
    )
    max_minutes: float | None = setting(
        None, "end the run after this much time, all attempts together; null: no limit", gt=0, le=100_000
    )
    save_frequency: int = setting(50_000, "timesteps between checkpoints", ge=1, le=1_000_000_000)
    save_interval_s: float = setting(
        300.0, "seconds between checkpoints, whichever comes first", ge=1, le=86_400
    )
    keep_checkpoints: int = setting(
        3, "newest checkpoints kept on this computer; in S3 all are, until you prune", ge=2, le=1000
    )
    milestone_frequency: int = setting(
        0, "timesteps between checkpoints that are kept for good; 0: none", ge=0, le=1_000_000_000
    )
    resume_unfinished: bool = setting(True, "continue the newest unfinished run that has the same settings")
    seed: int = setting(0, "seed of everything random", ge=0, le=4_294_967_295)
    num_agents: int = setting(2, "cars that learn together; sac has one whatever this says", ge=1, le=64)
    init_from: str | None = setting(
        None,
        "run whose newest networks the agents begin with; null: random ones",
        legal=RUN_NAME_RULE,
        pattern=RUN_NAME_PATTERN,
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "auto takes CUDA where there is an NVIDIA device"
    )
    report: bool = setting(True, "write the report with pictures and a film at the end, about 30 s")
    mixed_precision: bool = setting(
        False, "compute in bfloat16 where that is safe; for GPUs, unmeasured there"
    )


class RewardSettings(Section):
    """The reward, a sum of named terms; each is logged by its name."""

    progress: float = setting(1.0, "per metre driven forward along the centre line", ge=-1000, le=1000)
    trajectory: float = setting(0.0, "closeness to a pure-pursuit action, 0 to 1 a step", ge=-1000, le=1000)
    collision: float = setting(-5.0, "once, when it hits a wall or, by fault, a car", ge=-1000, le=1000)
    hit: float = setting(0.0, "when another car hits it without its fault", ge=-1000, le=1000)
    overtake: float = setting(0.0, "per place won in a race; a place lost costs it", ge=-1000, le=1000)
    steering_smoothness: float = setting(
        0.0, "per full change of steering between decisions (negative: smoother)", ge=-1000, le=1000
    )


class RandomisationSettings(Section):
    """The range a car is drawn from in each episode, low and high; equal ends switch it off."""

    friction_factor: FactorSpan = setting((1.0, 1.0), "times the tyres' friction coefficient", legal=FACTORS)
    mass_factor: FactorSpan = setting((1.0, 1.0), "times the car's mass and moment of inertia", legal=FACTORS)
    scan_noise_factor: FactorSpan = setting((1.0, 1.0), "times scan_noise_m", legal=FACTORS)
    steering_delay_steps: DelaySpan = setting(
        (2, 2),
        "simulator steps of 10 ms before a steering command acts",
        legal="[low, high], integers within 0 to 20",
    )


class RaceSettings(Section):
    """What holds where several cars share a track."""

    after_crash: Literal["out", "restart"] = setting(
        "out", "who crashes is out until the race begins anew, or starts again elsewhere"
    )
    victims_race_on: bool = setting(True, "a car hit without its fault races on; else it has crashed too")
    grid_spacing_m: float = setting(2.0, "from car to car on the starting grid", ge=1, le=50)


class EnvSettings(Section):
    """The car, the tracks, what it sees and what it is paid for."""

    backend: Literal["native", "f1tenth_gym"] = setting("native", "our simulator, or the f1tenth_gym package")
    profile: Literal["training", "f1tenth_gym"] = setting(
        "training", "physics: mended for learning, or equal to f1tenth_gym v1.0.0 in every quirk"
    )
    num_envs: int = setting(64, "environments that step together", ge=1, le=65_536)
    tracks: Texts = setting(
        tuple(f"generated-{seed}" for seed in range(1, 17)),
        "tracks to learn on",
        legal=f"{TRACKS}, not empty",
        min_length=1,
    )
    beams: int = setting(36, "lidar beams over 4.7 rad", ge=3, le=1080)
    scans_stacked: int = setting(2, "scans in an observation, the newest and those before it", ge=1, le=16)
    proprioception: bool = setting(True, "see steering angle, yaw rate and the previous action too")
    scan_range_m: float = setting(10.0, "scans are clipped to this and divided by it", ge=1, le=30)
    scan_noise_m: float = setting(0.0, "standard deviation of the lidar's noise", ge=0, le=1)
    action_repeat: int = setting(
        10, "simulator steps of 10 ms per decision: 10 is 10 Hz, 4 is 25 Hz", ge=1, le=100
    )
    speed_cap_mps: float = setting(8.0, "fastest speed that the policy can ask for", gt=0, le=20)
    min_speed_mps: float = setting(1.0, "slowest speed that the policy can ask for", ge=-5, le=20)
    max_episode_s: float = setting(
        60.0, "simulated seconds after which an episode is truncated", ge=1, le=3600
    )
    random_starts: bool = setting(
        True, "start anywhere on the track, a little off the line; else at its start"
    )
    friction_circle: bool = setting(False, "cap the tyres' combined force (profile training)")
    race: RaceSettings = RaceSettings()
    reward: RewardSettings = RewardSettings()
    randomisation: RandomisationSettings = RandomisationSettings()

    @model_validator(mode="after")
    def _speeds_are_ordered(self) -> EnvSettings:
        if self.min_speed_mps >= self.speed_cap_mps:
            message = (
                f"min_speed_mps = {self.min_speed_mps} must be below speed_cap_mps = {self.speed_cap_mps}"
            )
            raise ValueError(message)
        return self


class SacSettings(Section):
    """Soft actor-critic, by the names of stable-baselines3."""

    learning_rate: float = setting(1e-3, "step size of Adam, for actor, critics and entropy", gt=0, le=1)
    buffer_size: int = setting(
        1_000_000, "transitions that the replay buffer holds", ge=1_000, le=100_000_000
    )
    batch_size: int = setting(128, "transitions in one update", ge=1, le=65_536)
    gamma: float = setting(0.98, "discount per decision", ge=0, le=1)
    tau: float = setting(0.01, "share of the critics that their targets take over per update", gt=0, le=1)
    net_arch: Sizes = setting(
        (256, 256), "units of each hidden layer, actor and critics", min_length=1, max_length=8
    )
    learning_starts: int = setting(
        4_000,
        "timesteps before the first update: random driving, or the guide's with noise",
        ge=0,
        le=100_000_000,
    )
    train_freq: int = setting(1, "steps of all environments between rounds of updates", ge=1, le=10_000)
    gradient_steps: int = setting(8, "updates in a round", ge=1, le=10_000)
    ent_coef: Literal["auto"] | Entropy = setting("auto", "weight of the entropy; auto learns it")
    target_entropy: Literal["auto"] | Entropy = setting(
        -4.0, "entropy that ent_coef auto aims at; auto: -2, minus the number of actions"
    )
    average_tau: float = setting(
        0.005, "share of the newest policy in the averaged one, per update; that one is kept", gt=0, le=1
    )
    torch_threads: int = setting(1, "threads of torch on a CPU", ge=1, le=256)


class GuideSettings(Section):
    """A driver that knows the map and shows the policy the way at first; none: learn by trial and error alone."""

    driver: Literal["none", "pure_pursuit", "racing_line"] = setting("racing_line", "who shows the way")
    weight: float = setting(
        100.0, "of the squared distance from the guide's action in the actor's loss, at first", gt=0, le=1e6
    )
    timesteps: int = setting(40_000, "timesteps over which that weight falls to 0", ge=1, le=10_000_000_000)
    noise: float = setting(
        0.2, "standard deviation around the guide's actions before sac.learning_starts", ge=0, le=2
    )


class LeagueSettings(Section):
    """Who drives the cars that their agents leave to others; drawn by these shares at the start of each race."""

    live: Share = setting(0.25, "share of the agents themselves")
    pool: Share = setting(0.5, "share of frozen policies: earlier selves, and those of checkpoints")
    pure_pursuit: Share = setting(0.125, "share of pure pursuit, which sees no other car")
    follow_the_gap: Share = setting(0.125, "share of follow-the-gap, which needs env.beams of 20 or more")
    interval: int = setting(
        10_000, "timesteps between freezings of all agents, at first", ge=1, le=1_000_000_000
    )
    pool_size: int = setting(
        8, "freezings kept; when there are more, every second one goes and the interval doubles", ge=2, le=64
    )
    checkpoints: Texts = setting(
        (), "kept policies of other runs in the pool from the start", legal="list of RUN or RUN:AGENT"
    )

    @model_validator(mode="after")
    def _somebody_drives(self) -> LeagueSettings:
        if self.live + self.pool + self.pure_pursuit + self.follow_the_gap == 0:
            raise ValueError("live, pool, pure_pursuit and follow_the_gap are all 0: one must be more")
        return self


class MultiAgentSettings(Section):
    """How several cars learn; used where training_type is sac_multiagent."""

    mode: Literal["independent", "shared", "league"] = setting(
        "independent", "an agent for each car, one agent for all cars (self-play), or a league of opponents"
    )
    league: LeagueSettings = LeagueSettings()


class EvaluationSettings(Section):
    """Laps driven during and after training, without noise; the kept policy is chosen by them."""

    frequency: int = setting(
        10_000, "timesteps between evaluations; 0: only at the end", ge=0, le=1_000_000_000
    )
    interval_s: float = setting(
        0.0, "seconds between evaluations, whichever comes first; 0: by timesteps", ge=0, le=86_400
    )
    laps: int = setting(1, "laps driven from each start", ge=1, le=1000)
    starts: int = setting(10, "standing starts on each track", ge=1, le=1000)
    tracks: Texts = setting(
        ("generated-1001", "generated-1002"), "tracks that training never sees", legal=TRACKS
    )


class WandbSettings(Section):
    """Weights & Biases; a missing key is said once and stops nothing."""

    mode: Literal["disabled", "offline", "online"] = setting(
        "disabled", "send to the service, or write to disk only"
    )
    project: str = setting("f1tenth", "project on the service", min_length=1, max_length=128)
    entity: str | None = setting(None, "user or team on the service; null: the key's own", min_length=1)


class TensorboardSettings(Section):
    """TensorBoard event files, always written."""

    interval_s: float = setting(5.0, "seconds between points of the curves", ge=0.1, le=3600)
    graph: bool = setting(True, "write the networks' graph too")


class CloudwatchSettings(Section):
    """CloudWatch metrics, sent once a minute; each costs about $0.30 a month while it is sent."""

    enabled: bool = setting(False, "send; needs AWS credentials, a missing permission is said once")
    namespace: str | None = setting(
        None,
        "namespace of the metrics; null: aws.project_name",
        legal="letters, digits and ._/#:-",
        pattern=r"^[A-Za-z0-9._/#:-]{1,255}$",
    )
    metrics: Texts = setting(
        (
            "rollout/reward",
            "rollout/crash_rate",
            "evaluation/completed",
            "time/steps_per_s",
            "system/gpu_percent",
            "system/disk_free_gb",
        ),
        "curves that are sent, by their names in TensorBoard",
        legal="list of 1 to 6 names",
        min_length=1,
        max_length=6,
    )


class EndpointSettings(Section):
    """Addresses of the services; null: Amazon's. For S3-compatible stores and for rehearsals."""

    s3: Url | None = setting(None, "object store")
    ec2: Url | None = setting(None, "machines, fleets, prices of spot capacity")
    iam: Url | None = setting(None, "roles and profiles")
    sts: Url | None = setting(None, "who am I")
    ssm: Url | None = setting(None, "parameters: base image, keys")
    logs: Url | None = setting(None, "CloudWatch logs")
    cloudwatch: Url | None = setting(None, "CloudWatch metrics")
    pricing: Url | None = setting(None, "on-demand prices")
    quotas: Url | None = setting(None, "service quotas")


class AwsSettings(Section):
    """Where and on what a run in the cloud happens, and what it may cost. Used only with CLOUD=aws."""

    aws_region: str = setting(
        "us-east-2",
        "region; prices differ by three times between regions",
        legal="name of a region, as us-east-2",
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$",
    )
    availability_zones: Texts = setting((), "zones to use; empty: all of the region")
    instance_types: Texts = setting(
        ("g4dn.xlarge", "g5.xlarge", "g6.xlarge"), "types that may be taken", min_length=1
    )
    key_pair_name: str | None = setting(
        None, "EC2 key pair for SSH; null: Session Manager only", min_length=1
    )
    project_name: str = setting(
        "f1tenth",
        "in the name and tags of all that is made",
        legal="1 to 20 of a-z, 0-9 and -, neither first nor last a -",
        pattern=r"^[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?$",
    )
    s3_bucket_name: str | None = setting(
        None,
        "bucket; null: <project>-<account>-<region>",
        legal="3 to 63 of a-z, 0-9, . and -, first and last no sign | null",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
    )
    s3_transfer_acceleration: bool = setting(
        False, "upload through the nearest edge; costs $0.04 per GB more"
    )
    volume_size_gb: int = setting(50, "disk of the instance", ge=20, le=16_384)
    vpc_id: str | None = setting(
        None, "network; null: the default one", legal="vpc-… | null", pattern=r"^vpc-[0-9a-f]{8,17}$"
    )
    subnet_ids: Texts = setting((), "subnets; empty: one of each zone")
    open_ports_to: str = setting(
        "none",
        "who reaches ports 22 and 6006",
        legal="none | my-ip | one IPv4 address",
        pattern=r"^(none|my-ip|[0-9]{1,3}([.][0-9]{1,3}){3})$",
    )
    max_hours: float = setting(6.0, "the fleet ends after this, whatever happens", gt=0, le=720)
    max_cost_usd: float = setting(
        5.0, "the fleet ends before it can cost more, storage aside", gt=0, le=100_000
    )
    endpoints: EndpointSettings = EndpointSettings()


class Config(Section):
    """All settings of a run."""

    training: TrainingSettings = TrainingSettings()
    env: EnvSettings = EnvSettings()
    sac: SacSettings = SacSettings()
    guide: GuideSettings = GuideSettings()
    multi_agent: MultiAgentSettings = MultiAgentSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    wandb: WandbSettings = WandbSettings()
    tensorboard: TensorboardSettings = TensorboardSettings()
    cloudwatch: CloudwatchSettings = CloudwatchSettings()
    aws: AwsSettings = AwsSettings()

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        if self.sac.batch_size > self.sac.buffer_size:
            raise ValueError(
                f"sac.batch_size = {self.sac.batch_size} exceeds buffer_size = {self.sac.buffer_size}"
            )
        league = self.multi_agent.league
        gap = self.num_cars > 1 and self.multi_agent.mode == "league" and league.follow_the_gap > 0
        if gap and self.env.beams < GAP_BEAMS:
            raise ValueError(
                f"multi_agent.league.follow_the_gap = {league.follow_the_gap} needs env.beams of {GAP_BEAMS} "
                f"or more, not {self.env.beams}"
            )
        return self

    @property
    def num_cars(self) -> int:
        """Return the cars in each environment: one, unless they learn together."""
        return self.training.num_agents if self.training.training_type == "sac_multiagent" else 1

    @property
    def num_agents(self) -> int:
        """Return the agents that learn: one for each car, or one for all."""
        return 1 if self.multi_agent.mode == "shared" else self.num_cars

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `from_json_dict` reads back to an equal object."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json_dict(cls, data: Mapping[str, object], where: str = "config.json") -> Config:
        """Read what `to_json_dict` wrote. ConfigurationError names the key where it does not fit."""
        return _validated(flatten(cls, data, where))


# What a preset changes; a config file and --set win over it.
PRESETS: Mapping[Preset, Mapping[str, object]] = {
    "local": {
        "training.total_timesteps": 300_000,
        "training.max_minutes": 2.0,
        "sac.net_arch": [100, 100],
    },
    "cloud": {},
}


def load_config(path: Path | None, overrides: Sequence[str] = (), preset: Preset | None = None) -> Config:
    """Return the settings: defaults, then the preset, then the file, then the overrides (`a.b=value`).

    The preset is the argument, or else what the overrides or the file name, or else local.
    ConfigurationError lists every key that is unknown, of the wrong type or out of range.
    """
    given: Leaves = {} if path is None else flatten(Config, read_settings_file(path), str(path))
    for override in overrides:
        key, value = parse_override(override)
        given |= flatten(Config, {key: value}, "--set")
    if preset is not None:
        given["training.preset"] = Given(preset, "--preset")
    named = given["training.preset"].value if "training.preset" in given else TrainingSettings().preset
    overlay = next((values for name, values in PRESETS.items() if name == named), {})
    return _validated(flatten(Config, overlay, f"preset {named}") | given)


# What may change when a run goes on: how long, how often saved and looked at, where shown. The rest is the run itself.
CHANGEABLE = (
    "training.total_timesteps",
    "training.max_minutes",
    "training.save_frequency",
    "training.save_interval_s",
    "training.keep_checkpoints",
    "training.milestone_frequency",
    "training.device",
    "training.report",
    "evaluation.",
    "wandb.",
    "tensorboard.",
    "cloudwatch.",
    "aws.",
)


def changed(config: Config, overrides: Sequence[str], run: str = "RUN") -> Config:
    """Return a run's own settings with `a.b=value` applied, for a run that goes on; run: its name, for the message.

    ConfigurationError for a key that would make it another run.
    """
    given = flatten(Config, config.to_json_dict(), "config.json")
    for override in overrides:
        key, value = parse_override(override)
        if not key.startswith(CHANGEABLE):
            raise ConfigurationError(
                f"--set {override}: {key} cannot change while a run goes on",
                next_step=f"Begin a new run with these networks: python -m training train --init-from {run} "
                f"--set {override}\nOr change only: {', '.join(CHANGEABLE)}",
            )
        given |= flatten(Config, {key: value}, "--set")
    return _validated(given)


def _validated(leaves: Leaves) -> Config:
    try:
        return Config.model_validate(nested(leaves))
    except ValidationError as error:
        raise ConfigurationError(explain(Config, error, leaves)) from None
