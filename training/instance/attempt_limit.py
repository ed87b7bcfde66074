"""Whether a run may have another start: asked when a trainer begins, and when one has crashed for good.

The count holds the starts of the present launch since its last progress. So a new launch begins a new count, and a run
that gets further with each start is never ended here: the cap of its launch limits its money.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ..store import documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..store.documents import Attempt
    from ..store.storage import Storage

# Starts in a row without a newer durable checkpoint after which the run has failed; interruptions are not counted.
MAX_STARTS_WITHOUT_PROGRESS = 3
# The same with interruptions: a machine that is always taken away before its first checkpoint buys nothing.
MAX_STARTS_WITH_INTERRUPTIONS = 20

Verdict = Literal["train", "over", "failed"]


class StartDecision(NamedTuple):
    """A decision and its reason."""

    verdict: Verdict
    reason: str = ""


def decide(state: str, launch: int | None, earlier: Sequence[Attempt]) -> StartDecision:
    """Return whether another attempt of a launch may train after these; None: a launch without a number."""
    if state in {"done", "stopped", "failed"}:
        return StartDecision("over", f"the run is {state} already")
    fruitless = crashed = 0
    following_step = 0
    for attempt in reversed([one for one in earlier if one.launch == launch]):
        # One that was killed between its commit and its row did get further: its successor began there.
        if max(attempt.last_step, following_step) > attempt.first_step:
            break
        fruitless += 1
        crashed += attempt.cause != "interrupted"
        following_step = attempt.first_step
    if crashed >= MAX_STARTS_WITHOUT_PROGRESS:
        return StartDecision("failed", f"{crashed} starts in a row ended without a newer checkpoint")
    if fruitless >= MAX_STARTS_WITH_INTERRUPTIONS:
        return StartDecision(
            "failed", f"{fruitless} starts in a row were interrupted before a newer checkpoint"
        )
    return StartDecision("train")


def at_start(storage: Storage, run: str) -> StartDecision:
    """Decide for the newest attempt of a run, which has just begun."""
    *earlier, newest = documents.read_attempts(storage, run)
    return _recorded(storage, run, newest.launch, earlier)


def after_crash(storage: Storage, run: str, machine: Attempt) -> StartDecision:
    """Decide whether the fleet's next machine may try, after the trainer of this one crashed once too often.

    machine: this machine as an attempt. It is added to the run's if no trainer lived long enough to add its own:
    one that dies while it is imported would else be started again on machine after machine, and never be counted.
    """
    attempts = documents.read_attempts(storage, run)
    if not any(_name(attempt) == _name(machine) for attempt in attempts):
        documents.begin_attempt(storage, run, machine)
        attempts = documents.read_attempts(storage, run)
    return _recorded(storage, run, machine.launch, attempts)


def _recorded(storage: Storage, run: str, launch: int | None, earlier: Sequence[Attempt]) -> StartDecision:
    """Decide, and write a verdict of failed into status.json."""
    status = documents.read_status(storage, run)
    decision = decide("pending" if status is None else status.state, launch, earlier)
    if decision.verdict == "failed":
        documents.set_status(
            storage,
            run,
            "failed",
            only_from={"pending", "running"},
            reason=decision.reason,
            exit_code=None,
            repeats=None,
        )
    return decision


def _name(attempt: Attempt) -> str:
    return attempt.instance_id or attempt.host
