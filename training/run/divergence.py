"""Explain a run that has diverged: since when, which setting is the likely cause, and how to continue."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from .. import layout
from ..agents import soundness
from ..agents.codec import decode
from ..config import ImitationSettings, SacSettings
from ..config.resume import FORKABLE
from ..errors import DataError, Diverged, TrainingError
from ..store.restore import Checkpoint, history
from ..store.retry import until
from ..store.storage import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..agents.multi_agent import MultiAgentSAC
    from .claimed_run import Run

# Reading old checkpoints, to find a sound one, must not keep a machine running that has nothing more to learn.
LOOK_S = 60.0


class Usual(NamedTuple):
    """The usual range of a setting; far outside of it training tends to diverge."""

    key: str
    low: float
    high: float

    def excess(self, value: float) -> float:
        """Return by which factor a value is outside; 1 within, infinite beyond an end at 0."""
        if self.low <= value <= self.high:
            return 1.0
        end = self.high if value > self.high else self.low
        return abs(value / end) if end else math.inf


# Ranges that published SAC agents use, and ours; gamma near 1 sums rewards without end.
USUAL = (
    Usual("sac.ent_coef", 0.0, 1.0),
    Usual("sac.learning_rate", 0.0, 3e-3),
    Usual("sac.learning_rate_end", 0.0, 3e-3),
    Usual("sac.target_entropy", -16.0, 0.0),
    Usual("sac.gamma", 0.0, 0.9999),
    Usual("imitation.coef", 0.0, 1_000.0),
)


@contextlib.contextmanager
def explained(learner: MultiAgentSAC, run: Run) -> Iterator[None]:
    """Raise Diverged, with the cause and the way back, for any error that comes from a learner that is not finite.

    For example, the simulator, which knows of no learner, raises an error for actions that are not numbers. All other
    errors pass unchanged.
    """
    try:
        yield
    except Exception as error:
        other = isinstance(error, TrainingError) and not isinstance(error, Diverged)
        found = "" if other else soundness.fault(learner)
        if not found:
            raise
        cause = likely_cause(run.config.sac, run.config.imitation)
        message = f"diverged at step {learner.num_timesteps:,}: {found}\nLikely cause: {cause.explanation}"
        raise Diverged(message, next_step=_way_back(run, cause)) from error


class Cause(NamedTuple):
    """The setting that most likely made a run diverge, in words, and what to set it to."""

    key: str
    explanation: str
    remedy: float


def likely_cause(sac: SacSettings, imitation: ImitationSettings) -> Cause:
    """Name the setting that is farthest beyond its usual range; the step size where none is."""
    values = _numbers(sac, imitation)
    found = [(one.excess(values[one.key]), one, values[one.key]) for one in USUAL if one.key in values]
    excess, worst, value = max(found, key=lambda each: each[0])
    rate = sac.learning_rate
    lower = min(rate / 3, 3e-4)
    if excess > 1.0:
        explanation = f"{worst.key} = {value:g}; usual is {worst.low:g} to {worst.high:g}."
        usual = _numbers(SacSettings(), ImitationSettings()).get(worst.key)
        return Cause(
            worst.key, explanation, lower if usual is None or worst.key == "sac.learning_rate" else usual
        )
    explanation = (
        f"no setting is far from its usual values; try a smaller sac.learning_rate than {rate:g} first."
    )
    return Cause("sac.learning_rate", explanation, lower)


def last_sound(run: Run) -> int | None:
    """Return the step of the newest checkpoint of which every agent is finite; None where there is none to be read."""
    lineage = run.lineage
    storage = until(lineage.storage, time.monotonic() + LOOK_S)
    with contextlib.suppress(StoreError):
        for ref, manifest in history(storage, lineage.pointer, []):
            checkpoint = Checkpoint(storage, run.name, ref, manifest)
            with contextlib.suppress(StoreError, DataError):
                if _is_sound(checkpoint, run.config.num_agents):
                    return checkpoint.step
    return None


def _is_sound(checkpoint: Checkpoint, agents: int) -> bool:
    members = (layout.learner_member(number) for number in range(agents))
    return all(soundness.is_sound(decode(checkpoint.read(name), what=name)) for name in members)


def _way_back(run: Run, cause: Cause) -> str:
    step = last_sound(run)
    again = "With the same settings it would end so again"
    if step is None:
        return f"There is no sound checkpoint to go back to. {again}: begin a new run with other ones."
    back = f"The last sound checkpoint is that of step {step:,}. Go back to it: {run.command} --at {step}\n{again}"
    if cause.key not in FORKABLE:
        return f"{back}: begin a new run with another {cause.key}."
    fork = run.command.replace(f"--resume {run.name}", f"--fork {run.name}@{step}")
    return f"{back}. Continue from there with other settings: {fork} --set {cause.key}={cause.remedy:.3g}"


def _numbers(sac: SacSettings, imitation: ImitationSettings) -> dict[str, float]:
    """Return the settings that are numbers, by their keys."""
    return {
        f"{group}.{name}": float(value)
        for group, settings in (("sac", sac), ("imitation", imitation))
        for name, value in settings
        if isinstance(value, (int, float))
    }
