"""Which policy `evaluate`, `report` and `race` drive with: the kept one of the newest sound checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.report.runs import KEPT_STEP, STEP, driver_by_hand, make_run, save_policy
from training import layout
from training.config import Config
from training.envs import observation
from training.errors import DataError, UsageError
from training.evaluation.load_run import newest_run, policy_of, runs_in
from training.store.checkpoint import CheckpointData, CheckpointRef, claim
from training.store.open import open_store
from training.store.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_store(str(tmp_path))


def scans_of(config: Config) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.0, 1.0, (7, observation.size(config.env))).astype(np.float32)


def test_the_kept_policy_comes_back_as_it_was_saved(storage: Storage) -> None:
    config = make_run(storage, "one")
    loaded = policy_of(storage, "one")
    seen = scans_of(config)
    np.testing.assert_array_equal(loaded.policy.act(seen), driver_by_hand(config).act(seen))
    assert loaded.config == config
    assert (loaded.run, loaded.kept_step, loaded.step) == ("one", KEPT_STEP, STEP)


def test_an_unknown_run_is_an_error_that_names_the_runs_there_are(storage: Storage) -> None:
    make_run(storage, "first-try")
    make_run(storage, "second")
    with pytest.raises(
        UsageError, match=r"no run called 'first-tri'.*first-try, second\nDid you mean first-try"
    ):
        policy_of(storage, "first-tri")


def test_the_newest_run_is_the_one_that_began_last(storage: Storage, tmp_path: Path) -> None:
    make_run(storage, "zebra")
    make_run(storage, "ant")
    for name, at_s in (("zebra", 1_000.0), ("ant", 2_000.0)):
        os.utime(tmp_path / layout.config_key(name), (at_s, at_s))
    assert runs_in(storage) == ["zebra", "ant"]
    assert newest_run(storage) == "ant"


def test_a_store_without_runs_says_how_to_make_one(storage: Storage) -> None:
    with pytest.raises(UsageError, match="there are no runs in"):
        newest_run(storage)


def test_a_run_that_has_not_kept_a_policy_yet_is_told_from_a_broken_one(storage: Storage) -> None:
    make_run(storage, "young")
    claim(storage, "young", "sac", 2).commit(STEP + 1, CheckpointData({"learner": b"no policy in here"}))
    with pytest.raises(UsageError, match=r"kept no policy yet.*\n.*--resume young"):
        policy_of(storage, "young")


def test_a_run_without_any_checkpoint_says_how_to_go_on(storage: Storage) -> None:
    make_run(storage, "other")
    data = storage.get(layout.config_key("other"), max_bytes=1 << 20).data
    storage.put(layout.config_key("stillborn"), data)
    with pytest.raises(UsageError, match=r"no committed sac checkpoint.*\n.*--resume stillborn"):
        policy_of(storage, "stillborn")


def kept_file(tmp_path: Path, run: str, ref: CheckpointRef) -> Path:
    return tmp_path / layout.member_key(run, ref.id, layout.kept_member(0))


def test_a_damaged_policy_is_passed_over_for_the_one_before(storage: Storage, tmp_path: Path) -> None:
    config = make_run(storage, "hurt")
    newer = save_policy(claim(storage, "hurt", "sac", 2), driver_by_hand(config, boldness=1.0), STEP + 1)
    kept_file(tmp_path, "hurt", newer).write_bytes(b"not what was committed")
    loaded = policy_of(storage, "hurt")
    seen = scans_of(config)
    np.testing.assert_array_equal(loaded.policy.act(seen), driver_by_hand(config).act(seen))
    assert loaded.step == STEP


def test_a_policy_of_another_size_is_a_data_error(storage: Storage) -> None:
    make_run(storage, "wide")
    config = make_run(storage, "narrow", "sac.net_arch=[64, 64]")
    save_policy(claim(storage, "wide", "sac", 2), driver_by_hand(config), STEP + 1)
    with pytest.raises(DataError, match="kept policy of checkpoint"):
        policy_of(storage, "wide")


@pytest.mark.parametrize("text", [b"{", b"[]"])
def test_settings_that_are_no_settings_are_a_data_error(storage: Storage, text: bytes) -> None:
    storage.put(layout.config_key("torn"), text)
    with pytest.raises(DataError, match=r"config[.]json"):
        policy_of(storage, "torn")
