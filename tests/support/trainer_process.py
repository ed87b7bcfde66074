"""A trainer in a process of its own, by the command line, with settings that make it quick."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.evaluation.load_run import runs_in
from training.store.open import open_store

QUICK = (
    "env.tracks=[generated-1]",
    "env.num_envs=8",
    "env.max_episode_s=5.0",
    "sac.net_arch=[16, 16]",
    "sac.batch_size=16",
    "sac.buffer_size=2000",
    "sac.learning_starts=200",
    "sac.gradient_steps=1",
    "evaluation.frequency=0",
    "evaluation.starts=1",
    "evaluation.tracks=[]",
    "training.save_frequency=1000",
    "training.report=false",
)


def command(store: Path, *arguments: str, steps: int = 3000) -> list[str]:
    settings = [
        part for setting in (*QUICK, f"training.total_timesteps={steps}") for part in ("--set", setting)
    ]
    if "--resume" in arguments:  # a run brings its own settings
        settings = settings[-2:]
    return [sys.executable, "-m", "training", "train", "--store", str(store), *settings, *arguments]


def run(store: Path, *arguments: str, steps: int = 3000) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(store, *arguments, steps=steps), capture_output=True, text=True, timeout=240, check=False
    )


def begin_and_wait(store: Path, steps: int, *arguments: str) -> subprocess.Popen[str]:
    """Start a run in a process and return once a checkpoint of learning is durable."""
    process = subprocess.Popen(
        command(store, *arguments, steps=steps), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    storage = open_store(str(store))
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself:\n{process.communicate()[0]}")
        runs = runs_in(storage)
        if runs and any(
            e.key.endswith("manifest.json") and "/000000001" in e.key for e in storage.list("runs/")
        ):
            return process
        time.sleep(0.1)  # polling a process, bounded by the deadline above
    process.kill()
    raise AssertionError(f"no checkpoint in time:\n{process.communicate()[0]}")


def wait_for_checkpoints(storage, process: subprocess.Popen[str], number: int) -> None:
    """Wait until so many checkpoints are durable."""
    deadline = time.monotonic() + 120
    while sum(e.key.endswith("manifest.json") for e in storage.list("runs/")) < number:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"not {number} checkpoints in time"
        time.sleep(0.2)  # polling a process, bounded by the deadline above
