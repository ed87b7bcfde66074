"""Estimate before the start whether a run fits into this computer's memory: the buffer is full only much later.

A replay buffer takes memory only as it fills, so a run that is too large would begin, be killed by the system when its
buffer is nearly full, and be killed again after each resume.
"""

from __future__ import annotations

import resource
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

from ..errors import ConfigurationError
from .settings import Config

ACTIONS = 2
FLOAT = 4
# Per transition: float32 observation, actions and reward, whether it ended (1), the number of its episode's end (8);
# the last observation of an episode is kept as well, and an episode lasts at least 25 decisions, even without learning.
FIXED_BYTES, DECISIONS_PER_EPISODE = 9, 25
# Of each weight there are the parameter, its gradient, two moments of Adam; of critics also targets, of the actor an
# average; and what is packed for the processor. Measured: tests/test_memory.py.
COPIES_OF_WEIGHTS = 8
NETWORKS = 3  # an actor, two critics
# A car: its state, scans and observations, those of the last step. Measured at 65,536 environments.
CAR_BYTES = 6_000
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
GB = 1e9


class Needs(NamedTuple):
    """The memory that a run will take in addition to what is loaded already, bytes."""

    replay: float
    rounds: float  # the transitions of a whole round of updates, gathered at once
    networks: float
    environments: float

    @property
    def total(self) -> float:
        """Return all of it."""
        return sum(self)


def transition_bytes(config: Config) -> float:
    """Return what the replay buffer keeps for one transition of an agent."""
    width = config.env.observation_size
    imitated = 0 if config.imitation.expert == "none" else ACTIONS
    floats = width * (1 + 1 / DECISIONS_PER_EPISODE) + ACTIONS + 1 + imitated
    return FLOAT * floats + FIXED_BYTES


def needs(config: Config) -> Needs:
    """Return the most memory that a run will take."""
    sac, env = config.sac, config.env
    width = env.observation_size
    kept = min(sac.buffer_size, max(config.training.total_timesteps, env.num_envs))
    if config.num_agents * sac.buffer_size * transition_bytes(config) > addressable_bytes():
        kept = sac.buffer_size  # the whole buffer is asked for at the start, and would not be granted
    batch = sac.gradient_steps * sac.batch_size
    weights = sum(rows * columns for rows, columns in pairwise([width + ACTIONS, *sac.net_arch, ACTIONS]))
    return Needs(
        replay=config.num_agents * kept * transition_bytes(config),
        # Gathered by numpy, then laid out for the learner; and the noise of both policies.
        rounds=config.num_agents * batch * FLOAT * 2 * (2 * width + 4 * ACTIONS + 2),
        networks=config.num_agents * weights * FLOAT * NETWORKS * COPIES_OF_WEIGHTS,
        environments=env.num_envs * config.num_cars * (CAR_BYTES + 4 * FLOAT * width),
    )


def addressable_bytes() -> float:
    """Return how much Linux grants at once to a process that uses none yet: all memory and the swap space."""
    return float(psutil.virtual_memory().total + psutil.swap_memory().total)


def available_bytes() -> float:
    """Return the memory that this process may still take: the least of what computer, container and limits allow."""
    limits = [float(psutil.virtual_memory().available)]
    used = float(psutil.Process().memory_info().vms)
    for name in CGROUPS:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(float(text) - float(psutil.Process().memory_info().rss))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft - used)
    return max(min(limits), 0.0)


def check_memory(config: Config) -> None:
    """Raise ConfigurationError for a run that would not fit, with the number that does.

    Asked where tracks are loaded and nothing else is: they count as used.
    """
    check_fits(config, available_bytes(), "free here")


def check_fits(config: Config, have: float, where: str) -> None:
    """Raise ConfigurationError for a run that needs more than so many bytes; where: what they are, for people."""
    need = needs(config)
    if need.total <= have:
        return
    parts = need._asdict()
    largest = max(parts, key=lambda name: parts[name])
    told = ", ".join(
        f"{value / GB:.1f} GB for {_WORDS[name]}" for name, value in parts.items() if value > GB / 20
    )
    raise ConfigurationError(
        f"this run needs {need.total / GB:.1f} GB of memory ({told}); {have / GB:.1f} GB are {where}",
        next_step=_advice(config, largest, have - (need.total - parts[largest])),
    )


_WORDS = {
    "replay": "a full replay buffer",
    "rounds": "the transitions of a round of updates",
    "networks": "networks and optimizers",
    "environments": "environments",
}


def _advice(config: Config, largest: str, left: float) -> str:
    """Return what to change; left: bytes for the largest part."""
    if largest == "replay" and left > 0:
        fits = left / (config.num_agents * transition_bytes(config))
        if fits >= config.sac.batch_size:
            return f"Set sac.buffer_size to {_round_down(fits)} or less, or take a computer with more memory."
    setting = {
        "replay": "sac.buffer_size",
        "rounds": "sac.gradient_steps or sac.batch_size",
        "networks": "sac.net_arch",
        "environments": "env.num_envs",
    }[largest]
    return f"Lower {setting}, or take a computer with more memory."


def _round_down(number: float) -> int:
    """Return two leading digits."""
    digits = max(len(str(int(number))) - 2, 0)
    step = int(10**digits)
    return int(number) // step * step
