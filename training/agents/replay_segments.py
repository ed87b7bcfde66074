"""Cut the replay buffer into immutable segments, and assemble it from them.

Rows are numbered from the run's first step. Segment k holds rows k L to (k+1) L - 1, whichever attempt cuts it, so an
interrupted run and an uninterrupted one cut the same bytes. If the store is slow, a segment may be cut late: rows at
its beginning that the ring has overwritten by then contain newer transitions. No checkpoint that names the segment
needs those rows: at its step they are out of the buffer (tests/agents/test_replay.py). The rows after the last full
segment, the tail, are stored in the checkpoint itself. An episode's last observation is stored with the row that ended
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from .codec import copy_into
from .replay import IDLE, WITHIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .replay import CompactReplay

SEGMENT_BYTES = 4 << 20
_PARTS = ("observations", "actions", "rewards", "dones", "guides")


def segment_rows(replay: CompactReplay) -> int:
    """Return L: a power of two of rows, about 4 MiB, at most a quarter of the ring."""
    row_bytes = sum(getattr(replay, part)[0].nbytes for part in _PARTS)
    rows = max(1, min(SEGMENT_BYTES // row_bytes, replay.rows // 4))
    return 1 << (rows.bit_length() - 1)


def max_bytes(replay: CompactReplay) -> int:
    """Return a bound of what a segment, or the tail, unpacks to: every row may end an episode in every environment."""
    row_bytes = sum(getattr(replay, part)[0].nbytes for part in _PARTS)
    return 2 * max(SEGMENT_BYTES, row_bytes) + row_bytes + (1 << 20)


def cut(replay: CompactReplay, first: int, last: int) -> dict[str, NDArray[Any]]:
    """Copy rows first to last (inclusive, numbered from the run's start) out of the ring."""
    rows = np.arange(first, last + 1) % replay.rows
    number = replay.final_number[rows]
    ended = number >= 0
    piece = {part: getattr(replay, part)[rows] for part in _PARTS}
    piece["ended"] = ended
    piece["idle"] = number == IDLE
    piece["final_observations"] = replay.final_observations[number[ended] % len(replay.final_observations)]
    return piece


def paste(replay: CompactReplay, first: int, last: int, piece: Mapping[str, NDArray[Any]], what: str) -> None:
    """Write rows first to last back, in the order in which they were cut; checks every type and shape."""
    count = last - first + 1
    rows = np.arange(first, last + 1) % replay.rows
    held: dict[str, NDArray[Any]] = {}
    for part in _PARTS:
        ring = getattr(replay, part)
        held[part] = np.empty((count, *ring.shape[1:]), dtype=ring.dtype)
        copy_into(held[part], piece, part, what=what)
    ended = np.empty((count, replay.n_envs), dtype=np.bool_)
    copy_into(ended, piece, "ended", what=what)
    idle = np.empty((count, replay.n_envs), dtype=np.bool_)
    copy_into(idle, piece, "idle", what=what)
    episode_ends = np.empty((int(ended.sum()), replay.observations.shape[2]), dtype=np.float32)
    copy_into(episode_ends, piece, "final_observations", what=what)
    for part, values in held.items():
        getattr(replay, part)[rows] = values
    replay.dropped += int((replay.final_number[rows] >= 0).sum())
    replay.final_number[rows] = np.where(idle, IDLE, WITHIN)
    used = np.flatnonzero(~idle.all(axis=1))
    if used.size:
        replay.last_used = first + int(used[-1])
    places = np.argwhere(ended)
    for (row, env), observation in zip(places, episode_ends, strict=True):
        replay.final_number[rows[row], env] = replay.keep_final(observation)


def tail(replay: CompactReplay) -> dict[str, NDArray[Any]]:
    """Copy the rows that no full segment holds, and the newest observation, which has no row yet."""
    begin = replay.steps - replay.steps % segment_rows(replay)
    piece = cut(replay, begin, replay.steps - 1)
    piece["newest"] = replay.observations[replay.steps % replay.rows].copy()
    return piece


def first_needed(replay: CompactReplay, steps: int) -> int:
    """Return the first row of the oldest segment that a buffer of this size still holds rows of after `steps`."""
    length = segment_rows(replay)
    oldest = max(0, steps - (replay.rows - 1))
    return oldest - oldest % length


def restart(replay: CompactReplay, first: int) -> None:
    """Empty the ring; the next `paste` begins at row `first`."""
    replay.steps, replay.episode_ends, replay.dropped, replay.last_used = first, 0, 0, -1
    replay.final_number[:] = WITHIN


def finish(replay: CompactReplay, steps: int, newest: NDArray[np.float32]) -> None:
    """Set the ring's counters after the last `paste`."""
    if newest.shape != replay.observations.shape[1:] or newest.dtype != replay.observations.dtype:
        found, expected = f"{newest.dtype} {newest.shape}", f"float32 {replay.observations.shape[1:]}"
        raise DataError(f"replay: the newest observation is {found}, expected {expected}")
    replay.steps = steps
    replay.observations[steps % replay.rows] = newest
    replay.pos, replay.full = steps % replay.rows, steps >= replay.rows - 1
