"""A run that diverges says so, commits nothing of it, and names the way back."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.devices import DEVICES
from tests.support.trainer_process import run
from tests.support.training_sessions import Session, begin, settings, several
from training import layout
from training.agents import soundness
from training.agents.codec import decode, encode
from training.agents.compiled_update.step import adam_state
from training.config import load_config
from training.errors import DataError, Diverged
from training.evaluation.load_run import runs_in
from training.run.divergence import likely_cause
from training.store import documents
from training.store.checkpoint import CheckpointData, claim, load
from training.store.open import open_store
from training.store.restore import NoCheckpoint

ROOT = Path(__file__).parents[1]
FEW = {"evaluation.frequency": 0, "sac.learning_starts": 40, "sac.gradient_steps": 1}


# --- what is looked at ---
def parts_of(session: Session) -> dict[str, torch.Tensor]:
    """Return every tensor of what two agents have learnt, by its name."""
    team = session.parts.learner.team
    update = team.update
    found = {"actor": update.actor.flat, "critics": update.critic.flat, "targets": update.target.flat}
    found |= {"EMA policy": team.average.flat, "entropy coefficient": update.log_alpha}
    for optimizer in update.optimizers.values():
        state = adam_state(optimizer)
        found |= {
            f"Adam's state {len(found)}": state["exp_avg"],
            f"Adam's state {len(found)}²": state["exp_avg_sq"],
        }
    return found


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_each_number_that_is_learnt_is_looked_at_and_what_is_not_finite_is_never_committed(
    tmp_path: Path, bad: float
) -> None:
    session = begin(several(2, "independent", **FEW), tmp_path)
    session.train_to(60)
    session.saver.finish({})
    for name, tensor in parts_of(session).items():
        last = tensor.view(-1)[-1].clone()
        tensor.view(-1)[-1] = bad
        with pytest.raises(Diverged, match=rf"diverged at step 60: .* {name.split(' ')[0]}.* of agent 1"):
            session.saver.finish({})
        with pytest.raises(Diverged):
            session.saver.start({})
        tensor.view(-1)[-1] = last
    soundness.check(session.parts.learner)
    assert session.saver.durable.step == 60
    session.saver.close()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", [False, True], ids=["compiled", "operator by operator"])
@pytest.mark.parametrize("agents", [1, 2])
def test_a_round_whose_losses_are_not_finite_ends_training(
    tmp_path: Path, device: str, agents: int, *, precision: bool
) -> None:
    """Compiled, operator by operator and on a GPU, alone and among others: before an action is no number."""
    changes = {**FEW, "sac.ent_coef": -1.0, "training.mixed_precision": str(precision).lower()}
    config = several(agents, "independent", **changes) if agents > 1 else settings(4, **changes)
    session = begin(config, tmp_path, device=device)
    session.saver.close()
    with pytest.raises(Diverged, match=r"diverged at step 4\d: the actor_loss( of agent 0)? is nan"):
        session.train_to(400)


def test_an_entropy_coefficient_of_0_is_no_fault(tmp_path: Path) -> None:
    """Its logarithm is minus infinity, and saved so."""
    session = begin(settings(4, **FEW, **{"sac.ent_coef": 0.0}), tmp_path)
    session.train_to(60)
    session.save()
    assert (
        begin(settings(4, **FEW, **{"sac.ent_coef": 0.0}), tmp_path, resume=True).parts.learner.num_timesteps
        == 60
    )


def test_a_checkpoint_that_an_earlier_version_saved_with_infinite_moments_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin(settings(4, **FEW), tmp_path)
    session.train_to(60)
    adam_state(session.parts.learner.team.update.critic_optimizer)["exp_avg_sq"][3] = np.inf
    with monkeypatch.context() as earlier:
        earlier.setattr(soundness, "check", lambda _learner: None)
        session.save()
    with pytest.raises(Diverged, match=r"diverged at step 60: .* Adam's state of the critics"):
        begin(settings(4, **FEW), tmp_path, resume=True)


# --- by which setting ---
@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (["sac.learning_rate=1"], "sac.learning_rate = 1; usual is 0 to 0.003"),
        (["sac.ent_coef=-100"], "sac.ent_coef = -100; usual is 0 to 1"),
        (["sac.ent_coef=-100", "sac.learning_rate=1"], "sac.ent_coef = -100"),
        (["sac.gamma=1", "sac.learning_rate=0.5"], "sac.learning_rate = 0.5"),
        (["sac.gamma=1"], "sac.gamma = 1;"),
        (["sac.target_entropy=-100"], "sac.target_entropy = -100"),
        (["sac.learning_rate_end=1"], "sac.learning_rate_end = 1"),
        (["imitation.coef=1000000"], "imitation.coef = 1e+06"),
        ([], "try a smaller sac.learning_rate than 0.001 first"),
    ],
)
def test_the_likely_cause_is_the_setting_farthest_from_what_is_usual(changes: list[str], cause: str) -> None:
    config = load_config(None, changes)
    assert cause in likely_cause(config.sac, config.imitation).explanation


@pytest.mark.parametrize(
    ("changes", "key", "remedy"),
    [
        (["sac.learning_rate=1"], "sac.learning_rate", 3e-4),
        ([], "sac.learning_rate", 3e-4),
        (["sac.learning_rate_end=1"], "sac.learning_rate_end", 1e-4),
        (["sac.gamma=1"], "sac.gamma", 0.98),
        (["sac.target_entropy=-100"], "sac.target_entropy", -4.0),
    ],
)
def test_what_to_go_on_with_is_another_value_of_that_setting(
    changes: list[str], key: str, remedy: float
) -> None:
    config = load_config(None, changes)
    cause = likely_cause(config.sac, config.imitation)
    assert (cause.key, cause.remedy) == (key, pytest.approx(remedy))


# --- by the command line ---
def is_finite(store: Path, name: str) -> bool:
    storage = open_store(str(store))
    newest = load(storage, name, "sac")
    arrays = decode(newest.read(layout.learner_member(0)), what="agent")
    return all(np.isfinite(array).all() for array in arrays.values() if array.dtype == np.float32)


def go_back(stderr: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command that an error names."""
    (line,) = [part for part in stderr.splitlines() if "Go back to it: " in part]
    words = shlex.split(line.partition("Go back to it: ")[2])
    assert words[:3] == [".venv/bin/python", "-m", "training"]
    return subprocess.run(
        [sys.executable, *words[1:], *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_a_learning_rate_of_1_ends_with_its_name_and_a_sound_checkpoint_each_time(tmp_path: Path) -> None:
    """65 is permanent: no machine is brought for the same end again."""
    first = run(
        tmp_path, "--set", "sac.learning_rate=1", "--set", "training.save_frequency=100", steps=20_000
    )
    assert first.returncode == 65, first.stdout + first.stderr
    assert "error: diverged at step " in first.stderr
    assert "Likely cause: sac.learning_rate = 1;" in first.stderr
    assert "fault of the program" not in first.stderr
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    assert is_finite(tmp_path, name)
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code) == ("failed", 65)
    newest = load(storage, name, "sac").step
    assert f"sound checkpoint is that of step {newest:,}. " in first.stderr
    (fork,) = [
        part.partition("with other settings: ")[2] for part in first.stderr.splitlines() if "--fork" in part
    ]
    assert f"--fork {name}@{newest} --store" in fork
    words = [*shlex.split(fork)[1:], "--set", f"training.total_timesteps={newest + 500}"]
    forked = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert forked.returncode == 0, forked.stdout + forked.stderr
    # After the fork: a second try may get farther, and keeps its own newest checkpoints.
    again = go_back(first.stderr)
    assert f"continues from step {newest:,}" in again.stdout
    assert again.returncode == 65
    assert is_finite(tmp_path, name)


@pytest.mark.slow
def test_an_entropy_coefficient_below_0_ends_before_anything_is_saved(tmp_path: Path) -> None:
    ended = run(tmp_path, "--set", "sac.ent_coef=-100")
    assert ended.returncode == 65, ended.stdout + ended.stderr
    assert "diverged at step 0: " in ended.stderr
    assert "Likely cause: sac.ent_coef = -100;" in ended.stderr
    assert "There is no sound checkpoint to go back to." in ended.stderr
    storage = open_store(str(tmp_path))
    with pytest.raises(NoCheckpoint):
        load(storage, runs_in(storage)[0], "sac")


@pytest.mark.slow
def test_a_run_whose_newest_checkpoint_is_infinite_names_the_one_before_and_goes_on_from_there(
    tmp_path: Path,
) -> None:
    """As earlier versions left it."""
    assert run(tmp_path).returncode == 0
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    lineage = claim(storage, name, "sac", attempt=2)
    sound = lineage.load()
    members: dict[str, Any] = {member: sound.read(member) for member in sound.manifest.members}
    arrays = decode(members[layout.learner_member(0)], what="agent")
    arrays["adam.critic.exp_avg_sq"][5] = np.inf
    members[layout.learner_member(0)] = encode(arrays)
    lineage.commit(sound.step + 1000, CheckpointData(members, list(sound.manifest.segments), sound.meta))
    ended = run(tmp_path, "--resume", name, steps=6000)
    assert ended.returncode == 65, ended.stdout + ended.stderr
    assert "The last sound checkpoint is that of step 3,000." in ended.stderr
    back = go_back(ended.stderr, "--set", "training.total_timesteps=4000")
    assert back.returncode == 0, back.stdout + back.stderr
    assert load(storage, name, "sac").step == 4000


def test_it_is_an_error_of_data_for_whoever_decides_what_follows() -> None:
    assert issubclass(Diverged, DataError)
    assert Diverged.exit_code == 65
