"""The settings of a run: typed, strict, frozen. config.example.yaml is written from these files.

A new setting is one line: a field with its default, its description and its legal range. The example file,
the checks, the error messages and `--set` follow from it. What drives is in config_env.py, what learns in
config_learning.py, the cloud in config_aws.py; all else, and the whole, is here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from training.config_aws import AwsSettings, CloudwatchSettings, EndpointSettings
from training.config_env import EnvSettings, RaceSettings, RandomisationSettings, RewardSettings
from training.config_fields import TRACKS, Section, Texts, setting
from training.config_learning import GAP_BEAMS, GuideSettings, LeagueSettings, MultiAgentSettings, SacSettings
from training.config_text import Given, Leaves, explain, flatten, nested, parse_override, read_settings_file
from training.errors import ConfigurationError
from training.layout import RUN_NAME_PATTERN, RUN_NAME_RULE

__all__ = [
    "CHANGEABLE",
    "PRESETS",
    "AwsSettings",
    "CloudwatchSettings",
    "Config",
    "EndpointSettings",
    "EnvSettings",
    "EvaluationSettings",
    "GuideSettings",
    "LeagueSettings",
    "MultiAgentSettings",
    "Preset",
    "RaceSettings",
    "RandomisationSettings",
    "RewardSettings",
    "SacSettings",
    "TensorboardSettings",
    "TrainingSettings",
    "WandbSettings",
    "changed",
    "load_config",
]

Preset = Literal["local", "cloud"]


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
        "run whose newest networks the agents begin with, without a guide unless one is set; null: random ones",
        legal=RUN_NAME_RULE,
        pattern=RUN_NAME_PATTERN,
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "auto takes CUDA where there is an NVIDIA device"
    )
    report: bool = setting(True, "write the report with pictures and a film at the end, about 30 s")
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
        shared = chosen.mode == "shared" or (chosen.mode == "league" and chosen.league.one_agent)
        return 1 if shared else self.num_cars

    @property
    def has_league(self) -> bool:
        """Tell whether some cars are driven by others than the agents."""
        return self.multi_agent.mode == "league" and self.num_cars > 1

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `from_json_dict` reads back to an equal object."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json_dict(cls, data: Mapping[str, object], where: str = "config.json") -> Config:
        """Read what `to_json_dict` wrote, now or before. ConfigurationError names the key where it does not fit."""
        kept = {
            group: {k: v for k, v in part.items() if f"{group}.{k}" not in RETIRED}
            if isinstance(part, Mapping)
            else part
            for group, part in data.items()
        }
        before = {key: Given(value, where) for key, value in ALWAYS_BEFORE.items()}
        return _validated({**before, **flatten(cls, kept, where)})


# Settings that runs of before have in their config.json, and that nothing reads any more: such a run goes on.
RETIRED = ("evaluation.interval_s",)
# What runs of before did that their config.json does not name, where the default of today is another: they go on so.
ALWAYS_BEFORE: Mapping[str, object] = {"env.race.grid": "single_file"}

# What a preset changes; a config file and --set win over it.
PRESETS: Mapping[Preset, Mapping[str, object]] = {
    "local": {
        "training.total_timesteps": 300_000,
        "training.max_minutes": 2.0,
        "sac.net_arch": [100, 100],
    },
    "cloud": {},
}


NOTHING = Given(None, "nowhere")


def load_config(path: Path | None, overrides: Sequence[str] = (), preset: Preset | None = None) -> Config:
    """Return the settings: defaults, then the preset, then the file, then the overrides (`a.b=value`).

    The preset is the argument, or else what the overrides or the file name, or else local. A run that begins with
    another one's networks has no guide unless one is named.
    ConfigurationError lists every key that is unknown, of the wrong type or out of range.
    """
    given: Leaves = {} if path is None else flatten(Config, read_settings_file(path), str(path))
    for override in overrides:
        key, value = parse_override(override)
        given |= flatten(Config, {key: value}, "--set")
    if preset is not None:
        given["training.preset"] = Given(preset, "--preset")
    # Who has learnt to drive would be pulled back to the guide's way.
    if given.get("training.init_from", NOTHING).value is not None:
        given.setdefault("guide.driver", Given("none", "training.init_from"))
    named = given["training.preset"].value if "training.preset" in given else TrainingSettings().preset
    overlay = next((values for name, values in PRESETS.items() if name == named), {})
    return _validated(flatten(Config, overlay, f"preset {named}") | given)


def check_used(config: Config) -> None:
    """Refuse settings of several cars that would do nothing; for a run that begins: one that has begun goes on.

    ConfigurationError names the setting, and what it needs.
    """
    if config.training.training_type != "sac_multiagent":
        return
    mode, league, race = config.multi_agent.mode, config.multi_agent.league, config.env.race
    if mode == "league" and config.num_cars == 1:
        raise ConfigurationError(
            "multi_agent.mode = league needs training.num_agents of 2 or more, not 1",
            next_step="For one agent in all cars: --set training.num_agents=2 --set multi_agent.league.one_agent=true",
        )
    for name in ("champions", "one_agent", "checkpoints"):
        value = getattr(league, name)
        if value and mode != "league":
            told = "true" if value is True else list(value)
            raise ConfigurationError(
                f"multi_agent.league.{name} = {told} has no effect with multi_agent.mode = {mode}",
                next_step="Add --set multi_agent.mode=league, or leave it out.",
            )
    if not race.contact_ends and not race.victims_race_on:
        raise ConfigurationError(
            "env.race.victims_race_on = false with env.race.contact_ends = false would end the race of who is hit and "
            "let go on who drove into it",
            next_step="Leave one of them at true.",
        )


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

    ConfigurationError for a key that would make it another run; one that is given as it is changes nothing.
    """
    own = flatten(Config, config.to_json_dict(), "config.json")
    given = dict(own)
    for override in overrides:
        key, value = parse_override(override)
        leaves = flatten(Config, {key: value}, "--set")
        if not key.startswith(CHANGEABLE) and _validated(own | leaves) != config:
            begin, options = _new_run(config, key, run)
            raise ConfigurationError(
                f"--set {override}: {key} cannot change while a run goes on",
                next_step=f"{begin}: python -m training train {options}--set {shlex.quote(override)}\n"
                f"Or change only: {', '.join(CHANGEABLE)}",
            )
        given |= leaves
    return _validated(given)


def unread(file: Path, given: Config, own: Config) -> str:
    """Say what of a settings file a run that goes on does not take, "" if nothing: it brings its own settings.

    given: the settings with that file; those of aws are read from it, for they say how to reach the store.
    """
    theirs, ours = (flatten(Config, one.to_json_dict(), "") for one in (given, own))
    keys = [key for key in flatten(Config, read_settings_file(file), str(file)) if not key.startswith("aws.")]
    other = [
        f"{key} = {_in_text(theirs[key].value)}, here {_in_text(ours[key].value)}"
        for key in keys
        if theirs[key].value != ours[key].value
    ]
    return f"not taken from {file}, as a run brings its own settings: {'; '.join(other)}" if other else ""


# What decides the shape of the networks; a league of few beams is legal only without follow-the-gap.
_SHAPE = ("env.beams", "env.scans_stacked", "env.proprioception", "sac.net_arch")
_AGENTS = (
    "training.num_agents",
    "multi_agent.mode",
    "multi_agent.league.one_agent",
    "multi_agent.league.follow_the_gap",
)


def _new_run(config: Config, but: str, run: str) -> tuple[str, str]:
    """Return in words and in options how a new run begins with a run's networks, or without if it changes their shape.

    Its agents are of the same kind and shape; but: the key that changes.
    """
    same = _same_networks(config, but)
    if but in _SHAPE:
        return "Begin a new run, with networks of another shape", same
    return "Begin a new run with these networks", f"--init-from {run} {same}"


def _same_networks(config: Config, but: str) -> str:
    """Return the options with which a new run has agents of the same kind and shape, leaving one key out."""
    preset, kind = config.training.preset, config.training.training_type
    own, usual = (flatten(Config, c.to_json_dict(), "") for c in (config, load_config(None, (), preset)))
    keys = ("training.training_type", *(_AGENTS if kind == "sac_multiagent" else ()), *_SHAPE)
    told = [f"{key}={_in_text(own[key].value)}" for key in keys if own[key] != usual[key] and key != but]
    options = "" if preset == TrainingSettings().preset else f"--preset {preset} "
    return options + "".join(f"--set {shlex.quote(setting)} " for setting in told)


def _in_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _validated(leaves: Leaves) -> Config:
    try:
        return Config.model_validate(nested(leaves))
    except ValidationError as error:
        raise ConfigurationError(explain(Config, error, leaves)) from None
