"""`train --fork RUN[@STEP]`: a new run goes on from a checkpoint, with replay and optimizers, under other settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import trainer_process
from training import layout
from training.agents.codec import decode
from training.config import load_config
from training.config.resume import FORKABLE, changed, forked
from training.errors import ConfigurationError, UsageError
from training.store import documents
from training.store.checkpoint import Checkpoint, load
from training.store.directory import DirectoryStorage
from training.store.fencing import read_pointer
from training.store.storage import Unavailable
from training.stored_runs.fork import make_fork, plan_fork, read_parent

PARENT, STEPS = "parent", 3000

pytestmark = pytest.mark.slow  # each begins with a run that has trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run that is done; tests copy it."""
    store = tmp_path_factory.mktemp("trained")
    done = trainer_process.run(store, "--set", f"training.run_name={PARENT}", steps=STEPS)
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "store"))


def middle(store: Path) -> int:
    """Return the step of a checkpoint before the last; a busy computer saves later than it was to."""
    seen = read_pointer(DirectoryStorage(store), PARENT, "sac")
    assert seen
    return max(ref.step for ref in seen.pointer.checkpoints if ref.step < STEPS)


def fork(store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", "train", "--store", str(store), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def contents(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return every array of a checkpoint, its replay buffer's rows too, and what it says of the learner."""
    found: dict[str, Any] = {
        f"{name}/{part}": array
        for name in checkpoint.manifest.members
        for part, array in decode(checkpoint.read(name), what=name).items()
    }
    for ref, data in checkpoint.read_segments(layout.agent_name(0)):
        found |= {f"{ref.first}/{part}": array for part, array in decode(data, what="segment").items()}
    learned = {name: checkpoint.meta[name] for name in ("world", "agents", "laps")}
    return {**found, "meta": json.dumps(learned, sort_keys=True)}


# --- what it keeps ---
def test_a_fork_without_a_change_is_its_parents_continuation_bit_for_bit(store: Path) -> None:
    done = fork(store, "--fork", f"{PARENT}@{middle(store)}", "--name", "again")
    assert done.returncode == 0, done.stderr
    storage = DirectoryStorage(store)
    parents, its = (contents(load(storage, run, "sac")) for run in (PARENT, "again"))
    assert parents.keys() == its.keys()
    for name, value in parents.items():
        np.testing.assert_array_equal(value, its[name], err_msg=name)
    assert f"continues from step {middle(store):,} of run parent" in done.stdout + done.stderr


def test_a_fork_learns_on_under_other_settings_and_outlives_its_parent(store: Path) -> None:
    storage = DirectoryStorage(store)
    changes = (
        "sac.learning_rate=0.0001",
        "sac.batch_size=32",
        "env.reward.progress=2",
        "training.total_timesteps=4000",
    )
    words = [word for change in changes for word in ("--set", change)]
    done = fork(store, "--fork", PARENT, "--name", "gentle", *words)
    assert done.returncode == 0, done.stderr
    parent = read_parent(storage, "gentle")
    assert parent
    assert (parent.run, parent.step) == (PARENT, STEPS)
    assert parent.changes["sac.learning_rate"] == [0.001, 0.0001]
    assert parent.changes["sac.learning_rate_end"] == [0.0001, 0.00001], "a tenth, as before"
    assert set(parent.changes) == {*(change.partition("=")[0] for change in changes), "sac.learning_rate_end"}
    shutil.rmtree(store / layout.run_prefix(PARENT))
    before, after = (load(storage, "gentle", "sac", at_step=step) for step in (STEPS, 4000))
    updates = [one.meta["agents"][0]["learner"]["n_updates"] for one in (before, after)]
    rows = [one.meta["agents"][0]["learner"]["replay_steps"] for one in (before, after)]
    assert rows == [375, 500], "the rows of the parent are still there"
    assert updates[1] > updates[0] > 100
    status = documents.read_status(storage, "gentle")
    assert status
    assert status.state == "done"


def test_the_name_is_made_from_the_time_where_none_is_given_and_wandb_begins_anew(store: Path) -> None:
    storage = DirectoryStorage(store)
    plan = plan_fork(storage, f"{PARENT}@{middle(store)}", ())
    assert plan.config.training.run_name is None
    make_fork(storage, plan, "nameless", lambda _: None)
    forked_from = load(storage, "nameless", "sac")
    assert forked_from.step == middle(store)
    assert "wandb_id" not in forked_from.meta
    parents = load(storage, PARENT, "sac", at_step=middle(store)).meta["maps"]
    assert forked_from.meta["maps"] == parents, "on other maps its transitions would mean something else"
    assert (
        forked_from.meta["elapsed_s"] == load(storage, PARENT, "sac", at_step=middle(store)).meta["elapsed_s"]
    )


# --- what it refuses ---
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("env.beams=60", "observation, action, physics"),
        ("env.speed_cap_mps=7", "observation, action, physics"),
        ("env.randomisation.mass_factor=[0.5, 2]", "observation, action, physics"),
        ("env.tracks=[generated-2]", "tracks"),
        ("env.num_envs=16", "one for each environment"),
        ("sac.net_arch=[32, 32]", "the networks keep their shape"),
        ("sac.buffer_size=4000", "the replay buffer keeps its rows"),
        ("sac.ent_coef=0.1", "weight of the entropy"),
        ("imitation.expert=none", "what the expert would have done"),
        ("training.seed=4", "the random numbers continue"),
        ("training.training_type=sac_multiagent", "the agents stay who they are"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(store: Path, change: str, why: str) -> None:
    storage = DirectoryStorage(store)
    with pytest.raises(ConfigurationError, match=rf"cannot change in a fork: .*{why}") as caught:
        plan_fork(storage, PARENT, [change])
    assert f"--init-from {PARENT}" in caught.value.next_step or "another shape" in caught.value.next_step


def test_limits_that_are_reached_are_told_before_anything_is_written(store: Path) -> None:
    storage = DirectoryStorage(store)
    before = {entry.key for entry in storage.list("runs/")}
    with pytest.raises(
        ConfigurationError, match=r"total_timesteps = 3,000, and the checkpoint is at step 3,000"
    ):
        plan_fork(storage, PARENT, ())
    with pytest.raises(ConfigurationError, match=r"max_minutes = 1e-05"):
        plan_fork(storage, f"{PARENT}@{middle(store)}", ["training.max_minutes=0.00001"])
    done = fork(store, "--fork", PARENT, "--name", "short")
    assert done.returncode == ConfigurationError.exit_code
    assert "--set training.total_timesteps=6000" in done.stderr
    assert {entry.key for entry in storage.list("runs/")} == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--fork", "nobody", "--name", "x"), "no run called 'nobody'"),
        (("--fork", f"{PARENT}@77", "--name", "x"), "77"),
        (("--fork", f"{PARENT}:0", "--name", "x"), "with all of its agents"),
        (("--fork", f"{PARENT}@MIDDLE", "--name", PARENT), "a run named 'parent' exists"),
        (("--fork", PARENT, "--resume", PARENT), "brings its own settings"),
        (("--fork", PARENT, "--preset", "local"), "brings its own settings"),
        (("--resume", PARENT, "--name", "x"), "has a name already"),
    ],
)
def test_words_that_do_not_go_together_are_refused(store: Path, words: tuple[str, ...], told: str) -> None:
    done = fork(store, *(word.replace("MIDDLE", str(middle(store))) for word in words))
    assert done.returncode == UsageError.exit_code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_resume_that_refuses_a_setting_names_the_fork() -> None:
    own = load_config(None, ["training.total_timesteps=5000"])
    with pytest.raises(ConfigurationError) as caught:
        changed(own, ["sac.learning_rate=0.0001"], PARENT)
    way = f"train --fork {PARENT} --name NEW --set sac.learning_rate=0.0001"
    assert way in caught.value.next_step
    with pytest.raises(ConfigurationError) as caught:
        changed(own, ["env.beams=60"], PARENT)
    assert "--fork" not in caught.value.next_step


def test_every_setting_that_may_change_exists() -> None:
    config = load_config(None)
    for name in FORKABLE:
        group, _, leaf = name.partition(".")
        part: Any = getattr(config, group)
        for word in filter(None, leaf.rstrip(".").split(".")):
            part = getattr(part, word)
    assert forked(config, ["sac.gamma=0.9"], PARENT).sac.gamma == 0.9


# --- interrupted ---
class Failing(DirectoryStorage):
    """A store that fails at the n-th write."""

    def __init__(self, url: str, fail_at: int) -> None:
        super().__init__(Path(url))
        self.left = fail_at

    def put(self, key: str, body: Any, **more: Any) -> str:
        self.left -= 1
        if self.left == 0:
            raise Unavailable(f"{key}: the disk is full")
        return super().put(key, body, **more)


def test_a_fork_that_is_interrupted_anywhere_leaves_no_run_and_can_be_repeated(store: Path) -> None:
    sound = DirectoryStorage(store)
    plan = plan_fork(sound, f"{PARENT}@{middle(store)}", ())
    expected = contents(load(sound, PARENT, "sac", at_step=middle(store)))
    say: Callable[[str], None] = lambda _: None  # noqa: E731
    failures = 0
    for number in range(1, 100):
        broken = Failing(str(store), number)
        try:
            make_fork(broken, plan, f"fork-{number}", say)
        except Unavailable:
            failures += 1
            assert not (store / layout.config_key(f"fork-{number}")).exists(), "not a run yet"
            make_fork(sound, plan, f"fork-{number}", say)
        copied = contents(load(sound, f"fork-{number}", "sac"))
        for name, value in expected.items():
            if name != "meta":
                np.testing.assert_array_equal(value, copied[name])
        if broken.left > 0:
            break
    assert failures >= 6, "pointer, member, segment, manifest, parent, settings"
