"""Whether an instance that has just booted may train at all: asked before anything expensive."""

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


def decide(state: str, attempts: Sequence[Attempt]) -> Decision:
    """Return whether the last of these attempts, the present one, may train."""
    if state in {"done", "stopped", "failed"}:
        return Decision("over", f"the run is {state} already")
    if len(attempts) > MOST_BOOTS:
        return Decision("failed", f"{len(attempts)} boots, at most {MOST_BOOTS} are allowed")
    fruitless = 0
    for attempt in reversed(attempts[:-1]):
        if attempt.cause == "interrupted":
            continue
        if attempt.last_step > attempt.first_step:
            break
        fruitless += 1
    if fruitless >= FRUITLESS_BOOTS:
        return Decision("failed", f"{fruitless} boots in a row ended without a newer checkpoint")
    return Decision("train")


def check(storage: Storage, run: str) -> Decision:
    """Decide for the newest attempt of a run; a verdict of failed is written into status.json."""
    status = documents.read_status(storage, run)
    decision = decide("pending" if status is None else status.state, documents.read_attempts(storage, run))
    if decision.verdict == "failed":
        documents.set_status(storage, run, "failed", only_from={"pending", "running"}, reason=decision.reason)
    return decision
