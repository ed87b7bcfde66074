"""Settings between runs: what a new one may not ask for, what one that goes on may change, what it leaves aside."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from training.config import Config, Preset, load_config
from training.config.resume import SettingsFile, changed, check_league
from training.errors import ConfigurationError


def several(*overrides: str) -> Config:
    return load_config(None, ["training.training_type=sac_multiagent", *overrides])


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# --- a run that begins ---
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("multi_agent.mode=league", "training.num_agents=1"),
            "multi_agent.mode = league needs training.num_agents of 2 or more, not 1",
        ),
        (
            ("multi_agent.league.champions=true",),
            "multi_agent.league.champions = true has no effect with multi_agent.mode = independent",
        ),
        (
            ("multi_agent.league.shared_policy=true", "multi_agent.mode=shared"),
            "multi_agent.league.shared_policy = true has no effect with multi_agent.mode = shared",
        ),
        (
            ("multi_agent.league.checkpoints=[a, b]",),
            'multi_agent.league.checkpoints = ["a", "b"] has no effect with multi_agent.mode = independent',
        ),
        (
            ("env.race.terminate_at_fault_contact=false", "env.race.hit_cars_continue=false"),
            "env.race.hit_cars_continue = false with env.race.terminate_at_fault_contact = false",
        ),
    ],
)
def test_a_league_where_there_is_none_and_contradicting_rules_are_refused(
    overrides: tuple[str, ...], message: str
) -> None:
    """A run of one car reads none of these, and may keep them in its file."""
    with pytest.raises(ConfigurationError, match=re.escape(message)) as refused:
        check_league(several(*overrides))
    assert refused.value.next_step
    check_league(load_config(None, overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        (
            "multi_agent.mode=league",
            "multi_agent.league.champions=true",
            "multi_agent.league.checkpoints=[a]",
        ),
        ("multi_agent.mode=league", "multi_agent.league.shared_policy=true"),
        ("multi_agent.mode=shared", "env.race.terminate_at_fault_contact=false"),
        (
            "training.num_agents=1",
            "env.race.terminate_at_fault_contact=false",
            "env.race.hit_cars_continue=false",
        ),
    ],
)
def test_what_fits_is_not_refused(overrides: tuple[str, ...]) -> None:
    check_league(several(*overrides))


# --- a run that goes on ---
@pytest.mark.parametrize(
    "same", ["training.training_type=sac_multiagent", "training.num_agents=4", "sac.gamma=0.9"]
)
def test_a_setting_given_as_it_is_changes_nothing_when_a_run_goes_on(same: str) -> None:
    """As `make train TYPE=sac_multiagent ARGS="--resume RUN"` gives it; what may change does, beside it."""
    config = several("training.num_agents=4", "sac.gamma=0.9")
    after = changed(config, [same, "training.total_timesteps=7"])
    assert after.training.total_timesteps == 7
    assert changed(after, [f"training.total_timesteps={config.training.total_timesteps}"]) == config
    with pytest.raises(ConfigurationError, match=r"sac.gamma cannot change") as refused:
        changed(config, [same, "sac.gamma=0.8"])
    assert "--set sac.gamma=0.8" in str(refused.value.next_step)


def test_a_group_given_at_once_is_held_beside_the_run_s_own_setting_by_setting() -> None:
    config = several("env.race.grid=single_file")
    assert changed(config, ["env.race={grid: single_file}", "evaluation={starts: 3}"]).evaluation.starts == 3
    with pytest.raises(ConfigurationError, match=r"env.race.grid cannot change"):
        changed(config, ["env.race={after_crash: out, grid: either}"])


def test_what_a_run_that_goes_on_does_not_take_from_a_file_is_told(tmp_path: Path) -> None:
    """Only what the file names, and what differs; how to reach AWS is read from it."""
    path = settings_file(
        tmp_path,
        "training:\n  num_agents: 3\n  seed: 0\n  max_minutes: 9\nsac:\n  learning_rate: 3e-4\n"
        "aws:\n  region: eu-west-1\n",
    )
    file = SettingsFile.read(path)
    own = several("training.num_agents=4", "env.beams=50")
    assert file.left_aside(load_config(path), own) == (
        f"a run brings its own settings; not taken from {path}: training.num_agents = 3, here 4; "
        "training.max_minutes = 9.0, here 3.0 (--set training.max_minutes=9.0 changes it); "
        "sac.learning_rate = 0.0003, here 0.001"
    )
    assert file.left_aside(load_config(path), load_config(path)) == ""
    assert file.limits(load_config(path)) == ["training.max_minutes=9.0"]


@pytest.mark.parametrize(
    ("preset", "settings", "told"),
    [
        ("local", (), "--set training.training_type=sac_multiagent "),
        ("cloud", (), "--preset cloud --set training.training_type=sac_multiagent "),
        ("cloud", ("sac.net_arch=[64, 32]",), "--set 'sac.net_arch=[64, 32]' "),
        ("local", ("env.beams=50", "env.scans_stacked=1", "env.proprioception=false"), "--set env.beams=50 "),
        ("local", ("multi_agent.mode=shared",), "--set multi_agent.mode=shared "),
        (
            "local",
            ("multi_agent.mode=league", "multi_agent.league.shared_policy=true"),
            "--set multi_agent.league.shared_policy=true ",
        ),
        (
            "local",
            ("multi_agent.mode=league", "env.beams=10", "multi_agent.league.follow_the_gap=0"),
            "--set multi_agent.league.follow_the_gap=0.0 ",
        ),
    ],
)
def test_the_way_to_another_number_of_agents_names_all_that_shapes_the_networks(
    preset: Preset, settings: tuple[str, ...], told: str
) -> None:
    """The command begins with a preset, not with the settings of the run that it takes the networks of."""
    several = ("training.training_type=sac_multiagent", "training.num_agents=4", *settings)
    config = load_config(None, several, preset)
    with pytest.raises(ConfigurationError) as refused:
        changed(config, ["training.num_agents=3"], "first")
    command = refused.value.next_step.splitlines()[0]
    assert told in command
    words = shlex.split(command)
    overrides = [value for option, value in pairwise(words) if option == "--set"]
    presets: list[Any] = [value for option, value in pairwise(words) if option == "--preset"]
    begun = load_config(None, overrides, next(iter(presets), None))
    assert begun.training.num_agents == 3
    assert begun.actor_sizes == config.actor_sizes
    assert (begun.training.training_type, begun.multi_agent.mode) == (
        config.training.training_type,
        config.multi_agent.mode,
    )
    assert (begun.num_agents == 1) == (config.num_agents == 1)


def test_another_shape_is_no_way_to_take_the_networks_along() -> None:
    """The told command begins with random ones: those of the run would not fit."""
    with pytest.raises(ConfigurationError) as refused:
        changed(load_config(None), ["sac.net_arch=[64, 32]"], "first")
    assert refused.value.next_step.splitlines()[0] == (
        "Begin a new run, with networks of another shape: python -m training train --set 'sac.net_arch=[64, 32]'"
    )
