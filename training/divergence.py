"""What to say of a run that has diverged: since when, by which setting most likely, and which way leads back."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from training import layout
from training.agents import soundness
from training.agents.codec import decode
from training.errors import DataError, Diverged, TrainingError
from training.store.restore import Checkpoint, history
from training.store.retry import until
from training.store.storage import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.agents.multi_agent import MultiAgentSAC
    from training.config import Config
    from training.runs import Run

# Reading old checkpoints, to find a sound one, must not keep a machine that has nothing more to learn.
LOOK_S = 60.0


class Usual(NamedTuple):
    """Where a setting usually lies; far outside of it training tends to diverge."""

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
    Usual("guide.weight", 0.0, 1_000.0),
)


@contextlib.contextmanager
def explained(learner: MultiAgentSAC, run: Run) -> Iterator[None]:
    """Raise Diverged, with what led there and the way back, for whatever error a learner that is not finite makes.

    Actions that are no numbers come up in the simulator, for one, which knows of no learner. What else goes wrong stays
    as it is.
    """
    try:
        yield
    except Exception as error:
        other = isinstance(error, TrainingError) and not isinstance(error, Diverged)
        found = "" if other else soundness.fault(learner)
        if not found:
            raise
        message = (
            f"diverged at step {learner.num_timesteps:,}: {found}\nLikely cause: {likely_cause(run.config)}"
        )
        raise Diverged(message, next_step=_way_back(run)) from error


def likely_cause(config: Config) -> str:
    """Name the setting that is farthest beyond its usual range."""
    found = [
        (one.excess(value), one, value) for one in USUAL if (value := _value(config, one.key)) is not None
    ]
    excess, worst, value = max(found, key=lambda each: each[0])
    if excess > 1.0:
        return f"{worst.key} = {value:g}; usual is {worst.low:g} to {worst.high:g}."
    rate = config.sac.learning_rate
    return f"no setting is far from its usual values; try a smaller sac.learning_rate than {rate:g} first."


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


def _way_back(run: Run) -> str:
    step = last_sound(run)
    again = "With the same settings it would end so again"
    if step is None:
        return f"There is no sound checkpoint to go back to. {again}: begin a new run with other ones."
    fork = run.command.replace(f"--resume {run.name}", f"--fork {run.name}@{step} --name NEW")
    rate = min(run.config.sac.learning_rate / 3, 3e-4)
    return (
        f"The last sound checkpoint is that of step {step:,}. Go back to it: {run.command} --at {step}\n"
        f"{again}. Go on from there under others: {fork} --set sac.learning_rate={rate:.1g}"
    )


def _value(config: Config, key: str) -> float | None:
    group, name = key.split(".")
    value = getattr(getattr(config, group), name)
    return float(value) if isinstance(value, (int, float)) else None
