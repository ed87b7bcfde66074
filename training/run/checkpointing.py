"""Checkpoints of a run: their content, when they are saved, and in which thread.

    due       is a checkpoint due at this step?
    collect   hand over full replay segments; between any two steps
    start     copy the state, commit it in the background
    poll      look whether that commit has ended, and report its error
    finish    commit the present state before returning: the end of an attempt
    close     stop the background thread; `durable` is the newest commit

The trainer's thread copies the state (milliseconds) and hands over replay segments as they fill; encoding, hashing and
writing happen in the background. A save that fails is reported and retried with the next one; the checkpoint before it
stays valid.
"""

from __future__ import annotations

import functools
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import layout
from ..agents import snapshot, soundness
from ..agents.codec import SavedState, decode, encode
from ..errors import DataError
from ..process.systemd_notify import alive
from ..store.checkpoint import CheckpointData
from ..store.segments import SegmentUploader, Target
from ..store.storage import StoreError, Unavailable
from .replay_upload import ReplayLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ..agents.multi_agent import MultiAgentSAC
    from ..agents.policy import Policy
    from ..config import TrainingSettings
    from ..evaluation.policy_selection import BestPolicyTracker
    from ..store.checkpoint import Checkpoint, RunWriter, SegmentRef
    from ..store.segments import PendingSegment

# The time that a partial save may take before a deadline; the full save must be finished by then.
PARTIAL_S = 10.0
# Unpacked bytes of an agent's networks, optimizers and kept policies, and of the simulator with its opponents.
MAX_LEARNER_BYTES = 1 << 30


class SavedParts(NamedTuple):
    """The live objects of a run that a checkpoint is made of."""

    learner: MultiAgentSAC
    keepers: Sequence[BestPolicyTracker]  # of each agent


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
    policies: list[Policy]  # of each agent, the EMA policy


class Saver:
    """Save a run when it is due, and restore it."""

    def __init__(
        self, parts: SavedParts, lineage: RunWriter, settings: TrainingSettings, say: Callable[[str], None]
    ) -> None:
        self._parts, self._lineage, self._say = parts, lineage, say
        self._frequency = settings.save_frequency
        self._interval_s = settings.save_interval_s
        self._milestones = settings.milestone_frequency
        agents = parts.learner.agents
        target = Target(lineage.storage, lineage.run, lineage.epoch)
        # All agents fill a segment at the same step.
        self._uploader = SegmentUploader(target, waiting=8 + len(agents))
        self._logs = [
            ReplayLog(layout.agent_name(number), agent.replay_buffer, self._uploader)
            for number, agent in enumerate(agents)
        ]
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._running: Future[None] | None = None
        self._lock = threading.Lock()
        self._last_step = -1
        self._last_at = time.monotonic()
        self._last_error = ""
        self.durable: Durable | None = None
        # Called with the step after each commit, in the saving thread, for other work that is due then.
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
        for log in self._behind():
            if not self._uploader.has_room():
                break
            log.submit_next()
        for log in self._logs:
            log.drop_overwritten()

    def start(self, meta: Mapping[str, Any]) -> bool:
        """Copy the state and commit it in the background; False if that cannot begin yet.

        Raises Diverged, here as in `finish`, if the state is not finite.
        """
        self.poll()
        if self._running is not None:
            return False
        self.collect()
        if any(self._behind()):
            self._report_error(self._uploader.last_error)
            return False
        snapshot = self._snapshot(meta)
        self._last_step, self._last_at = snapshot.step, time.monotonic()
        self._running = self._pool.submit(self._commit, snapshot)
        return True

    def poll(self) -> None:
        """Notice the end of a background save.

        Raises Fenced if another attempt owns the run; reports any other failure.
        """
        if self._running is None or not self._running.done():
            return
        finished, self._running = self._running, None
        try:
            finished.result()
        except StoreError as error:
            self._report_error(str(error))
        else:
            if self._last_error:
                self._say(f"checkpoints are saved again, the newest at step {self._last_step:,}")
            self._last_error = ""

    def finish(self, meta: Mapping[str, Any], *, not_after: float | None = None) -> bool:
        """Commit the present state before returning; not_after: monotonic clock, s, when the machine goes.

        If the full state cannot be committed in time, weights and optimizers are saved as a partial, and the result is
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
            tails = {layout.tail_member(number) for number in range(len(self._logs))}
            members = {name: make() for name, make in snapshot.members.items() if name not in tails}
            contents = CheckpointData(members, (), snapshot.meta)
            self._lineage.commit_partial(snapshot.step, contents, not_after=not_after)
            return False
        return True

    def restore(self, checkpoint: Checkpoint, partial: Checkpoint | None = None) -> dict[str, Any]:
        """Restore a checkpoint's state into the run's objects; return the meta it was saved with.

        partial: a later save without replay, which continues the checkpoint: all but the replay comes from there.
        Raises DataError where something does not fit the objects, Diverged where a state was saved that is not finite.
        """
        learner, keepers = self._parts
        newest = partial or checkpoint
        meta: dict[str, Any] = dict(newest.meta)
        replayed: dict[str, Any] = dict(checkpoint.meta)
        try:
            self._check_number(meta["agents"])
            snapshot.load_world_state_dict(
                learner, SavedState(_read(newest, layout.WORLD_MEMBER), meta["world"])
            )
            for number, (keeper, log) in enumerate(zip(keepers, self._logs, strict=True)):
                about = meta["agents"][number]
                arrays = _read(newest, layout.learner_member(number))
                snapshot.load_agent_state_dict(learner, number, SavedState(arrays, about["learner"]))
                keeper.load_state_dict(SavedState(arrays, about["keeper"]))
                rows = replayed["agents"][number]["learner"]["replay_steps"]
                log.restore(checkpoint, int(rows), layout.tail_member(number))
                alive()
        except (KeyError, TypeError, ValueError) as error:
            msg = f"checkpoint {newest.ref.id} does not hold what this run needs: {error!r}"
            raise DataError(msg, next_step="Resume an older step with --at STEP.") from error
        soundness.check(learner)
        self._last_step, self._last_at = checkpoint.step, time.monotonic()
        self.durable = Durable(checkpoint.step, self._last_at)
        if partial is not None:
            for log in self._logs:
                log.start_new_lineage()
            self._last_step = -1  # the next boundary makes a whole checkpoint
        return meta

    def close(self) -> None:
        """End the background threads."""
        self._uploader.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _behind(self) -> Iterator[ReplayLog]:
        """Give an agent's log once for each segment that it has not handed over yet."""
        for log in self._logs:
            while log.is_behind:
                yield log

    def _check_number(self, saved: Sequence[Any]) -> None:
        if len(saved) != len(self._logs):
            raise DataError(
                f"the checkpoint holds {len(saved)} agents, the settings ask for {len(self._logs)}",
                next_step="Resume with the run's own config.json, or begin a new run with --init-from.",
            )

    def _snapshot(self, meta: Mapping[str, Any], not_after: float | None = None) -> Snapshot:
        """Copy all that a checkpoint of this moment consists of."""
        for log in self._behind():
            log.submit_next(not_after)
        for log in self._logs:
            log.drop_overwritten()
        return self._state(meta)

    def _state(self, meta: Mapping[str, Any]) -> Snapshot:
        learner, keepers = self._parts
        soundness.check(learner)  # a state that is not finite is never committed
        world = snapshot.world_state_dict(learner)
        members: dict[str, Callable[[], bytes]] = {layout.WORLD_MEMBER: lambda: encode(world.arrays)}
        agents = []
        for number, (keeper, log) in enumerate(zip(keepers, self._logs, strict=True)):
            learnt = snapshot.agent_state_dict(learner, number)
            kept, kept_meta = keeper.state_dict()
            members[layout.learner_member(number)] = functools.partial(encode, {**learnt.arrays, **kept})
            members[layout.tail_member(number)] = functools.partial(encode, log.tail())
            if keeper.best is not None:
                members[layout.kept_member(number)] = keeper.best.policy.encode
            agents.append({"learner": learnt.meta, "keeper": kept_meta})
        segments = [segment for log in self._logs for segment in log.segments]
        everything = {**meta, "world": world.meta, "agents": agents}
        policies = [learner.average_policy(number) for number in range(len(agents))]
        return Snapshot(learner.num_timesteps, members, segments, everything, policies)

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
            members = {}
            for name, make in snapshot.members.items():
                members[name] = make()
                alive()
            contents = CheckpointData(members, snapshot.segments, snapshot.meta)
            every = self._milestones
            milestone = every > 0 and snapshot.step // every > self.durable_step // every
            self._lineage.commit(snapshot.step, contents, milestone=milestone, not_after=not_after)
            self.durable = Durable(snapshot.step, time.monotonic())
        try:
            self._put_policies(snapshot)
            self.after_commit(snapshot.step)
        except StoreError as error:
            self._say(f"step {snapshot.step:,} is saved, but not all that goes with it: {error}")

    def _put_policies(self, snapshot: Snapshot) -> None:
        """Keep each agent's policy of this step for good, to race it against later ones; tens of kilobytes."""
        for number, policy in enumerate(snapshot.policies):
            key = layout.policy_key(self._lineage.run, number, snapshot.step)
            self._lineage.storage.put(key, policy.encode())

    def _report_error(self, last_error: str) -> None:
        """Say why checkpoints are not saved, once for each reason."""
        if last_error and last_error != self._last_error:
            step = "none yet" if self.durable is None else f"step {self.durable.step:,}"
            self._say(
                f"checkpoint not saved: {last_error}; training continues, the newest checkpoint is {step}"
            )
            self._last_error = last_error


def _read(checkpoint: Checkpoint, member: str) -> dict[str, NDArray[Any]]:
    return decode(checkpoint.read(member), what=member, max_bytes=MAX_LEARNER_BYTES)
