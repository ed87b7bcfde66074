"""How fast a machine is likely to train with some settings: by figures that were measured elsewhere.

The figures are of two cores of an AMD EPYC of the Zen 3 generation (docs/notes/performance.md, 2026-11-26); a machine
of the default types has two such cores or better. More than two do not count, nor does a GPU: no machine of AWS has
been measured.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from .settings import Config

STEP_S = 0.25e-3  # a timestep without its share of updates
UPDATE_S = 0.84e-3  # an update whatever its size, and
UPDATE_S_PER_PRODUCT = 0.22e-9  # for each weight times each transition of the batch
OBSERVATIONS = 77  # numbers that a network of the default settings sees
MEASURED_CORES = 2
MEASURED_ON = "two cores of an AMD EPYC (Zen 3), 2026-11-26"


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
