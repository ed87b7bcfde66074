"""How soon training begins: five starts each, in processes of their own, caches warm.

    make bench ARGS="-k bench_start"

Goals: the first step of `make train` within 5 s of the process's begin; `import training.sim` under 0.3 s.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

STARTS = 5
GOAL_S, IMPORT_GOAL_S = 5.0, 0.3
# `make train` up to the first step of its environments.
FIRST_STEP = """
import os, runpy, sys
from training.envs.batch import RaceBatch

RaceBatch.step = lambda *_: os._exit(0)
sys.argv = ["training", "train", "--store", sys.argv[1]]
runpy.run_module("training", run_name="__main__")
"""
Record = Callable[[str, dict[str, object]], None]
Seconds = Callable[..., None]


def seconds(*command: str) -> float:
    """Return how long a Python process takes; it must end with 0."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=dict(os.environ))
    return time.perf_counter() - began


def starts(commands: list[list[str]]) -> dict[str, float]:
    """Return median and range of what the commands take, after one that fills the caches."""
    seconds(*commands[0])
    taken = [round(seconds(*each), 3) for each in commands[1:]]
    return {"median s": statistics.median(taken), "from": min(taken), "to": max(taken)}


@pytest.mark.bench
def test_the_first_step_comes_soon(tmp_path: Path, record_bench: Record, record_seconds: Seconds) -> None:
    """From the begin of the process to the first step of a new run."""
    row = starts([["-c", FIRST_STEP, str(tmp_path / str(number))] for number in range(STARTS + 1)])
    what = "the first step of `make train`"
    record_bench("start", {"of": what, **row})
    record_seconds("start", {what: row["median s"]}, {what: GOAL_S})
    assert row["median s"] < GOAL_S


@pytest.mark.bench
def test_the_simulator_is_imported_soon(record_bench: Record, record_seconds: Seconds) -> None:
    """The import beside an empty Python."""
    empty = starts([["-c", ""]] * (STARTS + 1))
    row = starts([["-c", "import training.sim"]] * (STARTS + 1))
    what, nothing = "import training.sim, with Python's own start", "an empty Python"
    record_bench("start", {"of": what, **row, "an empty Python s": empty["median s"]})
    limit_s = empty["median s"] + IMPORT_GOAL_S
    record_seconds("start", {what: row["median s"], nothing: empty["median s"]}, {what: limit_s})
    assert row["median s"] < limit_s
