"""Waiting: bounded, for something that has a name, and never longer than what it waits for can still come."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tests.rehearsal.ec2 import Ec2

Found = TypeVar("Found")
POLL_S = 0.5


class Waiting:
    """Wait for what a rehearsal expects; whatever breaks meanwhile ends the waiting with its own words."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2

    def until(
        self,
        what: str,
        look: Callable[[], Found | None],
        within_s: float,
        launcher: subprocess.Popen[Any] | None = None,
    ) -> Found:
        """Return what `look` finds, as soon as it is true; AssertionError names what did not come.

        launcher: a command that must not fail meanwhile.
        """
        deadline = time.monotonic() + within_s
        while True:
            found = look()
            if found:
                return found
            if self._ec2.fault:
                raise AssertionError(f"the tick of EC2 failed:\n{self._ec2.fault}")
            if launcher is not None and launcher.poll() not in {None, 0}:
                raise AssertionError(f"./launch.py ended with {launcher.returncode} before {what}")
            assert time.monotonic() < deadline, f"{what}: not within {within_s:.0f} s"
            time.sleep(POLL_S)
