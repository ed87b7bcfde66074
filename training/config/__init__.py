"""Every setting: its default, its meaning, its legal range; how settings are read, checked and changed."""

from .aws import AwsSettings, EndpointSettings
from .env import EnvSettings, RaceSettings, RewardSettings
from .learning import SacSettings
from .settings import (
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
