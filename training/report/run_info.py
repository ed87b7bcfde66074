"""The parts of a report besides the laps: settings, versions, time, and the commands that repeat the run."""

from __future__ import annotations

import platform
import shlex
from typing import TYPE_CHECKING, NamedTuple

import yaml

from ..config import Config, load_config
from ..config.text import walk
from ..process import program
from .tables import duration

if TYPE_CHECKING:
    from ..evaluation.load_run import LoadedRun

# Settings of where a run happened and where it was watched: they are no part of the result, and a report must not pass
# them on.
LEFT_OUT = ("aws", "wandb", "tensorboard", "cloudwatch")


class Setting(NamedTuple):
    """A setting as the settings file would show it."""

    key: str
    value: str
    default: str
    description: str


def settings_of(config: Config) -> tuple[list[Setting], list[Setting]]:
    """Return the settings that differ from their defaults, and the others."""
    changed, unchanged = [], []
    values, defaults = config.by_key, Config().by_key
    for key, field in walk(Config):
        if key.split(".")[0] in LEFT_OUT:
            continue
        value, default = values[key], defaults[key]
        row = Setting(key, as_yaml(value), as_yaml(default), field.description or "")
        (unchanged if value == default else changed).append(row)
    return changed, unchanged


def repeating_commands(loaded: LoadedRun) -> str:
    """Return the commands that train the same again, evaluate this run, and write this report."""
    config, python = loaded.config, program.COMMAND
    preset, ancestor = config.training.preset, config.training.init_from
    values, usual = config.by_key, load_config(None, preset=preset).by_key
    words = [f"{python} train --preset {preset}"]
    for key, _ in walk(Config):
        own_name = key == "training.run_name"  # taken by the run itself
        # Its default hangs on whether the run begins with the networks of another.
        always = key == "imitation.expert" and ancestor is not None
        left_out = values[key] == usual[key] and not always
        if key.split(".")[0] in LEFT_OUT or own_name or left_out:
            continue
        words.append("--set " + shlex.quote(f"{key}={as_yaml(values[key])}"))
    train = " \\\n    ".join(words)
    return f"{train}\n{python} evaluate {loaded.run}\n{python} report {loaded.run}"


def repeating_note(loaded: LoadedRun) -> str:
    """Return what to know before repeating a run."""
    note = "From the same version of the project, without a config.yaml of your own."
    if loaded.config.training.max_minutes is None:
        return note
    return (
        f"{note} The limit in minutes ends a run wherever the machine has got to; this one came to "
        f"{loaded.step:,} timesteps."
    )


def facts_of(loaded: LoadedRun) -> list[tuple[str, str]]:
    """Return how long the run took and what it ran on, as names and values."""
    meta = loaded.meta
    facts = [("timesteps", f"{loaded.step:,}"), ("kept policy", f"of timestep {loaded.kept_step:,}")]
    seconds = meta.get("elapsed_s")
    if isinstance(seconds, (int, float)) and seconds > 0:
        facts.append(("time of training", f"{duration(seconds)} ({loaded.step / seconds:,.0f} timesteps/s)"))
    if isinstance(laps := meta.get("laps"), int):
        facts.append(("laps driven while learning", f"{laps:,}"))
    for group in ("machine", "versions"):
        found = meta.get(group)
        if isinstance(found, dict):
            facts += [(name.replace("_", " "), str(value)) for name, value in found.items()]
    facts.append(("report written with", f"Python {platform.python_version()}, {platform.system()}"))
    return facts


def as_yaml(value: object) -> str:
    """Return a setting's value as a settings file has it, in one line."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
