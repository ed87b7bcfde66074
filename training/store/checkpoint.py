"""The commit protocol: data to unique keys, then the manifest, then the pointer by compare-and-swap.

A checkpoint exists when the pointer names it, and not before. Nothing is ever overwritten but the
pointer, and nothing is deleted here. docs/store.md has the reasons, docs/notes/durability_tests.md the tests.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue, ValidationError

from .. import layout
from . import fencing
from .manifest import (
    MAX_MANIFEST_BYTES,
    MAX_MEMBERS,
    MAX_MILESTONES,
    MAX_RECENT,
    RESERVED_NAMES,
    CheckpointRef,
    Manifest,
    MemberRef,
    Owner,
    Pointer,
    SegmentRef,
    encode,
    utc_now,
)
from .parallel import in_parallel
from .restore import Checkpoint, load, load_partial
from .retry import end_of, until
from .segments import PendingSegment
from .storage import (
    IF_ABSENT,
    Body,
    Corrupt,
    PreconditionFailed,
    Refused,
    Storage,
    body_sha256,
    body_size,
)

DEFAULT_WORKERS = 4


class CheckpointData(NamedTuple):
    """The parts of a checkpoint: named files, replay segments (uploaded or on their way), JSON."""

    members: Mapping[str, Body]
    segments: Sequence[SegmentRef | PendingSegment] = ()
    meta: Mapping[str, JsonValue] = {}


def claim(  # noqa: PLR0913 - four that name the attempt, two that are usually left alone
    storage: Storage,
    run: str,
    training_type: str,
    attempt: int,
    *,
    owner: Owner | None = None,
    workers: int = DEFAULT_WORKERS,
) -> RunWriter:
    """Take the run for this attempt; every earlier holder is fenced from now on.

    `attempt` counts boots (`attempts.json`); raises `Fenced` if a later attempt holds the run.
    """
    held = fencing.take(storage, run, training_type, attempt, owner or Owner())
    return RunWriter(held, workers=workers)


class RunWriter:
    """The one line of checkpoints of a claimed run. Methods may be called from any thread."""

    def __init__(self, held: fencing.Ownership, *, workers: int = DEFAULT_WORKERS) -> None:
        self._held = held
        self._workers = workers
        self._lock = threading.RLock()
        # The checkpoint we continue: set by `load`; commits until the next `load` build on it.
        self._resumed: CheckpointRef | None = held.pointer.checkpoint
        self._ours: set[str] = set()

    @property
    def storage(self) -> Storage:
        """Return the store that holds the run."""
        return self._held.storage

    @property
    def run(self) -> str:
        """Name the run."""
        return self._held.run

    @property
    def epoch(self) -> int:
        """Return the number of this claim, which is part of every key that it writes."""
        return self._held.claim.epoch

    @property
    def pointer(self) -> Pointer:
        """Return the pointer as last seen."""
        return self._held.pointer

    def check(self) -> None:
        """Ask the store whether the run is still ours; raise `Fenced` if not."""
        with self._lock:
            self._held.check()

    def load(self, *, at_step: int | None = None) -> Checkpoint:
        """Read the newest sound checkpoint, or the one at a step; later commits continue it.

        Raises `NoCheckpoint` if the run has none yet, `Corrupt` if none is sound.
        """
        with self._lock:
            checkpoint = load(
                self.storage, self.run, self._held.training_type, at_step=at_step, workers=self._workers
            )
            self._resumed, self._ours = checkpoint.ref, set()
            return checkpoint

    def commit(
        self, step: int, contents: CheckpointData, *, milestone: bool = False, not_after: float | None = None
    ) -> CheckpointRef:
        """Make a checkpoint durable, and only then let the pointer name it.

        `milestone` keeps it through every pruning; `not_after` (monotonic clock, s) ends all retries.
        Raises `Fenced` if the run was taken over (nothing changed), another `StoreError` if the
        store failed: the previous checkpoint then still stands, and training may continue.
        """
        with self._lock:
            storage = until(self.storage, not_after)
            # Also fetches the ETag left by a swap whose outcome we never learnt.
            self._held.check(storage)
            ref = self._write(storage, step, contents, "full")
            self._ours.add(ref.uuid)
            self._held.swap(lambda pointer: self._extended(pointer, ref, milestone=milestone), storage)
            return ref

    def commit_partial(
        self, step: int, contents: CheckpointData, *, not_after: float | None = None
    ) -> CheckpointRef:
        """Save what fits before a deadline (weights, optimizers); the pointer is left alone.

        Only `load_partial` ever finds it, and only while its base is the run's newest checkpoint. Waits for
        nothing: a commit that hangs in another thread must not take the last seconds from it.
        """
        return self._write(until(self.storage, not_after), step, contents, "partial")

    def _base(self, pointer: Pointer) -> CheckpointRef | None:
        newest = pointer.checkpoint
        return newest if newest is not None and newest.uuid in self._ours else self._resumed

    def _extended(self, pointer: Pointer, ref: CheckpointRef, *, milestone: bool) -> Pointer:
        ours = [known for known in pointer.checkpoints if known.uuid in self._ours]
        before: tuple[CheckpointRef, ...] = ()
        if self._resumed is not None:
            # Checkpoints newer than the one we resumed belong to another history: never walk back to them.
            uuids = [known.uuid for known in pointer.checkpoints]
            found = self._resumed.uuid in uuids
            before = pointer.checkpoints[uuids.index(self._resumed.uuid) :] if found else (self._resumed,)
        kept = [known for known in pointer.milestones if known.uuid != ref.uuid]
        return pointer.model_copy(
            update={
                "checkpoints": (ref, *ours, *before)[:MAX_RECENT],
                "milestones": tuple(([ref] if milestone else []) + kept)[:MAX_MILESTONES],
            }
        )

    def _write(self, storage: Storage, step: int, contents: CheckpointData, kind: str) -> CheckpointRef:
        checkpoint = layout.CheckpointId(step, self.epoch, uuid.uuid4().hex)
        segments = [
            part if isinstance(part, SegmentRef) else part.result(not_after=end_of(storage))
            for part in contents.segments
        ]
        manifest = self._manifest(checkpoint, kind, segments, contents.meta)
        members = self._write_members(storage, checkpoint, contents.members)
        data = encode(manifest.model_copy(update={"members": members}))
        if len(data) > MAX_MANIFEST_BYTES:
            message = f"the manifest at step {step} has {len(data)} bytes, {MAX_MANIFEST_BYTES} are allowed"
            raise Refused(message, next_step="Put large state into a member (arrays), not into the JSON.")
        key = layout.partial_manifest_key if kind == "partial" else layout.manifest_key
        _write_manifest(storage, key(self.run, checkpoint), data)
        return CheckpointRef(
            manifest_sha256=body_sha256(data), manifest_size=len(data), **checkpoint._asdict()
        )

    def _manifest(
        self,
        checkpoint: layout.CheckpointId,
        kind: str,
        segments: list[SegmentRef],
        meta: Mapping[str, JsonValue],
    ) -> Manifest:
        try:
            return Manifest.model_validate(
                {
                    "kind": kind,
                    "run": self.run,
                    "training_type": self._held.training_type,
                    "attempt": self._held.claim.attempt,
                    "created_at": utc_now(),
                    "base": self._base(self._held.pointer),
                    "members": {},
                    "segments": tuple(segments),
                    "meta": dict(meta),
                    **checkpoint._asdict(),
                }
            )
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise Refused(f"checkpoint at step {checkpoint.step}: {where}: {problem['msg']}") from error

    def _write_members(
        self, storage: Storage, checkpoint: layout.CheckpointId, members: Mapping[str, Body]
    ) -> dict[str, MemberRef]:
        taken = RESERVED_NAMES.intersection(members)
        if taken or len(members) > MAX_MEMBERS:
            raise Refused(f"{len(members)} members (at most {MAX_MEMBERS}), reserved names: {sorted(taken)}")

        def write(item: tuple[str, Body]) -> tuple[str, MemberRef]:
            name, body = item
            ref = MemberRef(size=body_size(body), sha256=body_sha256(body))
            storage.put(layout.member_key(self.run, checkpoint, name), body, sha256=ref.sha256)
            return name, ref

        return dict(in_parallel(write, members.items(), self._workers))


def _write_manifest(storage: Storage, key: str, data: bytes) -> None:
    try:
        storage.put(key, data, condition=IF_ABSENT)
    except PreconditionFailed:
        # The key holds a fresh uuid: an object there can only be ours, with its reply lost. Look anyway.
        if storage.get(key, max_bytes=MAX_MANIFEST_BYTES).data != data:
            message = f"{key} already holds another manifest; this checkpoint is not committed"
            raise Corrupt(message) from None


__all__ = [
    "Checkpoint",
    "CheckpointData",
    "CheckpointRef",
    "Owner",
    "RunWriter",
    "SegmentRef",
    "claim",
    "load",
    "load_partial",
]
