"""Helpers that the readers of map files share: messages that name the file, and numbers in text."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from .spec import TrackError


@contextlib.contextmanager
def naming(path: Path, hints: tuple[str, ...] = ()) -> Iterator[None]:
    """Put the file's name before what a TrackError says, and what may be the cause behind it."""
    try:
        yield
    except TrackError as error:
        raise TrackError("; ".join([f"{path}: {error}", *hints])) from error


def number(settings: Mapping[str, object], key: str) -> float:
    """Return a finite number; yaml takes 1e-05 for text, so text that is a number will do."""
    given = settings[key]
    try:
        value = float(given) if isinstance(given, (str, int, float)) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TrackError(f"{key} is {settings[key]!r}, not a number")
    return value
