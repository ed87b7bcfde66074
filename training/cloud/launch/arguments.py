"""The command line of a launch: its options, and how a run's name and a time are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ... import layout
from ...errors import UsageError
from ..aws.launch_requests import Market
from .own_maps import OwnMap

MAX_KEEP_S = 4 * 3600


class Options(NamedTuple):
    """The options of the command line besides the settings."""

    run: str
    resume: bool = False
    at_step: int | None = None
    from_partial: bool = False
    market: Market = "spot"
    relaunch: bool = True
    keep_on_failure_s: int = 0
    overrides: tuple[str, ...] = ()  # --set
    settings_file: Path | None = None
    maps: Mapping[str, OwnMap] = {}  # of this computer, which the run takes along


def run_name(*names: str | None) -> str:
    """Return the first name that is given, checked, or a new one."""
    return layout.check_run_name(next((name for name in names if name), None) or layout.new_run_id())


def seconds(text: str) -> int:
    """Return a time like 30m or 2h in seconds; UsageError for anything else or more than four hours."""
    units = {"s": 1, "m": 60, "h": 3600}
    if text[-1:] not in units or not text[:-1].isdigit() or int(text[:-1]) * units[text[-1]] > MAX_KEEP_S:
        raise UsageError(f"--keep-on-failure {text!r} is no time of at most 4h", next_step="Write 30m or 2h.")
    return int(text[:-1]) * units[text[-1]]
