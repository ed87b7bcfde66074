"""The watchdog hears of each piece of work, also after the last step, and of nothing else: a hang stays a hang."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.trainer_process import QUICK, run
from training.evaluation.load_run import runs_in
from training.store.open import open_store

pytestmark = pytest.mark.slow  # each test trains, in a process of its own

ROOT = Path(__file__).parents[1]
SIGNS = ("WATCHDOG=1", "EXTEND_TIMEOUT_USEC=")
# Of the trainer and its saver, each of whose commits has four threads, and of the two threads that upload segments.
# A replay takes the physics steps of one decision by themselves.
MOST_WORK_BETWEEN = 12
# Pieces of work that never end, in threads of their own: they must not count as a sign of life.
ENDLESS = "WORK=look for requests"


class Manager:
    """A service manager: all that it hears, in order."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.heard: list[str] = []
        self._news = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        threading.Thread(target=self._listen, name="manager", daemon=True).start()

    def _listen(self) -> None:
        while text := self._socket.recv(4096).decode():
            with self._news:
                self.heard.append(text)
                self._news.notify_all()

    def wait_for(self, text: str, times: int = 1, after: int = 0) -> int:
        """Wait until something was heard so often, after a place in what is heard; return the place of the last."""

        def places() -> list[int]:
            return [i for i, one in enumerate(self.heard) if i >= after and one.startswith(text)][:times]

        with self._news:
            assert self._news.wait_for(lambda: len(places()) == times, timeout=240), self.heard[-5:]
            return places()[-1]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def train(manager: Manager, store: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.watchdog_program", "train", "--store", str(store), *arguments],
        cwd=ROOT,
        env={**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "600000000", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def settings(*more: str) -> list[str]:
    return [part for one in (*QUICK, *more) for part in ("--set", one)]


def longest_work(heard: list[str]) -> list[str]:
    """Return the longest sequence of pieces of work without a sign of life."""
    longest, now = list[str](), list[str]()
    for text in heard:
        if text.startswith(SIGNS):
            now = []
        elif text.startswith("WORK=") and text != ENDLESS:
            now.append(text)
            longest = now.copy() if len(now) > len(longest) else longest
    return longest


TWO_AGENTS = settings(
    "training.training_type=sac_multiagent",
    "training.num_agents=2",
    "training.total_timesteps=2000",
    "evaluation.frequency=500",
    "training.report=true",
    "env.max_episode_s=2.0",
    "sac.gradient_steps=20",
)


def test_every_piece_of_work_of_a_run_is_a_sign_of_life(manager: Manager, tmp_path: Path) -> None:
    """From the first step to the last evaluation, the last save, laps, races, pictures, film and report."""
    process = train(manager, tmp_path / "store", *TWO_AGENTS)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    heard = manager.heard
    ready = heard.index("READY=1")
    assert not any(text.startswith("WATCHDOG=1") for text in heard[:ready])
    assert not any(text.startswith("EXTEND") for text in heard[ready:]), "the time to stop is not extended"
    done = {text.removeprefix("WORK=") for text in heard[ready:] if text.startswith("WORK=")}
    expected = {"race step", "update", "choice", "model", "store put", "frame", "picture", "chart"}
    assert done >= expected, f"never seen: {expected - done}"
    assert len(longest_work(heard)) <= MOST_WORK_BETWEEN, longest_work(heard)


def test_every_piece_of_work_of_a_start_extends_its_limit(manager: Manager, tmp_path: Path) -> None:
    """A checkpoint with much replay is read for as long as it takes; a start that hangs ends at its limit."""
    assert run(tmp_path / "store", steps=3000).returncode == 0
    (name,) = runs_in(open_store(str(tmp_path / "store")))
    longer = ("--set", "training.total_timesteps=400000")
    resumed = train(manager, tmp_path / "store", "--resume", name, *longer)
    ready = manager.wait_for("READY=1")
    resumed.kill()
    resumed.communicate()
    start = manager.heard[:ready]
    done = {text.removeprefix("WORK=") for text in start if text.startswith("WORK=")}
    assert done >= {"track", "checkpoint read", "segment pasted", "store get"}, done
    assert sum(text == "EXTEND_TIMEOUT_USEC=600000000" for text in start) >= 10
    assert len(longest_work(start)) <= MOST_WORK_BETWEEN, longest_work(start)


def test_a_hang_in_the_last_evaluation_gives_no_sign_of_life(manager: Manager, tmp_path: Path) -> None:
    """Threads that go on by themselves, which look for requests and upload the log, feed no watchdog."""
    process = train(manager, tmp_path / "store", *TWO_AGENTS, HANG_IN="select_final")
    try:
        hung = manager.wait_for("HANG=1")
        until = manager.wait_for(ENDLESS, times=3, after=hung)
        assert [text for text in manager.heard[hung:until] if text.startswith(SIGNS)] == []
    finally:
        process.kill()
        process.communicate()
