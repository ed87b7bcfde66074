"""How long a run is likely to take on a machine: an estimate for the plan, from figures that were measured elsewhere.

The figures are of two cores of an AMD EPYC of the Zen 3 generation (docs/performance.md, 2026-11-26); a machine of the
default types has two such cores or better. How long a machine takes to its first step on AWS has not been measured:
it is the goal of docs/image.md. Once a run has a checkpoint, its own speed counts.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from training.cloud.facts import newest_meta, newest_pointer
from training.config import Config
from training.store.storage import Storage

BOOT_S = 150.0  # from the fleet's request to the first step, where there is capacity
END_S = 60.0  # the last evaluation, the report, the last uploads
STEP_S = 0.25e-3  # a timestep without its share of updates
UPDATE_S = 0.84e-3  # an update whatever its size, and
UPDATE_S_PER_PRODUCT = 0.22e-9  # for each weight times each transition of the batch
OBSERVATIONS = 77  # numbers that a network of the default settings sees


class Progress(NamedTuple):
    """What a run that is continued has behind it."""

    steps: int = 0
    trained_s: float = 0.0


class ExpectedTime(NamedTuple):
    """The parts of a run that a machine is paid for, s."""

    training_s: float
    by_limit: bool  # training.max_minutes ends it, not the last step
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


def expected_time(config: Config, done: Progress | None = None) -> ExpectedTime:
    """Return how long a run, or the rest of one, is likely to take."""
    done = done or Progress()
    measured = done.trained_s / done.steps if done.steps and done.trained_s else None
    left = max(config.training.total_timesteps - done.steps, 0)
    training_s = left * (measured or timestep_s(config))
    if config.training.max_minutes is None:
        return ExpectedTime(training_s, by_limit=False)
    limit_s = max(config.training.max_minutes * 60 - done.trained_s, 0.0)
    # What is close to the limit is told as the limit: the estimate is rougher than that.
    return ExpectedTime(min(training_s, limit_s), by_limit=limit_s <= 1.2 * training_s)


def progress_of(storage: Storage, run: str, at_step: int | None = None) -> Progress:
    """Return what a run has behind it in its newest checkpoint, or in that of a step; nothing for a new one."""
    pointer = newest_pointer(storage, run)
    if pointer is None or pointer.checkpoint is None:
        return Progress()
    elapsed, newest = newest_meta(storage, pointer).get("elapsed_s"), pointer.checkpoint.step
    trained_s = float(elapsed) if isinstance(elapsed, (int, float)) else 0.0
    if at_step is None or not newest:
        return Progress(newest, trained_s)
    return Progress(at_step, trained_s * at_step / newest)


def timestep_s(config: Config) -> float:
    """Return the seconds that a timestep of each agent is likely to take, updates included."""
    sac = config.sac
    sizes = [OBSERVATIONS, *sac.net_arch]
    weights = sum(rows * columns for rows, columns in pairwise(sizes))
    update_s = UPDATE_S + UPDATE_S_PER_PRODUCT * sac.batch_size * weights
    updates = config.num_agents * sac.gradient_steps / (sac.train_freq * config.env.num_envs)
    return STEP_S * config.num_cars + updates * update_s


def _minutes(seconds: float) -> str:
    """Return a time in the unit that people would use."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{math.ceil(seconds / 60)} min"
