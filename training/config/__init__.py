"""Every setting: its default, its meaning, its legal range; how settings are read, checked and changed."""

from training.config.aws import AwsSettings, EndpointSettings
from training.config.env import EnvSettings, RaceSettings, RewardSettings
from training.config.learning import SacSettings
from training.config.settings import (
    DEFAULT_FILE,
    PRESETS,
    Config,
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
    "Config",
    "EndpointSettings",
    "EnvSettings",
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
