"""Runs whose output goes nowhere: they train to their end, and the exit code is that of the run."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.trainer_process import command, wait_for_checkpoints
from training.evaluation.load_run import policy_of, runs_in
from training.store import documents
from training.store.checkpoint import load
from training.store.open import open_store

pytestmark = pytest.mark.slow  # each test trains, in a process of its own


def finished_whole(store: Path, steps: int = 3000) -> None:
    """Assert that a run has come to its end, with its last checkpoint and its kept policy."""
    storage = open_store(str(store))
    (name,) = runs_in(storage)
    assert documents.read_status(storage, name).state == "done"
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code) == ("done", 0)
    assert load(storage, name, "sac").step == steps
    assert policy_of(storage, name).kept_step == steps
    assert any("/models/sac/" in entry.key for entry in storage.list(f"runs/{name}/"))


def test_a_full_device_ends_no_run(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(tmp_path), stdout=full, stderr=full, timeout=240, check=False)
    assert done.returncode == 0
    finished_whole(tmp_path)


def test_a_reader_that_leaves_after_the_first_line_ends_no_run(tmp_path: Path) -> None:
    """As `train | head -1`."""
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "begins" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=240) == 0
    finished_whole(tmp_path)


def test_closed_streams_end_no_run_and_no_file_of_the_store_takes_what_is_printed(tmp_path: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *command(tmp_path)]
    assert subprocess.run(shell, timeout=240, check=False).returncode == 0
    finished_whole(tmp_path)


def test_ctrl_c_saves_a_run_whose_tee_died_first(tmp_path: Path) -> None:
    """As `train 2>&1 | tee log`: the terminal sends Ctrl-C to both."""
    with (tmp_path / "log").open("w") as log:
        tee = subprocess.Popen(["tee"], stdin=subprocess.PIPE, stdout=log)
    store = tmp_path / "store"
    process = subprocess.Popen(command(store, steps=10**9), stdout=tee.stdin, stderr=tee.stdin)
    tee.stdin.close()
    storage = open_store(str(store))
    wait_for_checkpoints(storage, process, 2)
    tee.send_signal(signal.SIGINT)
    tee.wait(timeout=60)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 75
    (name,) = runs_in(storage)
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code) == ("terminated", 75)
    assert load(storage, name, "sac").step == attempt.last_step


def test_a_terminal_that_is_gone_ends_no_run_that_was_to_outlive_it(tmp_path: Path) -> None:
    """As after `disown`: the terminal is closed, no signal comes, and every write fails from then on."""
    ours, theirs = pty.openpty()
    ignoring = ["setsid", "--ctty", "sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    process = subprocess.Popen(
        [*ignoring, *command(tmp_path, steps=20_000)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    wait_for_checkpoints(open_store(str(tmp_path)), process, 2)
    os.close(ours)
    assert process.wait(timeout=240) == 0
    finished_whole(tmp_path, 20_000)
