"""Checkpoints of a run: what goes in, when, and in which thread.

The trainer's thread copies the state (milliseconds) and hands over replay segments as they fill; encoding, hashing
and writing happen behind its back. A save that fails is said and tried again with the next one; the checkpoint before
it stands.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from training.agents import replay_segments, state
from training.agents.codec import decode, encode
from training.errors import DataError
from training.store.checkpoint import Contents
from training.store.segments import SegmentUploader, Target
from training.store.storage import StoreError, Unavailable

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
# Unpacked bytes of the learner's arrays: networks, optimizers, simulator, kept policies.
MAX_LEARNER_BYTES = 1 << 30


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
        self._milestones = config.training.milestone_frequency
        self._uploader = SegmentUploader(Target(lineage.storage, lineage.run, lineage.epoch))
        self._segments: list[SegmentRef | PendingSegment] = []
        self._next_row = 0  # the first row that is in no segment yet
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._running: Future[None] | None = None
        self._lock = threading.Lock()
        self._last_step = -1
        self._last_at = time.monotonic()
        self._trouble = ""
        self.durable: Durable | None = None
        # Called with the step after each commit, in the saving thread: what else is to be done then.
        self.after_commit: Callable[[int], None] = lambda _step: None

    @property
    def durable_step(self) -> int:
        """Return the step of the newest committed checkpoint, 0 before the first."""
        return 0 if self.durable is None else self.durable.step

    def due(self) -> bool:
        """Tell whether a checkpoint is due: at the first step, every so many steps, every so many seconds."""
        step = self._parts.learner.num_timesteps
        if self._last_step < 0:
            return True
        crossed = step // self._frequency > self._last_step // self._frequency
        return crossed or time.monotonic() - self._last_at >= self._interval_s

    def collect(self) -> None:
        """Hand full replay segments to the uploader, as many as it takes; call between any two steps.

        The others stay in the ring for now: a store that is away, or a full disk, holds up no step.
        """
        while self._is_behind and self._uploader.has_room():
            self._cut_one()
        self._forget_old_segments()

    def start(self, meta: Mapping[str, Any]) -> bool:
        """Copy the state and commit it in the background; False if that cannot begin yet."""
        self.poll()
        if self._running is not None:
            return False
        self.collect()
        if self._is_behind:
            self._say_trouble(self._uploader.trouble)
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
            self._say_trouble(str(error))
        else:
            if self._trouble:
                self._say(f"checkpoints are saved again, the newest at step {self._last_step:,}")
            self._trouble = ""

    def finish(self, meta: Mapping[str, Any], *, not_after: float | None = None) -> bool:
        """Commit the present state before returning; not_after: monotonic clock, s, when the machine goes.

        Where the whole cannot be committed in time, weights and optimizers are saved as a partial, and the result is
        False. Raises Fenced, or without a deadline the StoreError that stood in the way.
        """
        if not_after is None:
            self._commit_now(meta, None)
            return True
        try:
            self._commit_now(meta, not_after - PARTIAL_S)
        except StoreError as error:
            self._say(
                f"the whole checkpoint cannot be saved in time ({error}); saving weights and optimizers"
            )
            snapshot = self._state(meta)
            members = {name: make() for name, make in snapshot.members.items() if name != TAIL}
            contents = Contents(members, (), snapshot.meta)
            self._lineage.commit_partial(snapshot.step, contents, not_after=not_after)
            return False
        return True

    def restore(self, checkpoint: Checkpoint, partial: Checkpoint | None = None) -> dict[str, Any]:
        """Put a checkpoint's state into the run's objects; return the meta it was saved with.

        partial: a later save without replay, which continues the checkpoint: all but the replay comes from there.
        Raises DataError where something does not fit the objects.
        """
        learner, env, keeper = self._parts
        newest = partial or checkpoint
        meta: dict[str, Any] = dict(newest.meta)
        arrays = decode(newest.read(LEARNER), what=LEARNER, max_bytes=MAX_LEARNER_BYTES)
        try:
            state.restore(learner, env, state.Captured(arrays, meta["learner"]))
            keeper.load_state(arrays, meta["keeper"], learner.average.sizes)
            self._restore_replay(checkpoint, int(checkpoint.meta["learner"]["replay_steps"]))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"checkpoint {newest.ref.id} does not hold what this run needs: {error!r}"
            raise DataError(msg, next_step="Resume an older step with --at STEP.") from error
        self._last_step, self._last_at = checkpoint.step, time.monotonic()
        self.durable = Durable(checkpoint.step, self._last_at)
        if partial is not None:
            self._continue_elsewhere()
        return meta

    def close(self) -> None:
        """End the background threads."""
        self._uploader.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _is_behind(self) -> bool:
        """Tell whether rows that fill a segment have not been handed over."""
        replay = self._parts.learner.replay_buffer
        return replay.steps - self._next_row >= replay_segments.segment_rows(replay)

    def _cut_one(self, not_after: float | None = None) -> None:
        replay = self._parts.learner.replay_buffer
        length = replay_segments.segment_rows(replay)
        # Where the store was away for longer than the ring remembers, nobody needs the oldest rows any more.
        first = max(self._next_row, replay_segments.first_needed(replay, replay.steps))
        rows = (first, first + length - 1)
        piece = replay_segments.cut(replay, *rows)
        pending = self._uploader.submit(AGENT, rows, lambda: encode(piece), not_after=not_after)
        self._segments.append(pending)
        self._next_row = first + length

    def _forget_old_segments(self) -> None:
        replay = self._parts.learner.replay_buffer
        oldest = replay_segments.first_needed(replay, replay.steps)
        self._segments = [s for s in self._segments if _last_row(s) >= oldest]

    def _snapshot(self, meta: Mapping[str, Any], not_after: float | None = None) -> Snapshot:
        """Copy all that a checkpoint of this moment consists of."""
        while self._is_behind:
            self._cut_one(not_after)
        self._forget_old_segments()
        return self._state(meta)

    def _state(self, meta: Mapping[str, Any]) -> Snapshot:
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

    def _commit_now(self, meta: Mapping[str, Any], not_after: float | None) -> None:
        """Wait for the save under way, then commit the present state in this thread."""
        if self._running is not None:
            wait([self._running], None if not_after is None else max(0.0, not_after - time.monotonic()))
            if not self._running.done():
                raise Unavailable("the save before this one is still on its way")
            self.poll()
        self._commit(self._snapshot(meta, not_after), not_after=not_after)

    def _commit(self, snapshot: Snapshot, *, not_after: float | None = None) -> None:
        with self._lock:
            members = {name: make() for name, make in snapshot.members.items()}
            contents = Contents(members, snapshot.segments, snapshot.meta)
            before = -1 if self.durable is None else self.durable.step
            milestone = (
                self._milestones > 0 and snapshot.step // self._milestones > before // self._milestones
            )
            self._lineage.commit(snapshot.step, contents, milestone=milestone, not_after=not_after)
            self.durable = Durable(snapshot.step, time.monotonic())
        try:
            self.after_commit(snapshot.step)
        except StoreError as error:
            self._say(f"step {snapshot.step:,} is saved, but not all that goes with it: {error}")

    def _say_trouble(self, trouble: str) -> None:
        """Say why checkpoints are not saved, once for each reason."""
        if trouble and trouble != self._trouble:
            step = "none yet" if self.durable is None else f"step {self.durable.step:,}"
            self._say(f"checkpoint not saved: {trouble}; training goes on, the newest checkpoint is {step}")
            self._trouble = trouble

    def _continue_elsewhere(self) -> None:
        """Go on at a later step than the replay's end: no transition leads from the one to the other."""
        replay = self._parts.learner.replay_buffer
        if self._segments and self._next_row == replay.steps:
            self._next_row = self._segments.pop().first  # its last row changes: it is cut again
        replay.break_off()
        self._last_step = -1  # the next boundary makes a whole checkpoint

    def _restore_replay(self, checkpoint: Checkpoint, steps: int) -> None:
        replay = self._parts.learner.replay_buffer
        length = replay_segments.segment_rows(replay)
        limit = replay_segments.max_bytes(replay)
        first = replay_segments.first_needed(replay, steps)
        replay_segments.restart(replay, first)
        self._segments, self._next_row = [], first
        for ref, data in checkpoint.read_segments(AGENT):
            if (ref.first, ref.last) != (self._next_row, self._next_row + length - 1):
                raise _missing(checkpoint, self._next_row, ref.first - 1)
            what = f"replay segment {ref.first}-{ref.last}"
            arrays = decode(data, what=what, max_bytes=limit)
            replay_segments.paste(replay, ref.first, ref.last, arrays, what)
            self._segments.append(ref)
            self._next_row = ref.last + 1
        if not 0 <= steps - self._next_row < length:
            raise _missing(checkpoint, self._next_row, steps - 1)
        tail = decode(checkpoint.read(TAIL), what=TAIL, max_bytes=limit)
        if self._next_row < steps:
            replay_segments.paste(replay, self._next_row, steps - 1, tail, TAIL)
        replay_segments.finish(replay, steps, tail["newest"])


def _missing(checkpoint: Checkpoint, first: int, last: int) -> DataError:
    msg = f"checkpoint {checkpoint.ref.id}: replay rows {first} to {last} are missing or in another order"
    return DataError(msg, next_step="Resume an older step with --at STEP.")


def _last_row(segment: SegmentRef | PendingSegment) -> int:
    return segment.last
