"""The trainer ended, or left without output, at random instants: nothing is lost, and it ends in the same bits."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.killed_trainers import (
    CASES,
    LEAGUE,
    RUN,
    SEVERAL,
    TICK_S,
    Case,
    Nursery,
    Place,
    compare,
    directory,
    left_alone,
    newest_step,
    order,
    used_s,
)
from training.store import documents

FULL = int(os.environ.get("F1TENTH_ENDINGS", "300"))
ON_TO_THE_END, SAVED = 0, 75


class Output:
    """Where a trainer writes to: a pipe or a terminal that somebody reads until it is closed, or a file."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._fds: list[int] = []
        self.path = folder / f"{kind}-{time.monotonic_ns()}"
        if kind == "pipe":
            os.mkfifo(self.path)
            self._fds = [os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)]
        elif kind == "terminal":
            self._fds = list(pty.openpty())
            self.path = Path(os.ttyname(self._fds[1]))
        elif kind == "full":
            self.path = Path("/dev/full")
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Let the reader leave, and the terminal with it."""
        self._closing.set()
        self._reader.join()
        while self._fds:
            os.close(self._fds.pop())

    def _read(self) -> None:
        while self._fds and not self._closing.is_set():
            ready, _, _ = select.select(self._fds[:1], [], [], 0.01)
            with contextlib.suppress(BlockingIOError):
                if ready and not os.read(self._fds[0], 1 << 16):
                    time.sleep(0.01)  # nobody has opened the other end yet


class Way(NamedTuple):
    """A way to be left: what it writes to, whether it is to outlive its terminal, what happens, how it may end."""

    output: str
    is_ignoring: bool
    happens: Callable[[int, Output], None]
    codes: frozenset[int]


def signalled(number: int) -> Callable[[int, Output], None]:
    return lambda pid, _output: os.kill(pid, number)


def closed_then_ctrl_c(pid: int, output: Output) -> None:
    output.close()
    os.kill(pid, signal.SIGINT)


ENDS, GOES_ON = frozenset({ON_TO_THE_END, SAVED}), frozenset({ON_TO_THE_END})
WAYS = {
    "SIGTERM": Way("file", is_ignoring=False, happens=signalled(signal.SIGTERM), codes=ENDS),
    "SIGHUP": Way("file", is_ignoring=False, happens=signalled(signal.SIGHUP), codes=ENDS),
    "its terminal closes": Way("terminal", is_ignoring=False, happens=lambda _, o: o.close(), codes=ENDS),
    "tee dies, then Ctrl-C": Way("pipe", is_ignoring=False, happens=closed_then_ctrl_c, codes=ENDS),
    "its reader leaves": Way("pipe", is_ignoring=False, happens=lambda _, o: o.close(), codes=GOES_ON),
    "its terminal closes, under nohup": Way(
        "terminal", is_ignoring=True, happens=lambda _, o: o.close(), codes=GOES_ON
    ),
    "SIGHUP under nohup": Way("file", is_ignoring=True, happens=signalled(signal.SIGHUP), codes=GOES_ON),
    "its disk is full": Way("full", is_ignoring=False, happens=lambda _pid, _output: None, codes=GOES_ON),
}


class Leaver:
    """Let trainers live for some processor time, and see what becomes of one that is left in some way."""

    def __init__(self, nursery: Nursery, folder: Path, place: Place) -> None:
        self._nursery, self._folder, self._storage = nursery, folder, place.storage
        self.outcome = folder / "outcome"
        self.is_left = False  # the last trainer had not come to its end before

    def leave(self, arguments: list[str], way: Way, cpu_s: float) -> int:
        """Return the exit code of a trainer that is left once it has claimed its run and used so much processor time.

        Before, a signal ends the program that is still being loaded.
        """
        attempts = self._attempts()
        output = Output(way.output, self._folder)
        self.outcome.unlink(missing_ok=True)
        pid = self._nursery.begin(
            arguments,
            {"F1TENTH_OUTCOME": str(self.outcome)},
            log=str(output.path),
            session=way.output == "terminal",
            ignore_hangup=way.is_ignoring,
        )
        begun_s = None
        while (used := used_s(pid)) is not None and (begun_s is None or used < begun_s + cpu_s):
            if begun_s is None and self._attempts() > attempts:
                begun_s = used
            time.sleep(TICK_S)  # polling a process that ends
        self.is_left = used is not None
        if self.is_left:
            way.happens(pid, output)
        status = self._nursery.ended()
        output.close()
        assert os.WIFEXITED(status), f"killed by signal {os.WTERMSIG(status)}"
        return os.WEXITSTATUS(status)

    def _attempts(self) -> int:
        return len(documents.read_attempts(self._storage, RUN))

    def told_step(self) -> int | None:
        """Return the step that a trainer stopped at, by its last words; None where it was before the first."""
        message = json.loads(self.outcome.read_text())["message"]
        if "before the first step; nothing is lost" in message:
            return None
        found = re.search(r"at step ([\d,]+); everything is saved", message)
        assert found, message
        return int(found[1].replace(",", ""))


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path)
    yield made
    made.close()


def leave_again_and_again(
    case: Case, place: Place, leaver: Leaver, generator: random.Random, *, ways: list[str], life_s: float
) -> list[str]:
    """Leave a run in one way after the other until it comes to its end; return the ways that it was left in."""
    left = []
    for name in ways:
        way = WAYS[name]
        code = leaver.leave(order(case, place), way, generator.uniform(0.0, 0.5) * life_s)
        assert code in way.codes, f"{name}: {code}"
        if leaver.is_left:
            left.append(name)
        if code == ON_TO_THE_END:
            return left
        told = leaver.told_step()
        if told is not None:
            (*_, attempt) = documents.read_attempts(place.storage, RUN)
            assert (attempt.cause, attempt.exit_code) == ("terminated", SAVED)
            assert told == newest_step(place.storage), f"{name}: steps are lost"
    return left


def finish(case: Case, place: Place, nursery: Nursery) -> None:
    status = documents.read_status(place.storage, RUN)
    if status is None or status.state != "done":
        assert nursery.live(order(case, place), place.env, cpu_s=None) == 0, nursery.tail()


@pytest.mark.slow
def test_trainers_left_a_few_times_end_as_if_they_never_were(tmp_path: Path, nursery: Nursery) -> None:
    """The store lies elsewhere: a disk that is full, or a terminal that is dead, is only that of the output."""
    case, whole = SEVERAL, directory(tmp_path / "whole")
    life_s = left_alone(case, whole, nursery)
    place, generator = directory(tmp_path / "another folder"), random.Random(6)
    leaver = Leaver(nursery, tmp_path, place)
    ways = ["SIGHUP", "its terminal closes", "tee dies, then Ctrl-C", "its terminal closes, under nohup"]
    leave_again_and_again(case, place, leaver, generator, ways=ways, life_s=life_s)
    finish(case, place, nursery)
    compare(case, whole, place)


@pytest.mark.torture
def test_trainers_left_three_hundred_times_end_as_if_they_never_were(
    tmp_path: Path, nursery: Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    """F1TENTH_ENDINGS in the environment: how often."""
    generator = random.Random(7)
    cases = [CASES[0], CASES[2], CASES[3], SEVERAL, LEAGUE]
    wholes = [directory(tmp_path / f"whole-{number}") for number in range(len(cases))]
    lives_s = [left_alone(case, place, nursery) for case, place in zip(cases, wholes, strict=True)]
    counts, runs = Counter[str](), 0
    while counts.total() < FULL:
        which = runs % len(cases)
        place = directory(tmp_path / f"left {runs}")
        leaver = Leaver(nursery, tmp_path, place)
        ways = generator.choices(list(WAYS), k=min(8, FULL - counts.total()))
        counts.update(
            leave_again_and_again(cases[which], place, leaver, generator, ways=ways, life_s=lives_s[which])
        )
        finish(cases[which], place, nursery)
        compare(cases[which], wholes[which], place)
        runs += 1
    with capsys.disabled():
        for name, count in counts.most_common():
            sys.stdout.write(f"\n  {count:4} {name}")
        sys.stdout.write(f"\n{counts.total()} times left: {runs} of {runs} runs equal to those left alone\n")
