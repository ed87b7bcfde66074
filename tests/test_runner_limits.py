"""Limits limit, and a stop is heard wherever a run is: within rounds, evaluations and the report."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.trainer_process import QUICK, command, run, wait_for_checkpoints
from training.config import load_config
from training.config.checks import learns_nothing
from training.evaluation.load_run import runs_in
from training.store import documents
from training.store.checkpoint import load
from training.store.open import open_store

ROOT = Path(__file__).parents[1]
ANSWERS_S = 30.0


def changed(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def start(store: Path, *settings: str, steps: int = 10**9) -> subprocess.Popen[str]:
    words = command(store, *changed(*settings), steps=steps)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stopped(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C; return what is said until the end, which must come soon and be that of a run to go on with."""
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=ANSWERS_S)
    assert process.returncode == 75, output
    return output


# --- rounds ---
@pytest.mark.slow
def test_a_round_of_many_steps_ends_at_the_timesteps_that_were_asked_for(tmp_path: Path) -> None:
    """And that nothing was learnt is said before and after."""
    ended = run(tmp_path, *changed("sac.train_freq=10000"), steps=1000)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    storage = open_store(str(tmp_path))
    assert load(storage, runs_in(storage)[0], "sac").step == 1000
    assert "nothing will be learnt: the first update comes after 80,000 timesteps" in ended.stdout
    assert "nothing was learnt: the run ended before its first update" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("long", ["sac.train_freq=10000", "sac.gradient_steps=10000"])
def test_a_long_round_ends_when_its_time_is_over(tmp_path: Path, long: str) -> None:
    ended = run(tmp_path, *changed(long, "training.max_minutes=0.1"), steps=10**9)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    storage = open_store(str(tmp_path))
    assert load(storage, runs_in(storage)[0], "sac").meta["elapsed_s"] == pytest.approx(6.0, abs=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("long", ["sac.train_freq=10000", "sac.gradient_steps=10000"])
def test_a_long_round_is_saved_in_its_middle_and_hears_ctrl_c(tmp_path: Path, long: str) -> None:
    """By the clock too: a round may last longer than what one may lose."""
    process = start(tmp_path, long, "training.save_interval_s=1.0", "training.save_frequency=1000000000")
    storage = open_store(str(tmp_path))
    wait_for_checkpoints(storage, process, 3)
    stopped(process)
    saved = load(storage, runs_in(storage)[0], "sac")
    steps, updates = saved.meta["world"]["round"]
    assert steps > 0
    assert "train_freq" in long or updates > 0


# --- evaluations and report ---
@pytest.mark.slow
def test_ctrl_c_leaves_a_choice_that_takes_long_and_the_next_attempt_makes_it(tmp_path: Path) -> None:
    """A thousand standing starts on ten tracks, four times over, after the last step."""
    tracks = [f"generated-{seed}" for seed in range(1, 11)]
    process = start(tmp_path, f"env.tracks=[{','.join(tracks)}]", "evaluation.starts=1000", steps=1000)
    said_until(process, "choosing the policy to keep")
    assert "Ctrl-C: saving" in stopped(process)
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    saved = load(storage, name, "sac")
    assert saved.step == 1000
    (keeper,) = (about["keeper"] for about in saved.meta["agents"])
    assert (keeper["candidates"], keeper["chosen"]) == ([], False)
    again = run(tmp_path, "--resume", name, *changed("evaluation.starts=1"), steps=1000)
    assert again.returncode == 0, again.stdout + again.stderr
    assert documents.read_status(storage, name).state == "done"


@pytest.mark.slow
def test_ctrl_c_leaves_the_report_and_the_same_command_makes_it(tmp_path: Path) -> None:
    process = start(tmp_path, "training.report=true", steps=1000)
    said_until(process, "Laps from standing starts")
    output = stopped(process)
    assert (
        "stopped by Ctrl-C at step 1,000; everything is saved, but laps and report are not made yet" in output
    )
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code, attempt.last_step) == ("terminated", 75, 1000)
    assert not any("/report/" in entry.key for entry in storage.list(f"runs/{name}/"))
    again = run(tmp_path, *changed("training.report=true"), steps=1000)
    assert again.returncode == 0, again.stdout + again.stderr
    assert documents.read_status(storage, name).state == "done"
    assert any("/report/" in entry.key for entry in storage.list(f"runs/{name}/"))


def said_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Return what is said up to a line with this text."""
    lines = []
    watchdog = threading.Timer(200, process.kill)
    watchdog.start()
    for line in process.stdout:
        lines.append(line)
        if text in line:
            watchdog.cancel()
            return lines
    pytest.fail(f"never said: {text}\n{''.join(lines)}")


# --- time ---
@pytest.mark.slow
def test_a_process_that_is_stopped_uses_up_none_of_its_time(tmp_path: Path) -> None:
    """As by Ctrl-Z."""
    process = start(tmp_path, "training.max_minutes=0.1")
    storage = open_store(str(tmp_path))
    wait_for_checkpoints(storage, process, 2)
    process.send_signal(signal.SIGSTOP)
    (name,) = runs_in(storage)
    before = load(storage, name, "sac").step
    time.sleep(12)  # longer than the run may take
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    ended = load(storage, name, "sac")
    assert ended.meta["elapsed_s"] == pytest.approx(6.0, abs=4.0)
    assert ended.step > before + 1000


# --- words ---
@pytest.mark.slow
def test_the_command_that_goes_on_is_one_for_a_shell(tmp_path: Path) -> None:
    """The folder's name has a space and an apostrophe."""
    store = tmp_path / "my racer's runs"
    process = start(store)
    wait_for_checkpoints(open_store(str(store)), process, 2)
    (line,) = [one for one in stopped(process).splitlines() if one.startswith("Continue with: ")]
    words = shlex.split(line.removeprefix("Continue with: "))
    (name,) = runs_in(open_store(str(store)))
    step = load(open_store(str(store)), name, "sac").step
    last = ["--set", f"training.total_timesteps={step}"]
    again = subprocess.run(
        [sys.executable, *words[1:], *last],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (["sac.learning_starts=1000", "training.total_timesteps=1000"], 1008),  # 126 steps of 8 environments
        (["sac.learning_starts=999", "training.total_timesteps=1000"], None),
        (["sac.learning_starts=1000", "training.total_timesteps=1001"], None),  # its last step goes beyond
        (["sac.train_freq=126", "training.total_timesteps=1000"], 1008),
        (["sac.train_freq=125", "training.total_timesteps=1000"], None),
    ],
)
def test_a_run_that_ends_before_its_first_update_says_so(settings: list[str], first: int | None) -> None:
    told = learns_nothing(load_config(None, [*QUICK, *settings]))
    assert told == "" if first is None else f"the first update comes after {first:,} timesteps" in told
