"""Whether a run may have another machine: asked when a trainer begins, and when one has crashed for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from training.store import documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.store.documents import Attempt
    from training.store.storage import Storage

# Boots without a newer durable checkpoint, interruptions not counted, after which the run has failed.
FRUITLESS_BOOTS = 3
MOST_BOOTS = 20

Verdict = Literal["train", "over", "failed"]


class Decision(NamedTuple):
    """What to do, and why."""

    verdict: Verdict
    reason: str = ""


def decide(state: str, earlier: Sequence[Attempt]) -> Decision:
    """Return whether another attempt may train after these."""
    if state in {"done", "stopped", "failed"}:
        return Decision("over", f"the run is {state} already")
    if len(earlier) >= MOST_BOOTS:
        return Decision("failed", f"{len(earlier)} boots, at most {MOST_BOOTS} are allowed")
    fruitless = 0
    for attempt in reversed(earlier):
        if attempt.cause == "interrupted":
            continue
        if attempt.last_step > attempt.first_step:
            break
        fruitless += 1
    if fruitless >= FRUITLESS_BOOTS:
        return Decision("failed", f"{fruitless} boots in a row ended without a newer checkpoint")
    return Decision("train")


def at_start(storage: Storage, run: str) -> Decision:
    """Decide for the newest attempt of a run, which has just begun."""
    return _told(storage, run, documents.read_attempts(storage, run)[:-1])


def after_crash(storage: Storage, run: str, machine: Attempt) -> Decision:
    """Decide whether the fleet's next machine may try, after the trainer of this one crashed once too often.

    machine: this machine as an attempt. It is added to the run's if no trainer lived long enough to add its own:
    one that dies while it is imported would else be started again on machine after machine, and never be counted.
    """
    attempts = documents.read_attempts(storage, run)
    if not any(_name(attempt) == _name(machine) for attempt in attempts):
        documents.begin_attempt(storage, run, machine)
        attempts = documents.read_attempts(storage, run)
    return _told(storage, run, attempts)


def _told(storage: Storage, run: str, earlier: Sequence[Attempt]) -> Decision:
    """Decide, and write a verdict of failed into status.json."""
    status = documents.read_status(storage, run)
    decision = decide("pending" if status is None else status.state, earlier)
    if decision.verdict == "failed":
        documents.set_status(storage, run, "failed", only_from={"pending", "running"}, reason=decision.reason)
    return decision


def _name(attempt: Attempt) -> str:
    return attempt.instance_id or attempt.host
