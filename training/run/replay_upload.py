"""An agent's replay buffer in the store: which rows are there, in which segments, and how to restore them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..agents import replay_segments
from ..agents.codec import decode, encode
from ..errors import DataError
from ..process.systemd_notify import alive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..agents.replay import CompactReplay
    from ..store.checkpoint import Checkpoint, SegmentRef
    from ..store.segments import PendingSegment, SegmentUploader


class ReplayLog:
    """Hand rows over to the uploader as they fill segments, and remember what a checkpoint must name."""

    def __init__(self, agent: str, replay: CompactReplay, uploader: SegmentUploader) -> None:
        self.agent, self._replay, self._uploader = agent, replay, uploader
        self.segments: list[SegmentRef | PendingSegment] = []
        self._next_row = 0  # the first row that is in no segment yet

    @property
    def is_behind(self) -> bool:
        """Tell whether rows that fill a segment have not been handed over."""
        return self._replay.steps - self._next_row >= replay_segments.segment_rows(self._replay)

    def submit_next(self, not_after: float | None = None) -> None:
        """Hand over the next segment."""
        replay = self._replay
        length = replay_segments.segment_rows(replay)
        # If the store was unreachable for longer than the ring remembers, the oldest rows are no longer needed.
        first = max(self._next_row, replay_segments.first_needed(replay, replay.steps))
        rows = (first, first + length - 1)
        piece = replay_segments.cut(replay, *rows)
        pending = self._uploader.submit(self.agent, rows, lambda: encode(piece), not_after=not_after)
        self.segments.append(pending)
        self._next_row = first + length

    def drop_overwritten(self) -> None:
        """Drop segments all of whose rows have been written over."""
        oldest = replay_segments.first_needed(self._replay, self._replay.steps)
        self.segments = [segment for segment in self.segments if segment.last >= oldest]

    def tail(self) -> dict[str, NDArray[Any]]:
        """Copy the rows that no segment holds."""
        return replay_segments.tail(self._replay)

    def start_new_lineage(self) -> None:
        """Continue at a later step than the replay's end: no transition leads from the one to the other."""
        if self.segments and self._next_row == self._replay.steps:
            self._next_row = self.segments.pop().first  # its last row changes: it is cut again
        self._replay.truncate_open_episodes()

    def restore(self, checkpoint: Checkpoint, steps: int, tail_member: str) -> None:
        """Fill the buffer with the rows that a checkpoint names; raise DataError if rows are missing."""
        replay = self._replay
        length, limit = replay_segments.segment_rows(replay), replay_segments.max_bytes(replay)
        first = replay_segments.first_needed(replay, steps)
        replay_segments.restart(replay, first)
        self.segments, self._next_row = [], first
        for ref, data in checkpoint.read_segments(self.agent):
            if (ref.first, ref.last) != (self._next_row, self._next_row + length - 1):
                raise _missing(checkpoint, self._next_row, ref.first - 1)
            what = f"replay segment {self.agent} {ref.first}-{ref.last}"
            arrays = decode(data, what=what, max_bytes=limit)
            replay_segments.paste(replay, ref.first, ref.last, arrays, what)
            self.segments.append(ref)
            self._next_row = ref.last + 1
            alive()
        if not 0 <= steps - self._next_row < length:
            raise _missing(checkpoint, self._next_row, steps - 1)
        tail = decode(checkpoint.read(tail_member), what=tail_member, max_bytes=limit)
        if self._next_row < steps:
            replay_segments.paste(replay, self._next_row, steps - 1, tail, tail_member)
        replay_segments.finish(replay, steps, tail["newest"])


def _missing(checkpoint: Checkpoint, first: int, last: int) -> DataError:
    msg = f"checkpoint {checkpoint.ref.id}: replay rows {first} to {last} are missing or in another order"
    return DataError(msg, next_step="Resume an older step with --at STEP.")
