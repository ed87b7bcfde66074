"""The steps of `up`: each is planned, shown, agreed to, then applied. One that is refused stops them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...errors import UsageError


class SetupStep(NamedTuple):
    """One step: its resource, the action on it, the exact request, and the function that sends it."""

    what: str
    action: str  # make | update | keep | refuse
    request: dict[str, Any]
    apply: Callable[[], object]
    before: str = ""  # of an update: the present state, for people
    after: str = ""
    notes: tuple[str, ...] = ()  # what a user should know before agreeing
    refusal: UsageError | None = None

    def lines(self) -> list[str]:
        """Return the step for people, with the difference that it makes."""
        difference = [f"            before: {self.before}", f"            after:  {self.after}"]
        why = [] if self.refusal is None else [f"            {self.refusal.message}"]
        return [
            f"  {self.action:6}  {self.what}",
            *(difference if self.before or self.after else []),
            *(f"            note:   {note}" for note in self.notes),
            *why,
        ]

    def to_json_dict(self) -> dict[str, object]:
        """Return the step for `--dry-run` and `--json`."""
        data: dict[str, object] = {"what": self.what, "action": self.action, "request": self.request}
        if self.before or self.after:
            data |= {"before": self.before, "after": self.after}
        if self.notes:
            data["notes"] = list(self.notes)
        if self.refusal is not None:
            data |= {"refusal": self.refusal.message, "next_step": self.refusal.next_step}
        return data


def refused(what: str, request: dict[str, Any], error: UsageError) -> SetupStep:
    """Return the step for something that is not ours: nothing is done about it, nor about anything else."""
    return SetupStep(what, "refuse", request, _nothing, refusal=error)


def check(steps: list[SetupStep]) -> None:
    """Raise UsageError with all that is refused, so that a user meets it in one go."""
    errors = [step.refusal for step in steps if step.refusal is not None]
    if errors:
        next_steps = list(dict.fromkeys(error.next_step for error in errors if error.next_step))
        raise UsageError(
            "; ".join(error.message for error in errors) + ". Nothing was changed",
            next_step=" ".join(next_steps),
        )


def _nothing() -> None:
    """Do nothing."""
