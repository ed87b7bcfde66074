"""A directory as the store, killed at system calls, out of space and on a failing disk: never torn."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.store.scenario import Told, begin, check
from training.store.directory import DirectoryStorage

# Every call by which a life of a run changes something, or learns what is there.
SYSCALLS = ("openat", "write", "fsync", "rename", "mkdir", "flock", "close", "read", "unlink")
INJECTIONS = {"SIGKILL": "signal=SIGKILL", "ENOSPC": "error=ENOSPC", "EIO": "error=EIO"}
# What a full or failing disk can answer; the others do not reach it.
DISK_CALLS = {
    "ENOSPC": ("openat", "write", "fsync", "mkdir", "rename"),
    "EIO": ("write", "fsync", "rename", "read"),
}
SAMPLE = 25
STORM, FULL_STORM = 6, 200
CALLS, LONGEST_CALL_S = 20, 0.02

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="apt-get install strace")


class Victims:
    """A process that forks children to be killed, so that Python starts once and not once a kill."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.killed_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def start(self, directory: Path) -> int:
        """Fork a child that waits; return its pid."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{directory}\n".encode())
        return int(self._line().removeprefix("pid "))

    def finish(self, *, kill_at: tuple[int, int, float] | None = None) -> tuple[Told, int]:
        """Wait for the child's end; return what it was told, and its wait status.

        kill_at: a pid, the number of the store call in which to kill it, and how far in (s).
        """
        told, calls = Told(), 0
        while not (line := self._line()).startswith("exit "):
            calls += line == "call"
            if kill_at and calls == kill_at[1] and line == "call":
                time.sleep(kill_at[2])
                with contextlib.suppress(ProcessLookupError):  # it may have come to its end
                    os.kill(kill_at[0], signal.SIGKILL)
            if line.startswith("committed "):
                told.committed.append(int(line.removeprefix("committed ")))
        return told, int(line.removeprefix("exit "))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            byte = self._process.stdout.read(1)
            assert byte, "the process that forks the victims died"
            line += byte
        return line.decode().strip()


class Injection(NamedTuple):
    """Break the `number`th call (from 1) of a kind in one of the ways above."""

    kind: str
    syscall: str
    number: int


@pytest.fixture
def victims() -> Iterator[Victims]:
    process = Victims()
    yield process
    process.close()


def traced(victims: Victims, directory: Path, options: list[str], log: Path) -> tuple[Told, int]:
    """Let a child live under strace; return what it was told and its wait status."""
    pid = victims.start(directory)
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={','.join(SYSCALLS)}", *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        assert "attached" in attached, attached
        os.kill(pid, signal.SIGUSR1)
        outcome = victims.finish()
        strace.stderr.read()
    return outcome


def counts(victims: Victims, tmp_path: Path) -> collections.Counter[str]:
    """Count the system calls of an undisturbed life."""
    begin(DirectoryStorage(tmp_path / "undisturbed"))
    told, status = traced(victims, tmp_path / "undisturbed", [], tmp_path / "log")
    assert (told.committed, status) == ([300, 400], 0)
    names = re.findall(r"^\d+ +(\w+)\(", (tmp_path / "log").read_text(), re.MULTILINE)
    return collections.Counter(names)


def all_injections(found: collections.Counter[str]) -> list[Injection]:
    return [
        Injection(kind, syscall, number)
        for kind in INJECTIONS
        for syscall in SYSCALLS
        if syscall in DISK_CALLS.get(kind, SYSCALLS)
        for number in range(1, found[syscall] + 1)
    ]


def survive_all(
    victims: Victims, tmp_path: Path, sample: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = all_injections(counts(victims, tmp_path))
    everything = len(chosen)
    if sample is not None:
        chosen = random.Random(2).sample(chosen, sample)
    tried: collections.Counter[tuple[str, str]] = collections.Counter()
    for injection in chosen:
        directory = tmp_path / f"{injection.kind}-{injection.syscall}-{injection.number}"
        begin(DirectoryStorage(directory))
        inject = f"inject={injection.syscall}:{INJECTIONS[injection.kind]}:when={injection.number}"
        told, status = traced(victims, directory, ["-e", inject], tmp_path / "log")
        if injection.kind == "SIGKILL":
            assert status == signal.SIGKILL, f"{injection} was not carried out"
        try:
            check(DirectoryStorage(directory), told)
        except Exception as error:
            raise AssertionError(f"not survived: {injection}") from error
        tried[injection.kind, injection.syscall] += 1
        shutil.rmtree(directory)
    with capsys.disabled():
        total = sum(tried.values())
        sys.stdout.write(f"\ndirectory, {everything} places to break: tried {total}, survived {total}\n")
        for kind in INJECTIONS:
            sys.stdout.write(f"  {kind:8}" + "".join(f"  {s} {tried[kind, s]:3}" for s in SYSCALLS) + "\n")


@pytest.mark.slow
@needs_strace
def test_broken_at_some_system_calls(
    victims: Victims, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survive_all(victims, tmp_path, SAMPLE, capsys)


@needs_strace
@pytest.mark.torture
def test_broken_at_every_system_call(
    victims: Victims, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survive_all(victims, tmp_path, None, capsys)


@needs_strace
def test_what_was_told_as_committed_would_survive_a_power_cut(victims: Victims, tmp_path: Path) -> None:
    """A kill keeps the page cache; what a power cut spares is seen from the order of the system calls."""
    directory = tmp_path / "store"
    begin(DirectoryStorage(directory))
    traced(victims, directory, ["-y"], tmp_path / "log")
    synced: set[str] = set()
    open_names: list[str] = []
    renames = 0
    for line in (tmp_path / "log").read_text().splitlines():
        if found := re.search(r"fsync\(\d+<([^>]*)>\) += 0", line):
            synced.add(found[1])
            open_names = [name for name in open_names if str(Path(name).parent) != found[1]]
        elif found := re.search(r'rename\("([^"]*)", "([^"]*)"\) += 0', line):
            assert found[1] in synced, f"renamed before its bytes were durable: {line}"
            open_names.append(found[2])
            renames += 1
        elif found := re.search(r'mkdir\("([^"]*)", [0-7]+\) += 0', line):
            open_names.append(found[1])
        elif "committed" in line:
            assert not open_names, f"told as committed before these names were durable: {open_names}"
    assert renames >= 11


def storm(victims: Victims, tmp_path: Path, kills: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Kill at random instants of a life: somewhere in, or shortly after, a store call drawn from all."""
    generator = random.Random(3)
    killed = committed = 0
    for number in range(kills):
        directory = tmp_path / f"storm-{number}"
        begin(DirectoryStorage(directory))
        pid = victims.start(directory)
        os.kill(pid, signal.SIGUSR2)
        instant = (pid, generator.randint(1, CALLS), generator.random() * LONGEST_CALL_S)
        told, status = victims.finish(kill_at=instant)
        killed += status == signal.SIGKILL
        committed += len(told.committed)
        check(DirectoryStorage(directory), told)
        shutil.rmtree(directory)
    with capsys.disabled():
        told_of = f"{killed} killed before their end, {committed} commits had returned"
        sys.stdout.write(f"\n{kills} kills at random instants: all survived; {told_of}\n")


def test_killed_at_random_instants(
    victims: Victims, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storm(victims, tmp_path, STORM, capsys)


@pytest.mark.torture
def test_killed_two_hundred_times(
    victims: Victims, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storm(victims, tmp_path, FULL_STORM, capsys)
