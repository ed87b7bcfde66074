"""The reward: a sum of named terms, each of which is logged by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..config import RewardSettings

    Array = NDArray[np.float64]


class Decision(NamedTuple):
    """The result of one decision of every car; arrays (E, N)."""

    advance_m: Array  # way along the centreline
    crashed: NDArray[np.bool_]  # into a wall, or into another car by its own fault
    hit: NDArray[np.bool_]  # by another car, without fault
    places: Array | None  # won less lost, where several cars race
    gained_m: Array | None  # on the cars nearby, where several cars race and the term is used
    lead: Array | None  # cars nearby behind less those before, where several cars race and the term is used
    action: Array  # (E, N, 2) in [-1, 1]
    previous_action: Array  # (E, N, 2)
    reference_action: Array | None  # (E, N, 2) of pure pursuit, where the trajectory term is used


def terms(settings: RewardSettings, decision: Decision) -> dict[str, Array]:
    """Return the weighted terms, each (E, N); their sum is the reward.

    progress: metres along the centreline. trajectory: closeness to pure pursuit's action, 0 to 1 (trajectory-aided
    learning, Evans et al. 2023, https://arxiv.org/abs/2306.07003). collision: once, not for a car that is hit without
    fault. hit: by another car, without fault. overtake: places won less places lost. relative_progress: metres gained
    on the cars nearby (the passing reward of Wurman et al. 2022, https://doi.org/10.1038/s41586-021-04357-7): the gain
    in a duel counts at once, and not only when the place is won. lead: cars nearby behind less those before, at every
    decision: a place is worth as much as one expects to hold it, where the metres gained on the way to it are few.
    steering_smoothness: change of the steering command between decisions, in full ranges.
    """
    result = {
        "progress": settings.progress * decision.advance_m,
        "collision": settings.collision * decision.crashed.astype(np.float64),
    }
    if decision.places is not None and settings.overtake != 0.0:
        result["overtake"] = settings.overtake * decision.places
    if decision.gained_m is not None:
        result["relative_progress"] = settings.relative_progress * decision.gained_m
    if decision.lead is not None:
        result["lead"] = settings.lead * decision.lead
    if decision.places is not None and settings.hit != 0.0:
        result["hit"] = settings.hit * decision.hit.astype(np.float64)
    if settings.steering_smoothness != 0.0:
        change = np.abs(decision.action[..., 0] - decision.previous_action[..., 0]) / 2.0
        result["steering_smoothness"] = settings.steering_smoothness * change
    if decision.reference_action is not None:
        distance = np.abs(decision.action - decision.reference_action).mean(axis=-1) / 2.0
        result["trajectory"] = settings.trajectory * (1.0 - distance)
    return result
