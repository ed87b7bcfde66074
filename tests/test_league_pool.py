"""Policies of other runs in a league's pool: who may be there, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.runs import make_run
from training import heritage
from training.config import Config, load_config
from training.errors import ConfigurationError
from training.store.opening import open_store
from training.store.storage import Storage

RUN = "other"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_store(str(tmp_path))


def league(*overrides: str) -> Config:
    """Return the settings of a league of two with that run's policy in its pool."""
    several = ("training.training_type=sac_multiagent", "multi_agent.mode=league")
    return load_config(None, [*several, f"multi_agent.league.checkpoints=[{RUN}]", *overrides], "local")


@pytest.mark.parametrize(
    ("key", "theirs", "ours"),
    [
        ("env.backend", "f1tenth_gym", "native"),
        ("env.profile", "f1tenth_gym", "training"),
        ("env.friction_circle", "true", "false"),
        ("env.beams", "50", "36"),
        ("env.scans_stacked", "3", "2"),
        ("env.proprioception", "false", "true"),
        ("env.scan_range_m", "5.0", "10.0"),
        ("env.action_repeat", "4", "10"),
        ("env.speed_cap_mps", "6.0", "8.0"),
        ("env.min_speed_mps", "0.5", "1.0"),
    ],
)
def test_a_policy_that_would_see_or_act_otherwise_is_refused(
    storage: Storage, key: str, theirs: str, ours: str
) -> None:
    """Nothing translates for it as a race does: the error names the setting, both values, and what to set."""
    make_run(storage, RUN, f"{key}={theirs}")
    with pytest.raises(ConfigurationError) as refused:
        heritage.check(league(f"{key}={ours}"), storage)
    told = refused.value.message.lower()
    assert told.startswith(
        f"multi_agent.league.checkpoints: {RUN}: it learnt with {key} = {theirs}, not {ours} "
    )
    assert f"--set {key}={theirs}" in refused.value.next_step
    heritage.check(league(f"{key}={theirs}"), storage)


def test_of_equal_width_is_not_of_equal_meaning(storage: Storage) -> None:
    """Two scans of 36 beams and one of 72 are as many numbers."""
    make_run(storage, RUN, "env.beams=72", "env.scans_stacked=1")
    with pytest.raises(ConfigurationError, match=r"env\.beams = 72, not 36, env\.scans_stacked = 1, not 2 "):
        heritage.check(league(), storage)


def test_what_changes_neither_sight_nor_commands_may_differ(storage: Storage) -> None:
    """Tracks, noise, rewards and learning are the other run's own affair."""
    make_run(
        storage, RUN, "env.scan_noise_m=0.02", "env.num_envs=8", "sac.gamma=0.9", "env.reward.collision=-9"
    )
    heritage.check(league(), storage)
