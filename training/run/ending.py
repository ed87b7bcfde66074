"""The end of an attempt: the policy that is kept, the last save, and its outcome."""

from __future__ import annotations

import contextlib
from enum import Enum
from typing import TYPE_CHECKING

from ..errors import Interrupted
from ..evaluation.policy_selection import all_or_nothing
from ..process.systemd_notify import Left
from ..store.storage import StoreError

if TYPE_CHECKING:
    from .assemble import Setup
    from .step_hooks import RunParts


def choose(parts: RunParts) -> None:
    """Choose which policies to keep; if a stop is requested meanwhile, the next attempt does it."""
    parts.display.say("training is over; choosing the policy to keep")
    with contextlib.suppress(Left), all_or_nothing(parts.keepers, lambda: parts.stop.reason is not None):
        for keeper in parts.keepers:
            keeper.evaluate(parts.learner)
            keeper.select_final()


class Saved(Enum):
    """The checkpoints that were saved at the end."""

    ALL = "everything is saved"
    WITHOUT_RESULTS = "everything is saved, but laps and report are not made yet"
    PARTIAL = "weights and optimizers are saved, the newest whole checkpoint is that of step {step}"
    NOTHING = "nothing more could be saved, the newest checkpoint is that of step {step}"


def save_at_end(setup: Setup) -> Saved:
    """Save what can be saved until the machine goes; raises a StoreError where there is time, but no room."""
    parts = setup.parts
    try:
        whole = parts.saver.finish(setup.boundary.meta(), not_after=parts.stop.deadline)
    except StoreError as error:
        if parts.stop.deadline is None:
            told = Saved.NOTHING.value.format(step=parts.saver.durable_step)
            raise type(error)(f"{error.message}\n{told}", next_step=setup.run.how_to_continue) from error
        parts.display.say(str(error))
        return Saved.NOTHING
    return Saved.ALL if whole else Saved.PARTIAL


def interrupted(setup: Setup, saved: Saved) -> Interrupted:
    """Write down that the attempt was stopped, and return the error that says so."""
    run, parts = setup.run, setup.parts
    durable, stop = parts.saver.durable_step, parts.stop
    # If a notice came first, this is still the checkpoint that was to be the last.
    cause = "stopped" if stop.stop_after_save and saved is Saved.ALL else stop.cause
    run.end_attempt(cause, Interrupted.exit_code, durable)
    told = saved.value.format(step=f"{durable:,}")
    message = f"stopped by {stop.reason} at step {parts.learner.num_timesteps:,}; {told}"
    next_step = run.how_to_continue
    if saved is Saved.PARTIAL:
        next_step += (
            "\nAdd --from-partial to continue from here, without the newest part of the replay buffer."
        )
    return Interrupted(message, next_step=next_step, cause=cause)


def interrupted_twice(setup: Setup) -> Interrupted:
    """Return the error that says what a second Ctrl-C left."""
    durable = setup.parts.saver.durable_step
    message = f"stopped at once by a second Ctrl-C; the newest checkpoint is that of step {durable:,}"
    return Interrupted(message, next_step=setup.run.how_to_continue)
