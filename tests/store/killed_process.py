"""A process to be killed: `python -m tests.store.killed_process` forks, on request, a child that lives a run's life.

Lines in: directories. The child waits for a signal: SIGUSR1 is "go", SIGUSR2 "go, and say each store call".
Lines out: the child's pid, "call" before each store call if asked, "committed STEP" each time a commit returned,
"error NAME" for one that failed, and "exit STATUS" at its end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from tests.store.memory import Call, FaultyStorage
from tests.store.scenario import Told, live
from training.errors import TrainingError
from training.store.directory import DirectoryStorage
from training.store.retry import RetryingStorage, RetryPolicy

WORDS = {signal.SIGUSR1, signal.SIGUSR2}


class Speaking(Told):
    """Tell the parent at once: what was told must be on its way before the next system call."""

    def __init__(self) -> None:
        super().__init__(_Spoken(), [])  # type: ignore[arg-type]


class _Spoken(list[int]):
    def append(self, step: int) -> None:
        with contextlib.suppress(
            OSError
        ):  # the fault that was injected may hit this write: then it is not told
            os.write(1, b"committed %d\n" % step)


def say(_: int, __: Call) -> None:
    os.write(1, b"call\n")


def quiet(_: int, __: Call) -> None:
    """Let the call be made, unnoticed."""


def child(directory: str) -> None:
    """Wait to be traced, then boot, resume, train and save."""
    # A signal, not a line: a child killed before it has read its line would leave it to the next one.
    word = signal.sigwait(WORDS)
    policy = RetryPolicy(deadline_s=1.0, first_delay_s=0.001, longest_delay_s=0.01)
    try:
        storage = FaultyStorage(DirectoryStorage(Path(directory)), say if word == signal.SIGUSR2 else quiet)
        live(RetryingStorage(storage, policy), Speaking())
    except TrainingError as error:
        os.write(1, f"error {type(error).__name__}\n".encode())
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Fork a child for each directory that comes in."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WORDS)
    buffer = b""
    while chunk := os.read(0, 4096):
        buffer += chunk
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            pid = os.fork()
            if pid == 0:
                child(line.decode())
            os.write(1, b"pid %d\n" % pid)
            _, status = os.waitpid(pid, 0)
            os.write(1, b"exit %d\n" % status)


if __name__ == "__main__":
    sys.exit(main())
