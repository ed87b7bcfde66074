"""A command in a terminal: what it prints, and what is typed when it asks."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cloud.fake_aws import ROOT

WITHIN_S = 300.0


def in_a_terminal(
    command: Sequence[str],
    env: dict[str, str],
    reactions: Sequence[tuple[str, Callable[[int], object]]],
    folder: Path = ROOT,
) -> tuple[int, str]:
    """Run a command in a terminal and return its exit code and all it printed.

    `reactions`, in their order: when a text is printed, the function is called with the terminal's keyboard.
    """
    keyboard, screen = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdin=screen, stdout=screen, stderr=screen, start_new_session=True
    )
    os.close(screen)
    told, waiting, end = "", list(reactions), time.monotonic() + WITHIN_S
    try:
        while select.select([keyboard], [], [], max(end - time.monotonic(), 0))[0]:
            told += os.read(keyboard, 1 << 16).decode()
            if waiting and waiting[0][0] in told:
                waiting.pop(0)[1](keyboard)
    except OSError:  # so ends a terminal whose programs have ended
        return process.wait(WITHIN_S), told.replace("\r\n", "\n")
    finally:
        process.kill()
        os.close(keyboard)
    raise AssertionError(f"it waits for something:\n{told}")


def typing(text: str) -> Callable[[int], object]:
    """Return a reaction: type a line."""
    return lambda keyboard: os.write(keyboard, f"{text}\n".encode())
