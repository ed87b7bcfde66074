"""Mark and sweep: keep what the newest checkpoints and the milestones name, remove the rest.

Run from a laptop (`python -m training prune RUN`), never by an instance: an instance may not delete.
Objects that a commit under way may still name are safe: only objects older, by the store's own clock,
than the oldest kept checkpoint are ever removed; and, as that clock may have been set back, nothing of the present
epoch that is beyond the newest kept checkpoint. A checkpoint counts as kept only if it is whole: S3 vouches
for the bytes that it took, so there the listing must show every object in its size; a directory is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from .. import layout
from ..config import AwsSettings
from ..errors import DataError, UsageError
from .directory import DirectoryStorage
from .fencing import read_pointer
from .manifest import CheckpointRef, Manifest, Pointer, utc_now
from .open import open_store
from .restore import Checkpoint, history, read_manifest
from .retry import RetryingStorage
from .storage import Corrupt, ListedObject, NotFound, Storage, StoreError

LEAST_KEPT = 2
BATCH = 500
# After a claim, a machine may be reading any kept step in order to resume there; it commits before this.
SETTLING = timedelta(hours=1)
_POINTER_SUFFIX = "_latest_checkpoint.json"


class PrunePlan(NamedTuple):
    """The effect that pruning would have on a run."""

    run: str
    kept: tuple[CheckpointRef, ...]
    before: datetime | None  # nothing younger than this goes
    doomed: tuple[ListedObject, ...]
    pointers: tuple[Pointer, ...]
    notes: tuple[str, ...]  # damaged checkpoints that were passed over, and why nothing goes

    def describe(self) -> list[str]:
        """Say in lines what stays, what goes, and how much that frees."""
        steps = ", ".join(str(ref.step) for ref in self.kept) or "none"
        size = sum(entry.size for entry in self.doomed)
        return [
            f"run {self.run}: the checkpoints at these steps are kept: {steps}",
            *self.notes,
            *(f"remove {entry.key} ({entry.size:,} bytes)" for entry in self.doomed),
            f"to remove: {len(self.doomed)} objects, {size:,} bytes",
        ]


class _Growing(NamedTuple):
    """The commits of the run's present writer: its next checkpoint may name objects that it writes beyond them."""

    epoch: int
    step: int
    last_rows: dict[str, int]  # of each agent, the last transition of the newest checkpoint

    def may_name(self, key: str) -> bool:
        """Tell whether the next checkpoint may need an object."""
        try:
            if key.split("/")[2] == "replay":
                segment = layout.parse_segment_key(key)
                return segment.epoch == self.epoch and segment.last > self.last_rows.get(segment.agent, -1)
            checkpoint = layout.parse_checkpoint(key)
        except DataError:  # no key of ours
            return False
        return checkpoint.epoch == self.epoch and checkpoint.step > self.step


def prune(  # noqa: PLR0913 - the options of the command
    run: str,
    *,
    store: str,
    keep: int = LEAST_KEPT,
    dry_run: bool = True,
    aws: AwsSettings | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Prune a run as the command line asks for, saying what goes; return the exit code.

    Keeps the newest `keep` (2 or more) sound checkpoints of each training type and all milestones.
    """
    storage = open_store(store, aws)
    here = isinstance(storage.inner, DirectoryStorage)
    plan = make_plan(storage, layout.check_run_name(run), keep, read_all=here)
    for line in plan.describe():
        say(line)
    if dry_run:
        say("nothing was removed: this was a dry run")
    else:
        sweep(storage, plan)
    return 0


def make_plan(storage: Storage, run: str, keep: int, *, read_all: bool = True) -> PrunePlan:
    """Find out what can go; nothing is changed. Without `read_all`, sizes stand for contents."""
    if keep < LEAST_KEPT:
        raise UsageError(f"keep = {keep}: at least {LEAST_KEPT} checkpoints are always kept")
    entries = [
        *storage.list(layout.checkpoints_prefix(run) + "/"),
        *storage.list(layout.replay_prefix(run) + "/"),
    ]
    pointers = _pointers(storage, run, entries)
    listed = {entry.key: entry for entry in entries}
    kept: dict[str, CheckpointRef] = {}
    needed = {layout.pointer_key(run, pointer.training_type) for pointer in pointers}
    limits: list[datetime] = []
    growing: list[_Growing] = []
    notes: list[str] = []
    for pointer in pointers:
        damaged: list[str] = []
        whole = _whole(storage, pointer, damaged, listed, read_all=read_all)
        newest = list(islice(whole, keep))
        notes += [f"damaged, not kept: {line}" for line in damaged]
        why_not = _unsettled(pointer) or _too_few(pointer, newest)
        if why_not:
            return PrunePlan(run, (), None, (), pointers, (*notes, why_not))
        # One that was committed after the listing is not in it, and is younger than all that is.
        manifests = [layout.manifest_key(run, ref.id) for ref, _ in newest]
        limits += [listed[key].modified for key in manifests if key in listed]
        growing.append(_growing(pointer, *newest[0]))
        for ref, manifest in [*newest, *_milestones(storage, pointer, notes)]:
            kept[ref.uuid] = ref
            needed |= _sizes(run, ref, manifest).keys()
    before = min(limits, default=None)
    doomed = tuple(
        entry
        for entry in entries
        if before
        and entry.modified < before
        and entry.key not in needed
        and not any(one.may_name(entry.key) for one in growing)
    )
    return PrunePlan(run, tuple(kept.values()), before, doomed, pointers, tuple(notes))


def sweep(storage: Storage, plan: PrunePlan) -> None:
    """Remove what a plan says, checking before each batch whether another attempt has claimed the run since."""
    keys = [entry.key for entry in plan.doomed]
    for start in range(0, len(keys), BATCH):
        for pointer in plan.pointers:
            seen = read_pointer(storage, plan.run, pointer.training_type)
            if seen is None or seen.pointer.claim != pointer.claim:
                raise StoreError(
                    f"run {plan.run} was claimed while it was pruned; {start} of {len(keys)} objects removed",
                    next_step="Prune again after its next checkpoint.",
                )
        storage.delete(keys[start : start + BATCH])
    inner = storage.inner if isinstance(storage, RetryingStorage) else storage
    if isinstance(inner, DirectoryStorage) and plan.before:
        inner.remove_temporary(layout.run_prefix(plan.run), plan.before)
        of_checkpoints = f"{layout.checkpoints_prefix(plan.run)}/"
        inner.remove_empty(
            {key.rpartition("/")[0] for key in keys if key.startswith(of_checkpoints) and key.count("/") > 3}
        )


def _pointers(storage: Storage, run: str, entries: list[ListedObject]) -> tuple[Pointer, ...]:
    names = [entry.key.rpartition("/")[2] for entry in entries if entry.key.endswith(_POINTER_SUFFIX)]
    found = [read_pointer(storage, run, name[: -len(_POINTER_SUFFIX)]) for name in names]
    return tuple(seen.pointer for seen in found if seen)


def _growing(pointer: Pointer, ref: CheckpointRef, manifest: Manifest) -> _Growing:
    rows: dict[str, int] = {}
    for segment in manifest.segments:
        rows[segment.agent] = max(segment.last, rows.get(segment.agent, -1))
    return _Growing(pointer.claim.epoch, ref.step, rows)


def _unsettled(pointer: Pointer) -> str:
    newest, age = pointer.checkpoint, utc_now() - pointer.claim.claimed_at
    if newest is not None and newest.epoch == pointer.claim.epoch:
        return ""
    if age >= SETTLING:
        return ""
    return (
        f"nothing can go: the run was claimed {age.total_seconds() / 60:.0f} minutes ago "
        "and has saved nothing since; prune again after its first checkpoint"
    )


def _whole(
    storage: Storage, pointer: Pointer, damaged: list[str], listed: dict[str, ListedObject], *, read_all: bool
) -> Iterator[tuple[CheckpointRef, Manifest]]:
    for ref, manifest in history(storage, pointer, damaged):
        sizes = _sizes(pointer.run, ref, manifest)
        new = layout.manifest_key(pointer.run, ref.id) not in listed  # committed after the listing
        wrong = [key for key, size in sizes.items() if key not in listed or listed[key].size != size]
        if wrong and not new:
            damaged.append(f"{ref.id}: {len(wrong)} objects missing or cut short, the first: {wrong[0]}")
            continue
        try:
            if read_all:
                Checkpoint(storage, pointer.run, ref, manifest).verify()
        except (Corrupt, NotFound) as error:
            damaged.append(f"{ref.id}: {error}")
            continue
        yield ref, manifest


def _too_few(pointer: Pointer, newest: list[tuple[CheckpointRef, Manifest]]) -> str:
    if len(newest) >= LEAST_KEPT:
        return ""
    return f"nothing can go: {len(newest)} sound {pointer.training_type} checkpoints, {LEAST_KEPT} are kept"


def _milestones(storage: Storage, pointer: Pointer, notes: list[str]) -> list[tuple[CheckpointRef, Manifest]]:
    found = []
    for ref in pointer.milestones:
        try:
            found.append((ref, read_manifest(storage, pointer.run, pointer.training_type, ref)))
        except (Corrupt, NotFound) as error:
            notes.append(f"damaged milestone, not kept: {ref.id}: {error}")
    return found


def _sizes(run: str, ref: CheckpointRef, manifest: Manifest) -> dict[str, int]:
    """Return the keys of all that a checkpoint needs, with their sizes in bytes."""
    return {
        layout.manifest_key(run, ref.id): ref.manifest_size,
        **{layout.member_key(run, ref.id, name): member.size for name, member in manifest.members.items()},
        **{segment.key(run): segment.size for segment in manifest.segments},
    }
