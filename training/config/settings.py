"""The settings of a run: typed, strict, frozen. config.example.yaml is written from these files.

A new setting is one line: a field with its default, its description and its legal range. The example file, the checks,
the error messages and `--set` follow from it. The settings of the environment are in config/env.py, those of learning
in config/learning.py, those of the cloud in config/aws.py; all others, and the whole, are here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError, model_validator

from ..errors import ConfigurationError
from ..layout import RUN_NAME_PATTERN, RUN_NAME_RULE
from .aws import AwsSettings, CloudwatchSettings, EndpointSettings
from .env import EnvSettings, RaceSettings, RewardSettings
from .expand import expanded, with_decay
from .fields import TRACKS, Section, Texts, setting
from .learning import (
    GAP_BEAMS,
    ImitationSettings,
    LeagueSettings,
    MultiAgentSettings,
    SacSettings,
)
from .randomisation import RandomisationSettings
from .text import Given, Leaves, explain, flatten, nested, parse_override, read_settings_file, walk

__all__ = [
    "DEFAULT_FILE",
    "PRESETS",
    "AwsSettings",
    "CloudwatchSettings",
    "Config",
    "EndpointSettings",
    "EnvSettings",
    "EvaluationSettings",
    "ImitationSettings",
    "LeagueSettings",
    "MultiAgentSettings",
    "PolicySources",
    "Preset",
    "RaceSettings",
    "RandomisationSettings",
    "RewardSettings",
    "SacSettings",
    "TensorboardSettings",
    "TrainingSettings",
    "WandbSettings",
    "load_config",
    "settings_file",
    "validated",
]

Preset = Literal["local", "cloud"]


class TrainingSettings(Section):
    """The run as a whole: how long, how often saved, on what."""

    training_type: Literal["sac", "sac_multiagent"] = setting(
        "sac", "one car, or num_agents that learn together"
    )
    preset: Preset = setting(
        "local",
        "settings to start from: the three minutes of make train, or a longer run with wider networks",
    )
    run_name: str | None = setting(
        None,
        "name of the run and of its folder; null: a timestamp",
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
        "run whose newest networks initialise the agents; imitation.expert is then none unless set; null: random",
        legal=RUN_NAME_RULE,
        pattern=RUN_NAME_PATTERN,
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "auto takes CUDA where there is an NVIDIA device"
    )
    report: bool = setting(
        True,
        "write the report with pictures and a film at the end, about 30 s; minutes with dozens of agents",
    )
    mixed_precision: bool = setting(
        False, "compute in bfloat16 where that is safe; gains nothing on an H100, for comparisons"
    )


class EvaluationSettings(Section):
    """Laps driven during and after training, without noise; the kept policy is chosen by them."""

    frequency: int = setting(
        10_000, "timesteps between evaluations; 0: only at the end", ge=0, le=1_000_000_000
    )
    laps: int = setting(1, "laps driven from each start", ge=1, le=1000)
    starts: int = setting(10, "standing starts on each track", ge=1, le=1000)
    tracks: Texts = setting(
        ("generated-1001", "generated-1002", "generated-1003-r0.7"),
        "tracks that training never sees",
        legal=TRACKS,
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
    graph: bool = setting(True, "draw the networks' graph too, at the end of a finished run")


class PolicySources(NamedTuple):
    """What a new run takes over from other runs, and what their policies must fit."""

    init_from: str | None  # the run whose networks the agents begin with
    opponents: tuple[str, ...]  # policies in the pool of the league
    env: EnvSettings  # of the new run
    actor_sizes: tuple[int, ...]  # the same

    @property
    def any(self) -> bool:
        """Tell whether there is anything to take over."""
        return self.init_from is not None or bool(self.opponents)


class Config(Section):
    """All settings of a run."""

    training: TrainingSettings = TrainingSettings()
    env: EnvSettings = EnvSettings()
    sac: SacSettings = SacSettings()
    imitation: ImitationSettings = ImitationSettings()
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
        gap = self.has_league and league.follow_the_gap > 0
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
        chosen = self.multi_agent
        shared = chosen.mode == "shared" or (chosen.mode == "league" and chosen.league.shared_policy)
        return 1 if shared else self.num_cars

    @property
    def has_league(self) -> bool:
        """Tell whether some cars are driven by others than the agents."""
        return self.multi_agent.mode == "league" and self.num_cars > 1

    @property
    def actor_sizes(self) -> list[int]:
        """Return the widths of an actor, from observation to outputs: mean and deviation of steering and speed."""
        return [self.env.observation_size, *self.sac.net_arch, 4]

    @property
    def by_key(self) -> dict[str, object]:
        """Return the value of each setting, by its dotted key."""
        return {key: reduce(getattr, key.split("."), self) for key, _ in walk(Config)}

    @property
    def tracks_by_setting(self) -> dict[str, tuple[str, ...]]:
        """Return the tracks that each setting names, by the setting's key."""
        return {"env.tracks": self.env.tracks, "evaluation.tracks": self.evaluation.tracks}

    @property
    def all_tracks(self) -> tuple[str, ...]:
        """Return the tracks to learn on and those to be tested on, each once."""
        return tuple(dict.fromkeys(name for names in self.tracks_by_setting.values() for name in names))

    def with_tracks(self, renamed: Mapping[str, str]) -> Config:
        """Return the settings with some tracks called by other names."""
        groups = {
            name: group.model_copy(update={"tracks": tuple(renamed.get(one, one) for one in group.tracks)})
            for name, group in (("env", self.env), ("evaluation", self.evaluation))
        }
        return self.model_copy(update=groups)

    @property
    def policy_sources(self) -> PolicySources:
        """Return what a run takes over from other runs."""
        opponents = self.multi_agent.league.checkpoints if self.has_league else ()
        return PolicySources(self.training.init_from, opponents, self.env, tuple(self.actor_sizes))

    @property
    def experiment(self) -> dict[str, Any]:
        """Return what makes two runs the same experiment, as JSON data: everything but how long it may take."""
        data = self.to_json_dict()
        for key in ("total_timesteps", "max_minutes", "run_name"):
            data["training"].pop(key)
        return data

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `from_json_dict` reads back to an equal object."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json_dict(cls, data: Mapping[str, object], where: str = "config.json") -> Config:
        """Read what `to_json_dict` wrote, now or before. Raises ConfigurationError with the key that does not fit."""
        kept = {
            group: {k: v for k, v in part.items() if f"{group}.{k}" not in RETIRED}
            if isinstance(part, Mapping)
            else part
            for group, part in data.items()
        }
        before = {key: Given(value, where) for key, value in ALWAYS_BEFORE.items()}
        return validated({**before, **flatten(cls, kept, where)})


# Settings that older runs have in their config.json, and that nothing reads any more: such a run can still resume.
RETIRED = ("evaluation.interval_s",)
# Behaviour of older runs that their config.json does not name and whose default has changed since: a resumed run keeps
# it.
ALWAYS_BEFORE: Mapping[str, object] = {
    "env.race.grid": "single_file",
    "env.solid_thin_walls": False,
    "env.tyres": "linear",
    "sac.learning_rate_end": None,
    "imitation.only_tracks_it_laps": False,
}

DEFAULT_FILE = Path("config.yaml")

# The settings that a preset changes; a config file and --set override it. They do not depend on where a run trains:
# docs/adr/0015.
PRESETS: Mapping[Preset, Mapping[str, object]] = {
    "local": {
        "training.total_timesteps": 600_000,
        "training.max_minutes": 3.0,
        "sac.net_arch": [100, 100],
    },
    "cloud": {},
}


def settings_file(path: Path | None) -> Path | None:
    """Return the settings file that applies if the command line names this one, or none."""
    return DEFAULT_FILE if path is None and DEFAULT_FILE.exists() else path


def load_config(path: Path | None, overrides: Sequence[str] = (), preset: Preset | None = None) -> Config:
    """Return the settings: defaults, then the preset, then the file, then the overrides (`a.b=value`).

    The preset is the argument, or else what the overrides or the file name, or else local. A run that begins with
    another one's networks imitates no expert unless a setting of the group imitation is given.
    ConfigurationError lists every key that is unknown, of the wrong type or out of range. A former name of a setting
    is taken, with a line on stderr that names today's.
    """

    def tell(former: str, key: str) -> None:
        print(f"note: the setting {former} is called {key} now", file=sys.stderr)  # noqa: T201 - for the user

    given: Leaves = {} if path is None else flatten(Config, read_settings_file(path), str(path), tell)
    for override in overrides:
        key, value = parse_override(override)
        given |= flatten(Config, {key: value}, "--set", tell)
    if preset is not None:
        given["training.preset"] = Given(preset, "--preset")
    begins = given.get("training.init_from")
    if (
        begins is not None
        and begins.value is not None
        and not any(key.startswith("imitation.") for key in given)
    ):
        # A policy that can drive would be pulled back to the expert's way.
        given["imitation.expert"] = Given("none", "training.init_from")
    named = given["training.preset"].value if "training.preset" in given else TrainingSettings().preset
    overlay = next((values for name, values in PRESETS.items() if name == named), {})
    return validated(with_decay(expanded(flatten(Config, overlay, f"preset {named}") | given)))


def validated(leaves: Leaves) -> Config:
    """Return the settings that some leaves name, the rest by default. ConfigurationError lists all that do not fit."""
    try:
        return Config.model_validate(nested(leaves))
    except ValidationError as error:
        raise ConfigurationError(explain(Config, error, leaves)) from None
