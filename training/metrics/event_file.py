"""TensorBoard event files, written so that neither a kill nor a full disk corrupts what is already written.

tensorboard's own writer hands records to a thread that dies of the first error. Here one record is one
write, in the trainer's thread (a few kilobytes every few seconds); a record that does not fit is taken back
whole, and writing resumes as soon as there is room again.
"""

from __future__ import annotations

import io
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

# Readers purge by session marks only in files that say this; see purge_orphaned_data in tensorboard.
FILE_VERSION = "brain.Event:2"


MICROSECONDS = 1_000_000
_TIME_IN_NAME = re.compile(r"events\.out\.tfevents\.(\d{1,12})\.(\d{6})\.")


def _newest_us(directory: Path) -> int:
    """Return the latest time in the names of a directory's event files, µs; 0 where there is none."""
    found = filter(None, (_TIME_IN_NAME.match(path.name) for path in directory.glob("events.out.tfevents.*")))
    return max((int(one[1]) * MICROSECONDS + int(one[2]) for one in found), default=0)


class EventFile:
    """Append events to a new file of its own in a directory.

    first_step: points of earlier files in the directory at this step or later belong to a lost attempt;
    readers leave them out. Every method that writes raises OSError if the disk does not take it; nothing is
    torn then, and the next call tries again.
    """

    def __init__(self, directory: Path, *, first_step: int) -> None:
        # Readers take files in the order of their names, so the time comes first. A clock that was set back between
        # two attempts must not put the newer file before the older: its points would be taken for lost ones.
        now_s, now_us = divmod(max(time.time_ns() // 1000, _newest_us(directory) + 1), MICROSECONDS)
        name = f"events.out.tfevents.{now_s:010d}.{now_us:06d}.{socket.gethostname()}.{os.getpid()}"
        self.path = directory / name
        self._file: int | None = None
        self._length = 0
        # A reader counts restarts from the second mark on: the first attempt needs its mark as well.
        self._head = _record(_event(file_version=FILE_VERSION)) + _record(_session_start(first_step))

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each of the named curves."""
        event = _event(step=step)
        for name, value in values.items():
            event.summary.value.add(tag=name, simple_value=value)
        self._append(event)

    def add_graph(self, graph: bytes) -> None:
        """Add the graph: a serialised GraphDef."""
        self._append(_event(graph_def=graph))

    def add_hyperparameters(self, run: str, values: Mapping[str, bool | float | str]) -> None:
        """Add the hyper-parameters; attempts of one run are one row in TensorBoard's table of them."""
        self._append(_event(summary=hparams_pb(values, trial_id=run)))

    def sync(self) -> None:
        """Flush everything that was written to the disk."""
        if self._file is not None:
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _append(self, event: Event) -> None:
        data = self._head + _record(event)
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._length + written)
        except OSError:
            os.ftruncate(self._file, self._length)
            raise
        self._length += len(data)
        self._head = b""


def _event(**fields: object) -> Event:
    return Event(wall_time=time.time(), **fields)


def _session_start(step: int) -> Event:
    return _event(step=step, session_log=SessionLog(status=SessionLog.START))


def _record(event: Event) -> bytes:
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
