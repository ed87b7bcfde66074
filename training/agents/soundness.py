"""Check that a learner's numbers are finite: one that has diverged learns nothing more, and may not be saved.

Adam's moments are part of it. They overflow first, and from then on every update divides by infinity.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import Diverged
from .snapshot import numbers, places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .multi_agent import MultiAgentSAC

_IN_WORDS = {
    "actor": "the actor",
    "critic": "the critics",
    "target": "the critics' targets",
    "average": "the EMA policy",
    "log_alpha": "the entropy coefficient",
}


def check(learner: MultiAgentSAC) -> None:
    """Raise Diverged where losses, networks or optimizers are not finite; a millisecond for a million weights."""
    if found := fault(learner):
        raise Diverged(f"diverged at step {learner.num_timesteps:,}: {found}")


def check_losses(learner: MultiAgentSAC) -> None:
    """Raise Diverged if the losses of the last round are not finite; takes microseconds."""
    if not all(math.isfinite(sum(agent.losses.values())) for agent in learner.agents):
        check(learner)


def fault(learner: MultiAgentSAC) -> str:
    """Say what is not finite, "" if all is; the entropy coefficient may be 0, whose logarithm is minus infinity."""
    several = len(learner.agents) > 1
    for number, agent in enumerate(learner.agents):
        whose = f" of agent {number}" if several else ""
        for name, loss in agent.losses.items():
            if not math.isfinite(loss):
                return f"the {name}{whose} is {loss}"
        tensors = {name: place.flat for name, place in places(learner.team, number)}
        tensors |= dict(numbers(learner.team, number))
        for name, tensor in tensors.items():
            if not _is_finite(name, tensor) and not _is_finite(name, _own(learner, number, name)):
                return f"there are numbers that are not finite in {_in_words(name)}{whose}"
    return ""


def is_sound(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Tell whether the arrays of a saved agent are finite."""
    floats = ((name, array) for name, array in arrays.items() if np.issubdtype(array.dtype, np.floating))
    return all(_is_finite(name, torch.from_numpy(array)) for name, array in floats)


def _is_finite(name: str, tensor: torch.Tensor) -> bool:
    if name == "log_alpha":
        return bool((tensor < math.inf).all())  # false of nan too
    return bool(torch.isfinite(tensor).all())


def _own(learner: MultiAgentSAC, number: int, name: str) -> torch.Tensor:
    """Return one agent's part of what a tensor holds of all."""
    for known, place in places(learner.team, number):
        if known == name:
            return place.stack.part(place.first, place.count, place.flat)
    return dict(numbers(learner.team, number))[name]


def _in_words(name: str) -> str:
    if name.startswith("adam."):
        network = name.split(".")[1]
        return f"Adam's state of {_IN_WORDS['log_alpha' if network == 'alpha' else network]}"
    return _IN_WORDS[name]
