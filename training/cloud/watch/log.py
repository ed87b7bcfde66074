"""Print the log of a run, through relaunches, until its end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from ... import layout
from ...errors import UsageError
from ...store.storage import Storage
from ..aws import inventory
from ..aws.client import Cloud
from ..aws.project import Project
from ..console.wait_notices import WaitReporter
from ..context import CommandContext
from ..launch_record import ENDS
from .run_status import read_run_status, why_waiting

POLL_S = 5.0
MAX_LOG_BYTES = 64 << 20


def new_chunks(storage: Storage, run: str, read: set[str]) -> Iterator[tuple[int, str]]:
    """Yield (attempt, text) of the chunks that were not `read` yet, and add them; a lost machine's last may be late."""
    new = [entry.key for entry in storage.list(f"{layout.logs_prefix(run)}/") if entry.key not in read]
    for key in new:
        text = storage.get(key, max_bytes=MAX_LOG_BYTES).data.decode(errors="replace")
        read.add(key)
        yield layout.parse_log_chunk(key), text


class Lines:
    """Cut the texts of attempts into whole lines; a chunk of a log may end in the middle of one."""

    def __init__(self, tell: Callable[[int, str], object]) -> None:
        self._tell = tell
        self._begun: dict[int, str] = {}

    def write(self, attempt: int, text: str) -> None:
        """Pass on the lines that are whole now."""
        *whole, rest = (self._begun.get(attempt, "") + text).split("\n")
        self._begun[attempt] = rest
        for line in whole:
            self._tell(attempt, line)

    def close(self) -> None:
        """Pass on the rest: the last words of an attempt that was cut off."""
        for attempt, rest in self._begun.items():
            if rest:
                self._tell(attempt, rest)


def _why_no_log(cloud: Cloud, project: Project, run: str, state: str) -> str:
    if not inventory.machines(cloud, project, run):
        return f"(no machine at the moment. {why_waiting(cloud, project, run)})"
    return f"(nothing new; the run is {state}, its machine is up; Ctrl-C ends the watching, not the run)"


def follow_log(
    context: CommandContext,
    storage: Storage,
    run: str,
    write: Callable[[int, str], object],
    *,
    until_end: bool,
) -> None:
    """Write the log, (attempt, text), and with `until_end` what comes to it until the run ends."""
    _, cloud, project = context
    read: set[str] = set()
    reporter = WaitReporter(cloud)
    while True:
        state = read_run_status(storage, run, cloud.now()).state
        if state == "unknown":
            raise UsageError(
                f"there is no run {run} in {storage.url}", next_step="List them: ./launch.py list"
            )
        for attempt, text in new_chunks(storage, run, read):
            write(attempt, text)
            reporter.progress()
        if not until_end or state in ENDS:
            return
        reporter.explain(functools.partial(_why_no_log, cloud, project, run, state))
        cloud.clock.sleep(POLL_S)
