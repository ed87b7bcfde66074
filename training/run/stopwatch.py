"""The time that a run trains: a process that was stopped (Ctrl-Z) does not train."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from ..process import systemd_notify

if TYPE_CHECKING:
    from types import FrameType


class Stopwatch:
    """Count seconds of this process, those aside in which it was stopped; to a second for each stop."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stopped_s = 0.0

    def read(self) -> float:
        """Return the time since the beginning, s."""
        return time.monotonic() - self._began - self._stopped_s

    def install_signal_handlers(self) -> None:
        """Notice each time that the process continues (SIGCONT); the stop itself cannot be noticed."""
        signal.signal(signal.SIGCONT, self._on_continue)

    def _on_continue(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped_s += systemd_notify.silence()
