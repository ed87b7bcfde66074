"""Trainers that are started and killed, and the comparison of their runs with one left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from training import layout
from training.agents.codec import decode
from training.store import documents
from training.store.checkpoint import load
from training.store.open import open_store
from training.store.storage import Storage

RUN = "killed"

TICK_S = 1 / os.sysconf("SC_CLK_TCK")

SETTINGS = {
    "env.tracks": "[generated-1]",
    "env.max_episode_s": 3.0,
    "env.scan_noise_m": 0.01,
    "sac.net_arch": "[16, 16]",
    "sac.batch_size": 16,
    "sac.buffer_size": 1000,
    "sac.learning_starts": 100,
    "evaluation.starts": 1,
    "evaluation.tracks": "[]",
    "training.report": "false",
    "training.run_name": RUN,
    "tensorboard.graph": "false",
}


class Case(NamedTuple):
    """A kind of run: environments, steps between rounds of updates, updates in a round; how long, how often saved; and
    how many agents race each other, and how."""

    num_envs: int
    train_freq: int
    gradient_steps: int
    total: int
    every: int
    agents: int = 1
    mode: str = "independent"

    @property
    def updates_per_step(self) -> float:
        return self.gradient_steps / (self.train_freq * self.num_envs)

    @property
    def kind(self) -> str:
        return "sac" if self.agents == 1 else "sac_multiagent"

    def arguments(self) -> list[str]:
        values = {
            **SETTINGS,
            "env.num_envs": self.num_envs,
            "sac.train_freq": self.train_freq,
            "sac.gradient_steps": self.gradient_steps,
            "training.total_timesteps": self.total,
            "training.save_frequency": self.every,
            "evaluation.frequency": self.total // 3,
            "training.training_type": self.kind,
            "training.num_agents": self.agents,
            "multi_agent.mode": self.mode,
            "multi_agent.league.snapshot_interval": self.total // 6,
        }
        return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


SEVERAL = Case(8, 2, 2, 1200, 120, agents=2)

LEAGUE = Case(8, 2, 2, 1200, 120, agents=4, mode="league")

CASES = (
    Case(1, 1, 1, 400, 40),  # an update a step
    Case(16, 1, 16, 640, 80),
    Case(1, 4, 1, 600, 60),  # fewer
    Case(16, 2, 2, 3200, 320),
    SEVERAL,
    LEAGUE,
)


class Place(NamedTuple):
    """A store, as the command line and as we see it."""

    options: list[str]
    storage: Storage
    env: Mapping[str, str]


def directory(path: Path) -> Place:
    return Place(["--store", str(path)], open_store(str(path)), {})


class Nursery:
    """Start trainers, let them live for so much processor time, kill them."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "trainers.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    @property
    def used_s(self) -> float:
        """Return the processor time of all trainers that have ended."""
        fields = (
            Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        )
        return (int(fields[13]) + int(fields[14])) * TICK_S

    def tail(self) -> str:
        """Return the last words of the trainers."""
        return self.log.read_text()[-3000:]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def live(self, arguments: list[str], env: Mapping[str, str], *, cpu_s: float | None) -> int:
        """Run a forked trainer, SIGKILL it after so much processor time of its own; return its wait status."""
        kill_after(self.begin(arguments, env), cpu_s)
        return self.ended()

    def begin(
        self,
        arguments: list[str],
        env: Mapping[str, str],
        *,
        log: str = "",
        session: bool = False,
        ignore_hangup: bool = False,
    ) -> int:
        """Fork a trainer and return its process id; see tests/support/fork_server.py."""
        order = {"arguments": arguments, "env": dict(env), "log": log or str(self.log)}
        order |= {"session": session, "ignore_hangup": ignore_hangup}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        return self.ended()

    def ended(self) -> int:
        """Return the next number that the nursery tells: after a trainer's process id its wait status."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def live_alone(self, arguments: list[str], env: Mapping[str, str], *, cpu_s: float | None) -> int:
        """Do the same with a process that begins as a user's does."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "training", *arguments],
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
            )
            kill_after(process.pid, cpu_s)
            code = process.wait()
        return -code if code < 0 else code << 8


def kill_after(pid: int, cpu_s: float | None) -> None:
    """Kill a process once it has used so much processor time: the instant does not depend on what else runs."""
    while cpu_s is not None and (used := used_s(pid)) is not None:
        if used >= cpu_s:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(TICK_S)  # polling a process that ends


def used_s(pid: int) -> float | None:
    """Return the processor time of a process, None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if fields[0] in "ZX" else (int(fields[11]) + int(fields[12])) * TICK_S


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path)
    yield made
    made.close()


def order(case: Case, place: Place) -> list[str]:
    """Return the arguments that start or continue a run, as a user would type them."""
    exists = any(True for _ in place.storage.list(layout.config_key(RUN)))
    if exists:
        return ["train", "--resume", RUN, *place.options]
    return ["train", *case.arguments(), *place.options]


def live_rows(piece: dict[str, np.ndarray[Any, Any]], dead: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return a segment without its first `dead` rows, and without the last observations that belong to them."""
    if dead <= 0:
        return piece
    ends = int(piece["ended"][:dead].sum())
    return {part: array[ends if part == "final_observations" else dead :] for part, array in piece.items()}


def everything(storage: Storage, case: Case) -> tuple[dict[str, np.ndarray[Any, Any]], str]:
    """Return all arrays of the final checkpoint, and its JSON state as text."""
    checkpoint = load(storage, RUN, case.kind)
    arrays = {
        f"{name}/{part}": array
        for name in checkpoint.manifest.members
        for part, array in decode(checkpoint.read(name), what=name).items()
    }
    for number in range(case.agents):
        agent = layout.agent_name(number)
        rows = int(checkpoint.meta["agents"][number]["learner"]["replay_steps"])
        # The ring holds so many rows; what a segment has of older ones depends on when it was cut, and is never read.
        oldest = rows - int(SETTINGS["sac.buffer_size"]) // case.num_envs
        for ref, data in checkpoint.read_segments(agent):
            for part, array in live_rows(decode(data, what="segment"), oldest - ref.first).items():
                arrays[f"{agent}/{ref.first}-{ref.last}/{part}"] = array
    learned = {
        "step": checkpoint.step,
        **{name: checkpoint.meta[name] for name in ("world", "agents", "laps")},
    }
    return arrays, json.dumps(learned, sort_keys=True)


def left_alone(case: Case, place: Place, nursery: Nursery) -> float:
    """Train without a kill; return the processor time that it took, s."""
    before = nursery.used_s
    status = nursery.live(order(case, place), place.env, cpu_s=None)
    assert status == 0, nursery.tail()
    return nursery.used_s - before


def compare(case: Case, whole: Place, killed: Place) -> int:
    """Compare a killed run's end with that of an undisturbed one; return how many arrays are equal: all."""
    arrays, learned = everything(whole.storage, case)
    theirs, also_learned = everything(killed.storage, case)
    assert arrays.keys() == theirs.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert learned == also_learned
    status = documents.read_status(killed.storage, RUN)
    assert status is not None
    assert status.state == "done"
    assert any(True for _ in killed.storage.list(f"runs/{RUN}/models/{case.kind}/"))
    return len(arrays)


def newest_step(storage: Storage) -> int:
    names = [layout.parse_checkpoint(entry.key).step for entry in storage.list(f"runs/{RUN}/checkpoints/0")]
    return max(names, default=0)
