"""Every setting: its default, its meaning, its legal range; how settings are read, checked and changed."""

from .aws import AwsSettings, CloudwatchSettings, EndpointSettings
from .env import EnvSettings, RaceSettings, RewardSettings
from .learning import ImitationSettings, LeagueSettings, SacSettings
from .settings import (
    DEFAULT_FILE,
    PRESETS,
    Config,
    EvaluationSettings,
    PolicySources,
    Preset,
    TrainingSettings,
    WandbSettings,
    load_config,
    settings_file,
    validated,
)

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
    "PolicySources",
    "Preset",
    "RaceSettings",
    "RewardSettings",
    "SacSettings",
    "TrainingSettings",
    "WandbSettings",
    "load_config",
    "settings_file",
    "validated",
]
