"""Policies of other runs in a league's pool: who may be there, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.report.runs import make_run, straight_on
from tests.support import trainer_process
from training import layout
from training.__main__ import main
from training.agents.codec import decode
from training.agents.league import POOL
from training.agents.multi_agent import MultiAgentSAC
from training.agents.policy import Policy
from training.config import Config, load_config
from training.envs.batch import RaceBatch
from training.errors import ConfigurationError
from training.evaluation.load_run import runs_in
from training.run import warm_start
from training.sim import Track
from training.store.checkpoint import Checkpoint, load
from training.store.open import open_store
from training.store.storage import Storage
from training.stored_runs import policy_sources

RUN = "other"
# So small that all of it is trained in seconds.
SMALL = tuple(
    setting for setting in trainer_process.QUICK if not setting.startswith("training.save_frequency")
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_store(str(tmp_path))


def other_policy(config: Config) -> Policy:
    """Return a policy that nobody takes for another's."""
    policy = straight_on(config)
    policy.stack.flat.normal_(std=0.1, generator=torch.Generator().manual_seed(5))
    return policy


def pool_of(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return arrays and JSON data of the league in a checkpoint."""
    world: Any = checkpoint.meta["world"]
    return decode(checkpoint.read(layout.WORLD_MEMBER), what="world"), world["league"]


def league(*overrides: str) -> Config:
    """Return the settings of a league of two with that run's policy in its pool."""
    several = ("training.training_type=sac_multiagent", "multi_agent.mode=league")
    return load_config(None, [*several, f"multi_agent.league.checkpoints=[{RUN}]", *overrides], "local")


@pytest.mark.parametrize(
    ("key", "theirs", "ours"),
    [
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
        warm_start.check(league(f"{key}={ours}").policy_sources, storage)
    told = refused.value.message.lower()
    assert told.startswith(
        f"multi_agent.league.checkpoints: {RUN}: it learnt with {key} = {theirs}, not {ours} "
    )
    assert f"--set {key}={theirs}" in refused.value.next_step
    warm_start.check(league(f"{key}={theirs}").policy_sources, storage)


@pytest.mark.parametrize(
    ("key", "theirs", "ours"),
    [
        ("env.backend", "f1tenth_gym", "native"),
        ("env.profile", "f1tenth_gym", "training"),
        ("env.tyres", "linear", "saturating"),
        ("env.vehicle", "rpl4f110", "f1tenth_gym"),
    ],
)
def test_a_policy_that_learnt_in_other_physics_drives_in_those_of_the_run_and_that_is_said(
    storage: Storage, key: str, theirs: str, ours: str
) -> None:
    make_run(storage, RUN, f"{key}={theirs}")
    config = league(f"{key}={ours}", "training.num_agents=2", "env.num_envs=2", "env.tracks=[kart]")
    tyres = ", env.tyres = linear, not saturating" if theirs == "f1tenth_gym" != ours else ""
    differing = f"{RUN} learnt with {key} = {theirs}, not {ours}{tyres} as here"
    assert policy_sources.check(storage, config.policy_sources) == f"1 opponents ({differing})"
    learner = MultiAgentSAC(
        RaceBatch(config.env, [Track.load("kart")], config.num_cars), config, device="cpu"
    )
    said: list[str] = []
    warm_start.load_initial_policies(learner, config.policy_sources, storage, "new", said.append)
    assert said == [f"{differing}; in its races this run's physics hold"]
    assert [one.name for one in learner.league.external] == [RUN]


def test_a_policy_whose_car_steers_and_sees_otherwise_is_refused_with_the_vehicle(storage: Storage) -> None:
    make_run(storage, RUN, "env.vehicle=f1tenth_stock", "env.speed_cap_mps=5")
    with pytest.raises(
        ConfigurationError, match=r"env\.vehicle = f1tenth_stock, not f1tenth_gym, env\.car\.steering_m"
    ):
        warm_start.check(league("env.speed_cap_mps=5").policy_sources, storage)


def test_of_equal_width_is_not_of_equal_meaning(storage: Storage) -> None:
    """Two scans of 36 beams and one of 72 are as many numbers."""
    make_run(storage, RUN, "env.beams=72", "env.scans_stacked=1")
    with pytest.raises(ConfigurationError, match=r"env\.beams = 72, not 36, env\.scans_stacked = 1, not 2 "):
        warm_start.check(league().policy_sources, storage)


def test_what_changes_neither_sight_nor_commands_may_differ(storage: Storage) -> None:
    """Tracks, noise, rewards and learning are the other run's own affair."""
    make_run(
        storage, RUN, "env.scan_noise_m=0.02", "env.num_envs=8", "sac.gamma=0.9", "env.reward.collision=-9"
    )
    warm_start.check(league().policy_sources, storage)


@pytest.mark.slow
def test_a_league_is_trained_and_resumed_with_policies_of_another_run_by_the_command_line(
    storage: Storage, tmp_path: Path
) -> None:
    """The kept one and that of a step are in the pool from the first race on, to the bit, and drive to the end."""
    kept, early = (other_policy(league(*SMALL, f"training.seed={n}")) for n in range(2))
    early.stack.flat.neg_()
    make_run(storage, RUN, *SMALL, policy=kept)
    storage.put(layout.policy_key(RUN, 0, 1_000), early.encode())
    names = [RUN, f"{RUN}@1000:0"]
    settings = (
        *SMALL,
        "training.training_type=sac_multiagent",
        "multi_agent.mode=league",
        f"multi_agent.league.checkpoints={names}",
        "multi_agent.league.self_fraction=0",
        "multi_agent.league.snapshot_fraction=1",
        "multi_agent.league.pure_pursuit=0",
        "multi_agent.league.follow_the_gap=0",
    )
    given = [part for setting in settings for part in ("--set", setting)]
    steps = ("--set", "training.total_timesteps=600")
    assert main(["train", "--store", str(tmp_path), *given, *steps]) == 0
    (run,) = (name for name in runs_in(storage) if name != RUN)
    more = ("--resume", run, "--set", "training.total_timesteps=1200")
    for step in (600, 1_200):
        if step > 600:
            assert main(["train", "--store", str(tmp_path), *more]) == 0
        checkpoint = load(storage, run, "sac_multiagent")
        arrays, meta = pool_of(checkpoint)
        assert (checkpoint.step, meta["given"], meta["generations"]) == (step, names, [])
        for number, policy in enumerate((kept, early)):
            np.testing.assert_array_equal(arrays[f"league.pool.{number}"], policy.stack.flat.numpy())
        driven = arrays["league.driver"]
        assert ((driven >= POOL).sum(axis=1) == 1).all(), (
            "in every race one car is the agents', the other the pool's"
        )
        assert set(driven[driven >= POOL]) == {POOL, POOL + 1}
