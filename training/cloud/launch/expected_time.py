"""How long a run is likely to take on a machine, and what its timesteps cost: by figures that were measured elsewhere.

The figures are of two cores of an AMD EPYC of the Zen 3 generation (docs/notes/performance.md, 2026-11-26); a machine
of the default types has two such cores or better. More than two do not count, nor does a GPU: no machine of AWS has
been measured. How long one takes to its first step has not been either: it is the goal of docs/image.md. Once a run
has a checkpoint, its own speed counts.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from ...config import Config
from ...store.storage import Storage
from ..watch.run_status import newest_meta, newest_pointer

BOOT_S = 150.0  # from the fleet's request to the first step, where there is capacity
END_S = 60.0  # the last evaluation, the report, the last uploads
STEP_S = 0.25e-3  # a timestep without its share of updates
UPDATE_S = 0.84e-3  # an update whatever its size, and
UPDATE_S_PER_PRODUCT = 0.22e-9  # for each weight times each transition of the batch
OBSERVATIONS = 77  # numbers that a network of the default settings sees
MEASURED_CORES = 2
MEASURED_ON = "two cores of an AMD EPYC (Zen 3), 2026-11-26"


class Progress(NamedTuple):
    """The progress that a continued run has already made."""

    steps: int = 0
    trained_s: float = 0.0

    @property
    def timestep_s(self) -> float | None:
        """Return the seconds that a timestep took, None where nothing is known."""
        return self.trained_s / self.steps if self.steps and self.trained_s else None


class Speed(NamedTuple):
    """How fast a machine trains, and how that is known."""

    timestep_s: float
    source: str

    def usd_per_million(self, usd_per_hour: float) -> float:
        """Return what a million timesteps cost while a machine trains, boots and reports left out."""
        return 1e6 * self.timestep_s * usd_per_hour / 3600

    def describe_price(self, usd_per_hour: float) -> str:
        """Return that for people."""
        return f"${self.usd_per_million(usd_per_hour):.2g} per million timesteps ({self.source})"


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


def expected_time(config: Config, done: Progress | None = None, cores: int = MEASURED_CORES) -> ExpectedTime:
    """Return how long a run, or the rest of one, is likely to take on a machine with so many cores."""
    done = done or Progress()
    left = max(config.training.total_timesteps - done.steps, 0)
    speed = Speed(done.timestep_s, "this run's own speed") if done.timestep_s else estimate(config, cores)
    training_s = left * speed.timestep_s
    if config.training.max_minutes is None:
        return ExpectedTime(training_s, by_limit=False, speed=speed)
    limit_s = max(config.training.max_minutes * 60 - done.trained_s, 0.0)
    # A time close to the limit is reported as the limit: the estimate is rougher than that.
    return ExpectedTime(min(training_s, limit_s), by_limit=limit_s <= 1.2 * training_s, speed=speed)


def progress_of(storage: Storage, run: str, at_step: int | None = None) -> Progress:
    """Return a run's progress in its newest checkpoint, or in that of a step; none for a new run."""
    pointer = newest_pointer(storage, run)
    if pointer is None or pointer.checkpoint is None:
        return Progress()
    elapsed, newest = newest_meta(storage, pointer).get("elapsed_s"), pointer.checkpoint.step
    trained_s = float(elapsed) if isinstance(elapsed, (int, float)) else 0.0
    if at_step is None or not newest:
        return Progress(newest, trained_s)
    return Progress(at_step, trained_s * at_step / newest)


def estimate(config: Config, cores: int = MEASURED_CORES) -> Speed:
    """Return how fast a machine with so many cores is likely to train."""
    return Speed(timestep_s(config, cores), f"an estimate, by {MEASURED_ON}")


def timestep_s(config: Config, cores: int = MEASURED_CORES) -> float:
    """Return the seconds that a timestep of each agent is likely to take on so many cores, updates included."""
    sac = config.sac
    sizes = [OBSERVATIONS, *sac.net_arch]
    weights = sum(rows * columns for rows, columns in pairwise(sizes))
    update_s = UPDATE_S + UPDATE_S_PER_PRODUCT * sac.batch_size * weights
    updates = config.num_agents * sac.gradient_steps / (sac.train_freq * config.env.num_envs)
    return (STEP_S * config.num_cars + updates * update_s) * MEASURED_CORES / min(cores, MEASURED_CORES)


def _minutes(seconds: float) -> str:
    """Return a time in the unit that people would use."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{math.ceil(seconds / 60)} min"
