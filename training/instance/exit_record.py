"""How the trainer ended, left in a file for the finish unit: systemd 249 hands a unit no exit status of another."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

VARIABLE = "F1TENTH_OUTCOME"
MAX_BYTES = 1 << 16


class ExitRecord(BaseModel):
    """The trainer's exit code, why it ended, and its last words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exit_code: int
    cause: str = ""  # interrupted, stopped, terminated; empty where the exit code says all
    message: str = ""
    repeats: bool = False  # the same settings, code and image would fail in the same way


def write_exit_record(outcome: ExitRecord) -> None:
    """Write the outcome where the unit's environment says; nothing where it says nothing."""
    place = os.environ.get(VARIABLE)
    if not place:
        return
    path = Path(place)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(outcome.model_dump_json(), encoding="utf-8")
    temporary.replace(path)


def read_exit_record() -> ExitRecord | None:
    """Return what the trainer left; None if it left nothing that can be read (it crashed, or was killed)."""
    place = os.environ.get(VARIABLE, "")
    try:
        with Path(place).open("rb") as file:
            return ExitRecord.model_validate_json(file.read(MAX_BYTES))
    except (OSError, ValidationError):
        return None
