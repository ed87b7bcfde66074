"""How soon training begins: five starts each, in processes of their own, caches warm.

    make bench ARGS="-k start"

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
# `make train` up to the first step of its environments.
FIRST_STEP = """
import os, runpy, sys
from training.envs.batch import RaceBatch

RaceBatch.step = lambda *_: os._exit(0)
sys.argv = ["training", "train", "--store", sys.argv[1]]
runpy.run_module("training", run_name="__main__")
"""
Record = Callable[[str, dict[str, object]], None]


def seconds(*command: str) -> float:
    """Return how long a Python process takes; it must end with 0."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=dict(os.environ))
    return time.perf_counter() - began


def starts(commands: list[list[str]]) -> dict[str, object]:
    """Return median and range of what the commands take, after one that fills the caches."""
    seconds(*commands[0])
    taken = [round(seconds(*each), 2) for each in commands[1:]]
    return {"median s": statistics.median(taken), "from": min(taken), "to": max(taken)}


@pytest.mark.bench
def test_the_first_step_comes_soon(tmp_path: Path, record_bench: Record) -> None:
    """From the begin of the process to the first step of a new run."""
    row = starts([["-c", FIRST_STEP, str(tmp_path / str(number))] for number in range(STARTS + 1)])
    record_bench("start", {"of": "the first step of `make train`", **row, "goal s": 5.0})
    assert float(str(row["median s"])) < 5.0


@pytest.mark.bench
def test_the_simulator_is_imported_soon(record_bench: Record) -> None:
    """The import beside an empty Python."""
    empty = starts([["-c", ""]] * (STARTS + 1))
    row = starts([["-c", "import training.sim"]] * (STARTS + 1))
    record_bench(
        "start", {"of": "import training.sim", **row, "an empty Python s": empty["median s"], "goal s": 0.3}
    )
    assert float(str(row["median s"])) - float(str(empty["median s"])) < 0.3
