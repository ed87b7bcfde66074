"""How long a run is likely to take on a machine: by figures that were measured elsewhere (config/speed.py).

How long a machine takes to its first step has not been measured: it is the goal of docs/image.md. Once a run has a
checkpoint, its own speed counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...config import TrainingSettings
from ...config.speed import Speed
from ...store.storage import Storage
from ..watch.run_status import newest_meta, newest_pointer

BOOT_S = 150.0  # from the fleet's request to the first step, where there is capacity
END_S = 60.0  # the last evaluation, the report, the last uploads


class ProgressSoFar(NamedTuple):
    """The progress that a continued run has already made."""

    steps: int = 0
    trained_s: float = 0.0

    @property
    def timestep_s(self) -> float | None:
        """Return the seconds that a timestep took, None where nothing is known."""
        return self.trained_s / self.steps if self.steps and self.trained_s else None


class ExpectedTime(NamedTuple):
    """The parts of a run that a machine is paid for, s."""

    training_s: float
    by_limit: bool  # training.max_minutes ends it, not the last step
    speed: Speed
    boot_s: float = BOOT_S
    end_s: float = END_S

    @property
    def total_h(self) -> float:
        """Return the hours in which the machine is up, if nothing interrupts it."""
        return (self.boot_s + self.training_s + self.end_s) / 3600

    def describe(self) -> str:
        """Return the estimate for people, with its parts."""
        why = "training.max_minutes" if self.by_limit else "an estimate"
        return (
            f"about {_minutes(self.total_h * 3600)}: {_minutes(self.boot_s)} to boot, "
            f"{_minutes(self.training_s)} of training ({why}), {_minutes(self.end_s)} for the report"
        )


def expected_time(
    settings: TrainingSettings, estimate: Speed, done: ProgressSoFar | None = None
) -> ExpectedTime:
    """Return how long a run, or the rest of one, is likely to take; estimate: how fast its machine is, if it is new."""
    done = done or ProgressSoFar()
    left = max(settings.total_timesteps - done.steps, 0)
    speed = Speed(done.timestep_s, "this run's own speed") if done.timestep_s else estimate
    training_s = left * speed.timestep_s
    if settings.max_minutes is None:
        return ExpectedTime(training_s, by_limit=False, speed=speed)
    limit_s = max(settings.max_minutes * 60 - done.trained_s, 0.0)
    # A time close to the limit is reported as the limit: the estimate is rougher than that.
    return ExpectedTime(min(training_s, limit_s), by_limit=limit_s <= 1.2 * training_s, speed=speed)


def progress_of(storage: Storage, run: str, at_step: int | None = None) -> ProgressSoFar:
    """Return a run's progress in its newest checkpoint, or in that of a step; none for a new run."""
    pointer = newest_pointer(storage, run)
    if pointer is None or pointer.checkpoint is None:
        return ProgressSoFar()
    elapsed, newest = newest_meta(storage, pointer).get("elapsed_s"), pointer.checkpoint.step
    trained_s = float(elapsed) if isinstance(elapsed, (int, float)) else 0.0
    if at_step is None or not newest:
        return ProgressSoFar(newest, trained_s)
    return ProgressSoFar(at_step, trained_s * at_step / newest)


def _minutes(seconds: float) -> str:
    """Return a time in the unit that people would use."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{math.ceil(seconds / 60)} min"
