"""Waiting: bounded, for something that has a name, and never longer than what it waits for can still come."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tests.rehearsal.ec2 import Ec2
from tests.rehearsal.machine import Machine

Found = TypeVar("Found")
POLL_S = 0.5


def slowness() -> float:
    """Return how many times slower than a quiet one this computer is: bounds and notices stretch by it."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


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
        alive: Machine | None = None,
    ) -> Found:
        """Return what `look` finds, as soon as it is true; AssertionError names what did not come.

        within_s: on a quiet computer. launcher: a command that must not fail meanwhile. alive: a machine
        that must stay on meanwhile.
        """
        begun = time.monotonic()
        while True:
            found = look()
            if found:
                return found
            if self._ec2.fault:
                raise AssertionError(f"the tick of EC2 failed:\n{self._ec2.fault}")
            if launcher is not None and launcher.poll() not in {None, 0}:
                raise AssertionError(f"./launch.py ended with {launcher.returncode} before {what}")
            if alive is not None and not alive.is_on:
                raise AssertionError(f"{alive.name} went off before {what}")
            waited_s = time.monotonic() - begun
            assert waited_s < within_s * slowness(), f"{what}: not within {waited_s:.0f} s"
            time.sleep(POLL_S)
