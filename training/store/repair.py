"""Write a run's pointer again from its manifests, when the pointer itself was damaged or removed.

`python -m training.store.repair RUN TRAINING_TYPE --store DIR|s3://…`. Every manifest is written once and
whole, so the newest one of the newest epoch whose bytes are all there is where the run was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import layout
from ..config import load_config
from ..errors import TrainingError
from .fencing import read_pointer
from .manifest import (
    MAX_MANIFEST_BYTES,
    MAX_MILESTONES,
    MAX_POINTER_BYTES,
    MAX_RECENT,
    CheckpointRef,
    Claim,
    Manifest,
    Owner,
    Pointer,
    encode_pointer,
    fresh_nonce,
    utc_now,
)
from .open import open_store
from .restore import Checkpoint, NoCheckpoint, check_manifest, ref_of
from .storage import (
    IF_ABSENT,
    Condition,
    Corrupt,
    NotFound,
    Refused,
    Storage,
    if_match,
)

Found = dict[str, tuple[CheckpointRef, Manifest]]


def repair(storage: Storage, run: str, training_type: str) -> Pointer:
    """Replace a damaged or missing pointer by one made from the manifests, and return it.

    Every writer of the run is fenced by it. Raises `Refused` if the pointer is sound, `NoCheckpoint`
    if no manifest is: then nothing was changed.
    """
    condition = _condition(storage, run, training_type)
    found = _manifests(storage, run, training_type)
    newest = next((ref for ref in _newest_first(found) if _is_sound(storage, run, found[ref.uuid])), None)
    if newest is None:
        raise NoCheckpoint(f"run {run} has no sound {training_type} checkpoint to point at")
    chain = _chain(found, newest)
    rest = [ref for ref in _newest_first(found) if ref not in chain[:MAX_RECENT]]
    epoch = max(ref.epoch for ref, _ in found.values()) + 1
    attempt = max(manifest.attempt for _, manifest in found.values())
    pointer = Pointer(
        run=run,
        training_type=training_type,
        nonce=fresh_nonce(),
        written_at=utc_now(),
        claim=Claim(
            epoch=epoch,
            nonce=fresh_nonce(),
            attempt=attempt,
            owner=Owner(host="repair"),
            claimed_at=utc_now(),
        ),
        checkpoints=tuple(chain[:MAX_RECENT]),
        # Which of the others were milestones is not known any more; as milestones no pruning takes them.
        milestones=tuple(rest[:MAX_MILESTONES]),
    )
    storage.put(layout.pointer_key(run, training_type), encode_pointer(pointer), condition=condition)
    return pointer


def _condition(storage: Storage, run: str, training_type: str) -> Condition:
    key = layout.pointer_key(run, training_type)
    try:
        etag = storage.get(key, max_bytes=MAX_POINTER_BYTES).etag
    except NotFound:
        return IF_ABSENT
    try:
        read_pointer(storage, run, training_type)
    except Corrupt:
        return if_match(etag)
    raise Refused(f"{key} is sound; there is nothing to repair")


def _manifests(storage: Storage, run: str, training_type: str) -> Found:
    found: Found = {}
    for entry in storage.list(layout.checkpoints_prefix(run) + "/"):
        if not entry.key.endswith("/manifest.json"):
            continue
        checkpoint = layout.parse_checkpoint(entry.key)
        try:
            data = storage.get(entry.key, max_bytes=MAX_MANIFEST_BYTES).data
            manifest = check_manifest(data, run, training_type, checkpoint, entry.key, kind="full")
        except (Corrupt, NotFound):
            continue
        found[checkpoint.uuid] = (ref_of(manifest, data), manifest)
    return found


def _newest_first(found: Found) -> list[CheckpointRef]:
    return sorted((ref for ref, _ in found.values()), key=lambda ref: (ref.epoch, ref.step), reverse=True)


def _is_sound(storage: Storage, run: str, candidate: tuple[CheckpointRef, Manifest]) -> bool:
    try:
        Checkpoint(storage, run, *candidate).verify()
    except (Corrupt, NotFound):
        return False
    return True


def _chain(found: Found, newest: CheckpointRef) -> list[CheckpointRef]:
    chain: list[CheckpointRef] = []
    ref: CheckpointRef | None = newest
    while ref is not None and ref.uuid in found and ref not in chain:
        chain.append(ref)
        ref = found[ref.uuid][1].base
    return chain


def main(arguments: Sequence[str] | None = None) -> int:
    """Repair as the command line asks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.store.repair", description=__doc__)
    parser.add_argument("run")
    parser.add_argument("training_type")
    parser.add_argument("--store", default=".", help="directory or s3://bucket[/prefix]")
    parser.add_argument("--config", type=Path, help="settings file, for the region and address of S3")
    given = parser.parse_args(arguments)
    try:
        storage = open_store(given.store, load_config(given.config).aws)
        pointer = repair(storage, given.run, given.training_type)
    except TrainingError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    steps = ", ".join(str(ref.step) for ref in pointer.checkpoints)
    sys.stdout.write(f"run {given.run} points at step {steps.partition(',')[0]} again (before it: {steps})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
