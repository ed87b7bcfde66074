"""Checkpoints of a run: what goes in, when, and in which thread.

The trainer's thread copies the state (milliseconds) and hands over replay segments as they fill; encoding, hashing
and writing happen behind its back. A save that fails is said and tried again with the next one; the checkpoint before
it stands.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from training.agents import replay_segments, state
from training.agents.codec import decode, encode
from training.errors import DataError
from training.store.checkpoint import Contents
from training.store.segments import SegmentUploader, Target
from training.store.storage import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from training.agents.sac import FastSAC
    from training.config import Config
    from training.envs.vec_env import RaceVecEnv
    from training.keeper import Keeper
    from training.store.checkpoint import Checkpoint, Lineage, SegmentRef
    from training.store.segments import PendingSegment

LEARNER, TAIL, KEPT = "learner", "replay_tail", "kept"
AGENT = "agent0"
# What a partial save may take before a deadline; the whole one must be through by then.
PARTIAL_S = 10.0


class Parts(NamedTuple):
    """The live objects of a run that a checkpoint is made of."""

    learner: FastSAC
    env: RaceVecEnv
    keeper: Keeper


class Durable(NamedTuple):
    """The newest committed checkpoint."""

    step: int
    at: float  # monotonic clock, s


class Snapshot(NamedTuple):
    """The state at one moment: copied, not yet encoded."""

    step: int
    members: dict[str, Callable[[], bytes]]
    segments: list[SegmentRef | PendingSegment]
    meta: dict[str, Any]


class Saver:
    """Save a run when it is due, and restore it."""

    def __init__(self, parts: Parts, lineage: Lineage, config: Config, say: Callable[[str], None]) -> None:
        self._parts, self._lineage, self._say = parts, lineage, say
        self._frequency = config.training.save_frequency
        self._interval_s = config.training.save_interval_s
        self._uploader = SegmentUploader(Target(lineage.storage, lineage.run, lineage.epoch))
        self._segments: list[SegmentRef | PendingSegment] = []
        self._next_row = 0  # the first row that is in no segment yet
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._running: Future[None] | None = None
        self._lock = threading.Lock()
        self._last_step = -1
        self._last_at = time.monotonic()
        self.durable: Durable | None = None
        # Called after each commit, in the saving thread: what else goes to the store with a checkpoint.
        self.after_commit: Callable[[], None] = lambda: None

    def due(self) -> bool:
        """Tell whether a checkpoint is due: at the first step, every so many steps, every so many seconds."""
        step = self._parts.learner.num_timesteps
        if self._last_step < 0:
            return True
        crossed = step // self._frequency > self._last_step // self._frequency
        return crossed or time.monotonic() - self._last_at >= self._interval_s

    def collect(self) -> None:
        """Hand full replay segments to the uploader; call between any two steps."""
        replay = self._parts.learner.replay_buffer
        length = replay_segments.segment_rows(replay)
        while replay.steps - self._next_row >= length:
            first, last = self._next_row, self._next_row + length - 1
            piece = replay_segments.cut(replay, first, last)
            self._segments.append(
                self._uploader.submit(AGENT, (first, last), lambda piece=piece: encode(piece))
            )
            self._next_row += length
        oldest = replay_segments.first_needed(replay, replay.steps)
        self._segments = [s for s in self._segments if _last_row(s) >= oldest]

    def start(self, meta: Mapping[str, Any]) -> bool:
        """Copy the state and commit it in the background; False if the save before is still on its way."""
        self.poll()
        if self._running is not None:
            return False
        snapshot = self._snapshot(meta)
        self._last_step, self._last_at = snapshot.step, time.monotonic()
        self._running = self._pool.submit(self._commit, snapshot)
        return True

    def poll(self) -> None:
        """Notice the end of a background save.

        Raises Fenced if another attempt owns the run; says what else went wrong.
        """
        if self._running is None or not self._running.done():
            return
        finished, self._running = self._running, None
        try:
            finished.result()
        except StoreError as error:
            self._say(f"checkpoint not saved: {error}; the one before stands, the next is tried as usual")

    def finish(self, meta: Mapping[str, Any], *, not_after: float | None = None) -> bool:
        """Commit the present state before returning; not_after: monotonic clock, s, when the machine goes.

        Where the whole cannot be committed in time, weights and optimizers are saved as a partial, and the result is
        False. Raises Fenced, or without a deadline the StoreError that stood in the way.
        """
        if self._running is not None:
            self._running.exception()
            self.poll()
        snapshot = self._snapshot(meta)
        if not_after is None:
            self._commit(snapshot)
            return True
        try:
            self._commit(snapshot, not_after=not_after - PARTIAL_S)
        except StoreError as error:
            self._say(
                f"the whole checkpoint cannot be saved in time ({error}); saving weights and optimizers"
            )
            members = {LEARNER: snapshot.members[LEARNER]()}
            contents = Contents(members, (), snapshot.meta)
            self._lineage.commit_partial(snapshot.step, contents, not_after=not_after)
            return False
        return True

    def restore(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Put a checkpoint's state into the run's objects; return the meta it was saved with.

        Raises DataError where it does not fit them.
        """
        learner, env, keeper = self._parts
        meta: dict[str, Any] = dict(checkpoint.meta)
        arrays = decode(checkpoint.read(LEARNER), what=LEARNER)
        try:
            state.restore(learner, env, state.Captured(arrays, meta["learner"]))
            keeper.load_state(arrays, meta["keeper"], learner.average.sizes)
            self._restore_replay(checkpoint, int(meta["learner"]["replay_steps"]))
        except KeyError as error:
            msg = f"checkpoint {checkpoint.ref.id} lacks {error}"
            raise DataError(msg, next_step="Resume an older step with --at STEP.") from error
        self._last_step, self._last_at = checkpoint.step, time.monotonic()
        self.durable = Durable(checkpoint.step, self._last_at)
        return meta

    def close(self) -> None:
        """End the background threads."""
        self._uploader.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _snapshot(self, meta: Mapping[str, Any]) -> Snapshot:
        """Copy all that a checkpoint of this moment consists of."""
        self.collect()
        learner, env, keeper = self._parts
        captured = state.capture(learner, env)
        kept_arrays, kept_meta = keeper.state()
        tail = replay_segments.tail(learner.replay_buffer)
        members = {
            LEARNER: lambda: encode({**captured.arrays, **kept_arrays}),
            TAIL: lambda: encode(tail),
        }
        if keeper.best is not None:
            members[KEPT] = keeper.best.policy.encode
        everything = {**meta, "learner": captured.meta, "keeper": kept_meta}
        return Snapshot(learner.num_timesteps, members, list(self._segments), everything)

    def _commit(self, snapshot: Snapshot, *, not_after: float | None = None) -> None:
        with self._lock:
            members = {name: make() for name, make in snapshot.members.items()}
            contents = Contents(members, snapshot.segments, snapshot.meta)
            self._lineage.commit(snapshot.step, contents, not_after=not_after)
            self.durable = Durable(snapshot.step, time.monotonic())
            self.after_commit()

    def _restore_replay(self, checkpoint: Checkpoint, steps: int) -> None:
        replay = self._parts.learner.replay_buffer
        first = replay_segments.first_needed(replay, steps)
        replay_segments.restart(replay, first)
        self._segments, self._next_row = [], first
        for ref, data in checkpoint.read_segments(AGENT):
            if ref.first != self._next_row:
                msg = f"checkpoint {checkpoint.ref.id}: replay rows {self._next_row} to {ref.first - 1} are missing"
                raise DataError(msg, next_step="Resume an older step with --at STEP.")
            what = f"replay segment {ref.first}-{ref.last}"
            replay_segments.paste(replay, ref.first, ref.last, decode(data, what=what), what)
            self._segments.append(ref)
            self._next_row = ref.last + 1
        tail = decode(checkpoint.read(TAIL), what=TAIL)
        if self._next_row < steps:
            replay_segments.paste(replay, self._next_row, steps - 1, tail, TAIL)
        replay_segments.finish(replay, steps, tail["newest"])


def _last_row(segment: SegmentRef | PendingSegment) -> int:
    return segment.last
