"""Read a run back: the newest checkpoint whose every byte is as committed, walking back past damage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from .. import layout
from .fencing import read_pointer
from .manifest import (
    MAX_MANIFEST_BYTES,
    CheckpointRef,
    Manifest,
    Pointer,
    SegmentRef,
    decode,
)
from .parallel import in_parallel
from .storage import Corrupt, NotFound, Storage, check_bytes

# How far the chain of predecessors is followed; a longer one is a loop or an attack.
MAX_CHAIN = 5_000


class NoCheckpoint(NotFound):
    """The run has no committed checkpoint yet."""


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: its manifest, and its contents, verified again on every read."""

    storage: Storage
    run: str
    ref: CheckpointRef
    manifest: Manifest
    skipped: tuple[str, ...] = field(default=())  # newer checkpoints that were damaged, and how

    @property
    def step(self) -> int:
        """Return the timestep at which it was taken."""
        return self.ref.step

    @property
    def meta(self) -> dict[str, JsonValue]:
        """Return the JSON that was committed with it."""
        return self.manifest.meta

    def read(self, name: str) -> bytes:
        """Read one member, verified; raise `NotFound` if the checkpoint has none of that name."""
        ref = self.manifest.members.get(name)
        if ref is None:
            known = ", ".join(sorted(self.manifest.members)) or "none"
            message = f"checkpoint {self.ref.id} has no member {name!r}; it has: {known}"
            raise NotFound(message)
        return _verified(self.storage, layout.member_key(self.run, self.ref.id, name), ref.size, ref.sha256)

    def read_segment(self, ref: SegmentRef) -> bytes:
        """Read one replay segment, verified."""
        return _verified(self.storage, ref.key(self.run), ref.size, ref.sha256)

    def read_segments(self, agent: str, *, workers: int = 4) -> Iterator[tuple[SegmentRef, bytes]]:
        """Yield an agent's replay segments in the order committed; at most `workers` are in memory."""
        refs = [ref for ref in self.manifest.segments if ref.agent == agent]
        return in_parallel(lambda ref: (ref, self.read_segment(ref)), refs, workers)

    def verify(self, *, workers: int = 4) -> None:
        """Read everything once; raise `Corrupt` or `NotFound` at the first thing that is not as committed."""
        for _ in in_parallel(lambda name: len(self.read(name)), self.manifest.members, workers):
            pass
        for _ in in_parallel(lambda ref: len(self.read_segment(ref)), self.manifest.segments, workers):
            pass


def load(  # noqa: PLR0913 - three that name the run, three that are usually left alone
    storage: Storage,
    run: str,
    training_type: str,
    *,
    at_step: int | None = None,
    verify: bool = True,
    workers: int = 4,
) -> Checkpoint:
    """Read the newest sound checkpoint of a run, or one at a given step.

    Every byte is read and checked (`verify`) before anything is returned; a damaged checkpoint is
    passed over, and named in `skipped`. Raises `NoCheckpoint` before the first commit, `Corrupt`
    if none is sound or none is at that step.
    """
    seen = read_pointer(storage, run, training_type)
    if seen is None or seen.pointer.checkpoint is None:
        message = f"run {run} has no committed {training_type} checkpoint in {storage.url}"
        raise NoCheckpoint(message)
    skipped: list[str] = []
    steps: list[int] = []
    for ref, manifest in history(storage, seen.pointer, skipped):
        steps.append(ref.step)
        if at_step is not None and ref.step != at_step:
            continue
        checkpoint = Checkpoint(storage, run, ref, manifest, tuple(skipped))
        try:
            if verify:
                checkpoint.verify(workers=workers)
        except (Corrupt, NotFound) as error:
            skipped.append(f"{ref.id}: {error}")
            continue
        return checkpoint
    raise _nothing_sound(run, at_step, steps, skipped)


def history(
    storage: Storage, pointer: Pointer, skipped: list[str]
) -> Iterator[tuple[CheckpointRef, Manifest]]:
    """Yield the checkpoints of a run with readable manifests, newest first; name the others in `skipped`.

    First those that the pointer names, then their predecessors as far as they are kept, then milestones.
    """
    waiting = [*pointer.checkpoints]
    milestones = [*pointer.milestones]
    seen: set[str] = set()
    last: Manifest | None = None
    while len(seen) < MAX_CHAIN:
        if not waiting and last is not None and last.base is not None and last.base.uuid not in seen:
            waiting.append(last.base)
        if not waiting:
            waiting, milestones = milestones, []
        if not waiting:
            return
        ref = waiting.pop(0)
        if ref.uuid in seen:
            continue
        seen.add(ref.uuid)
        try:
            last = read_manifest(storage, pointer.run, pointer.training_type, ref)
        except (Corrupt, NotFound) as error:
            skipped.append(f"{ref.id}: {error}")
            continue
        yield ref, last


def read_manifest(storage: Storage, run: str, training_type: str, ref: CheckpointRef) -> Manifest:
    """Read a manifest and check its bytes, its schema, and that it is of this run and checkpoint."""
    key = layout.manifest_key(run, ref.id)
    data = _verified(storage, key, ref.manifest_size, ref.manifest_sha256)
    return check_manifest(data, run, training_type, ref.id, key, kind="full")


def check_manifest(  # noqa: PLR0913 - what it must agree with
    data: bytes, run: str, training_type: str, checkpoint: layout.CheckpointId, key: str, *, kind: str
) -> Manifest:
    """Parse a manifest; raise `Corrupt` if it is not the one that its key and its run announce."""
    manifest = decode(Manifest, data, key)
    announced = (run, training_type, checkpoint, kind)
    found = (manifest.run, manifest.training_type, manifest.id, manifest.kind)
    if found != announced:
        message = f"{key} describes {_described(found)}, expected {_described(announced)}"
        raise Corrupt(message, next_step="It was copied from elsewhere; resume an older step with --at STEP.")
    return manifest


def load_partial(
    storage: Storage, run: str, training_type: str, *, verify: bool = True, workers: int = 4
) -> Checkpoint:
    """Read the newest partial save that continues the run's newest checkpoint; with `verify`, every byte of it.

    Raises `NoCheckpoint` if there is none; damaged ones are passed over and named in `skipped`.
    """
    seen = read_pointer(storage, run, training_type)
    newest = seen.pointer.checkpoint if seen else None
    found = [
        layout.parse_checkpoint(entry.key)
        for entry in storage.list(layout.checkpoints_prefix(run) + "/")
        if entry.key.endswith("/partial.json")
    ]
    skipped: list[str] = []
    for checkpoint in sorted(found, key=lambda found: (found.epoch, found.step), reverse=True):
        key = layout.partial_manifest_key(run, checkpoint)
        try:
            data = storage.get(key, max_bytes=MAX_MANIFEST_BYTES).data
            manifest = check_manifest(data, run, training_type, checkpoint, key, kind="partial")
            if manifest.base != newest:
                continue  # it continues another checkpoint: a zombie's, or overtaken by a full save
            ref = ref_of(manifest, data)
            partial = Checkpoint(storage, run, ref, manifest, tuple(skipped))
            if verify:
                partial.verify(workers=workers)
        except (Corrupt, NotFound) as error:
            skipped.append(f"{checkpoint}: {error}")
            continue
        return partial
    message = f"run {run} has no partial save that continues its newest checkpoint"
    raise NoCheckpoint(message, next_step="\n".join(skipped))


def _verified(storage: Storage, key: str, size: int, sha256: str) -> bytes:
    try:
        return check_bytes(storage.get(key, max_bytes=size).data, size=size, sha256=sha256, what=key)
    except Corrupt:
        # Garbled on the way, perhaps: a checkpoint is given up only for damage seen twice.
        return check_bytes(storage.get(key, max_bytes=size).data, size=size, sha256=sha256, what=key)


def _nothing_sound(run: str, at_step: int | None, steps: list[int], skipped: list[str]) -> Corrupt:
    damaged = "".join(f"\n  damaged: {line}" for line in skipped)
    if at_step is not None and at_step not in steps:
        available = ", ".join(map(str, sorted(set(steps)))) or "none"
        message = f"run {run} has no checkpoint at step {at_step}; kept are: {available}{damaged}"
        return Corrupt(message, next_step="Choose one of these steps with --at STEP.")
    message = f"run {run}: no sound checkpoint is left{damaged}"
    return Corrupt(
        message,
        next_step="Restore the objects named above (a versioned bucket keeps old ones), or start a new run.",
    )


def _described(parts: tuple[str, str, layout.CheckpointId, str]) -> str:
    run, training_type, checkpoint, kind = parts
    return f"{kind} {training_type} checkpoint {checkpoint} of run {run}"


def ref_of(manifest: Manifest, data: bytes) -> CheckpointRef:
    """Name a checkpoint by its manifest and its manifest's bytes."""
    return CheckpointRef(
        manifest_sha256=hashlib.sha256(data).hexdigest(), manifest_size=len(data), **manifest.id._asdict()
    )
