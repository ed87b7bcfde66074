"""Read values of a launch's command line: a run's name, a time."""

from __future__ import annotations

from training import layout
from training.errors import UsageError

MAX_KEEP_S = 4 * 3600


def run_name(*names: str | None) -> str:
    """Return the first name that is given, checked, or a new one."""
    return layout.check_run_name(next((name for name in names if name), None) or layout.new_run_id())


def seconds(text: str) -> int:
    """Return a time like 30m or 2h in seconds; UsageError for anything else or more than four hours."""
    units = {"s": 1, "m": 60, "h": 3600}
    if text[-1:] not in units or not text[:-1].isdigit() or int(text[:-1]) * units[text[-1]] > MAX_KEEP_S:
        raise UsageError(f"--keep-on-failure {text!r} is no time of at most 4h", next_step="Write 30m or 2h.")
    return int(text[:-1]) * units[text[-1]]
