"""Settings across runs: what a new run may not ask for, what a resumed run may change, and what it ignores."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from .expand import expanded, with_decay, without_replaced
from .settings import Config, TrainingSettings, load_config, validated
from .text import Leaves, flatten, parse_override, read_settings_file

LIMITS = ("training.total_timesteps", "training.max_minutes")
# Settings that may change when a run resumes: how long it trains, how often it saves and evaluates, where it is shown.
# All others define the run itself.
CHANGEABLE = (
    *LIMITS,
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


# Settings that may also change when a new run continues from a checkpoint of another one, with its replay buffer and
# optimizers.
FORKABLE = (
    *CHANGEABLE,
    "training.run_name",
    "training.resume_unfinished",
    "sac.learning_rate",
    "sac.learning_rate_end",
    "sac.lr_decay_start",
    "sac.lr_decay_timesteps",
    "sac.batch_size",
    "sac.gamma",
    "sac.n_steps",
    "sac.tau",
    "sac.learning_starts",
    "sac.train_freq",
    "sac.gradient_steps",
    "sac.target_entropy",
    "sac.policy_ema_tau",
    "sac.update_backend",
    "sac.torch_threads",
    "imitation.coef",
    "imitation.timesteps",
    "imitation.noise",
    "env.reward.",
)
# The reasons why other settings may not change, by the beginning of their key; the first match is shown.
_KEPT = {
    "sac.net_arch": "the networks keep their shape",
    "sac.buffer_size": "the replay buffer keeps its rows",
    "env.num_envs": "the replay buffer keeps its rows, one for each environment",
    "sac.ent_coef": "the weight of the entropy continues from its present value",
    "imitation.expert": "each transition in the replay buffer holds what the expert would have done, or none does",
    "env.": "the transitions in the replay buffer keep their meaning: observation, action, physics, tracks and races",
    "training.seed": "the random numbers continue from their present state",
    "training.": "the agents stay who they are",
    "multi_agent.": "the agents and their opponents stay who they are",
}


# --- a run that begins ---
def check_league(config: Config) -> None:
    """Refuse league settings in a run of several cars without a league, and contradictory rules of contact.

    Only a new run is checked: one that began with such settings continues. ConfigurationError names the setting and
    what it needs.
    """
    if config.training.training_type != "sac_multiagent":
        return
    mode, league, race = config.multi_agent.mode, config.multi_agent.league, config.env.race
    if mode == "league" and config.num_cars == 1:
        raise ConfigurationError(
            "multi_agent.mode = league needs training.num_agents of 2 or more, not 1",
            next_step="For one agent in all cars: "
            "--set training.num_agents=2 --set multi_agent.league.shared_policy=true",
        )
    for name in ("champions", "shared_policy", "checkpoints"):
        value = getattr(league, name)
        if value and mode != "league":
            raise ConfigurationError(
                f"multi_agent.league.{name} = {_in_text(value)} has no effect with multi_agent.mode = {mode}",
                next_step="Add --set multi_agent.mode=league, or leave it out.",
            )
    if config.num_cars > 1 and not race.terminate_at_fault_contact and not race.hit_cars_continue:
        raise ConfigurationError(
            "env.race.hit_cars_continue = false with env.race.terminate_at_fault_contact = false would end the episode "
            "of the car that is hit, not that of the car at fault",
            next_step="Leave one of them at true.",
        )


# --- a run that resumes ---
def changed(config: Config, overrides: Sequence[str], run: str = "RUN") -> Config:
    """Return a run's own settings with `a.b=value` applied, for a run that resumes; run: its name, for the message.

    Raises ConfigurationError for a key that would make it another run; a key with its present value changes nothing.
    """
    result, last = _applied(config, overrides)
    for key in differences(config, result):
        if key not in last or _is_one_of(key, CHANGEABLE):
            continue
        begin, options = _new_run(config, key, run)
        fork = (
            f"Or continue in a new run, with replay buffer and optimizers: python -m training train --fork {run} "
            f"--name NEW --set {shlex.quote(last[key])}\n"
            if _is_one_of(key, FORKABLE)
            else ""
        )
        raise ConfigurationError(
            f"--set {last[key]}: {key} cannot change when a run continues",
            next_step=f"{begin}: python -m training train {options}--set {shlex.quote(last[key])}\n"
            f"{fork}Or change only: {', '.join(CHANGEABLE)}",
        )
    return result


def forked(config: Config, overrides: Sequence[str], run: str) -> Config:
    """Return the settings of a new run that continues from another run's checkpoint; config: that run's settings.

    Raises ConfigurationError, with the reason, for a key that must keep its value because of what is taken over.
    """
    result, last = _applied(config, overrides)
    for key in differences(config, result):
        if key not in last or _is_one_of(key, FORKABLE):
            continue
        why = next(
            (reason for begin, reason in _KEPT.items() if key.startswith(begin)), "it is the run itself"
        )
        begin, options = _new_run(config, key, run)
        raise ConfigurationError(
            f"--set {last[key]}: {key} cannot change in a fork: {why}",
            next_step=f"{begin}: python -m training train {options}--set {shlex.quote(last[key])}\n"
            f"Or change only: {', '.join(FORKABLE)}",
        )
    return result


def differences(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Return each setting in which two runs differ, with both values."""
    old, new = (flatten(Config, one.to_json_dict(), "") for one in (before, after))
    return {
        key: (old[key].value if key in old else None, value.value)
        for key, value in new.items()
        if key not in old or old[key] != value
    }


def _applied(config: Config, overrides: Sequence[str]) -> tuple[Config, dict[str, str]]:
    """Return settings with overrides, and the override of each setting that one names."""
    own = flatten(Config, config.to_json_dict(), "config.json")
    last: dict[str, str] = {}
    given: Leaves = {}
    for override in overrides:
        key, value = parse_override(override)
        leaves = flatten(Config, {key: value}, "--set")
        given |= leaves
        last |= dict.fromkeys(leaves, override)
    changes = expanded(given)
    if config.sac.learning_rate_end is not None:  # null in a run of before: it stays
        changes = with_decay(changes)
    return validated({**without_replaced(own, given), **changes}), last


def _is_one_of(key: str, names: Sequence[str]) -> bool:
    """Tell whether a setting is one of these, or of a group that ends with a point."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in names)


class SettingsFile(NamedTuple):
    """A settings file, and the keys that it names."""

    path: Path
    keys: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Read the file. Raises ConfigurationError if it cannot be read."""
        return cls(path, tuple(flatten(Config, read_settings_file(path), str(path))))

    def limits(self, given: Config) -> list[str]:
        """Return how long a run may take, as overrides, as far as the file says it; given: the settings with it."""
        theirs = flatten(Config, given.to_json_dict(), "")
        return [f"{key}={_in_text(theirs[key].value)}" for key in LIMITS if key in self.keys]

    def left_aside(self, given: Config, own: Config) -> str:
        """Say which of its settings a resumed run ignores, because it has its own; "" if there are none.

        given: the settings with this file. Those of aws are read from it: they say how to reach the store.
        """
        theirs, ours = (flatten(Config, one.to_json_dict(), "") for one in (given, own))
        other = []
        for key in self.keys:
            value = _in_text(theirs[key].value)
            if key.startswith("aws.") or theirs[key].value == ours[key].value:
                continue
            way = f" (--set {key}={value} changes it)" if _is_one_of(key, CHANGEABLE) else ""
            other.append(f"{key} = {value}, here {_in_text(ours[key].value)}{way}")
        return (
            f"a run brings its own settings; not taken from {self.path}: {'; '.join(other)}" if other else ""
        )


# Settings that determine the shape of the networks; a league with few beams is legal only without follow-the-gap.
_SHAPE = ("env.beams", "env.scans_stacked", "env.proprioception", "sac.net_arch")
_AGENTS = (
    "training.num_agents",
    "multi_agent.mode",
    "multi_agent.league.shared_policy",
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
