"""One owner at a time: an attempt claims a run by swapping its pointer to the next epoch.

The previous owner finds, at its next swap, a pointer that it did not write: it is fenced, and
has changed nothing. Every swap carries a fresh nonce, so a swap whose reply was lost is recognised when
the pointer is read back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .. import layout
from ..errors import Fenced
from .manifest import (
    MAX_POINTER_BYTES,
    Claim,
    Owner,
    Pointer,
    decode_pointer,
    encode_pointer,
    fresh_nonce,
    utc_now,
)
from .storage import (
    IF_ABSENT,
    Corrupt,
    NotFound,
    PreconditionFailed,
    Storage,
    Unavailable,
    if_match,
)

# Another claimant or the last commit of the old owner can come between; never this often in a row.
MAX_SWAPS = 20


class SeenPointer(NamedTuple):
    """A pointer as read, with the ETag to swap against."""

    pointer: Pointer
    etag: str


def read_pointer(storage: Storage, run: str, training_type: str) -> SeenPointer | None:
    """Read and check the pointer of a run; None if the run has never been claimed."""
    key = layout.pointer_key(run, training_type)
    try:
        try:
            pointer, etag = _read(storage, key)
        except Corrupt:
            pointer, etag = _read(storage, key)  # garbled on the way, perhaps: believe it when seen twice
    except NotFound:
        return None
    if (pointer.run, pointer.training_type) != (run, training_type):
        message = (
            f"{key} belongs to run {pointer.run!r}, {pointer.training_type!r}: it was copied or replaced"
        )
        raise Corrupt(message, next_step="Resume that run by its own name, or put the right pointer back.")
    return SeenPointer(pointer, etag)


def _read(storage: Storage, key: str) -> SeenPointer:
    stored = storage.get(key, max_bytes=MAX_POINTER_BYTES)
    return SeenPointer(decode_pointer(stored.data, key), stored.etag)


class Ownership:
    """The right to move one run's pointer, until another attempt claims it."""

    def __init__(self, storage: Storage, claim: Claim, seen: SeenPointer) -> None:
        self.storage = storage
        self.claim = claim
        self.pointer, self._etag = seen

    @property
    def run(self) -> str:
        """Name the run."""
        return self.pointer.run

    @property
    def training_type(self) -> str:
        """Name what the pointer is for."""
        return self.pointer.training_type

    def check(self, storage: Storage | None = None) -> Pointer:
        """Read the pointer again; raise `Fenced` if it is no longer ours. Later writes build on it."""
        seen = read_pointer(storage or self.storage, self.run, self.training_type)
        if seen is None:
            message = (
                f"run {self.run} has no pointer any more: somebody deleted the run while it was training"
            )
            raise Fenced(message, next_step="Nothing was written. Start a new run, or restore the store.")
        if seen.pointer.claim.nonce != self.claim.nonce:
            raise Fenced(_taken(self.run, self.claim, seen.pointer.claim))
        self.pointer, self._etag = seen
        return self.pointer

    def swap(self, change: Callable[[Pointer], Pointer], storage: Storage | None = None) -> Pointer:
        """Replace the pointer by `change(pointer)`, or raise `Fenced` with nothing changed.

        `Unavailable` leaves it open whether the swap took place; the next `check` or `swap` finds out.
        """
        storage = storage or self.storage
        key = layout.pointer_key(self.run, self.training_type)
        for _ in range(MAX_SWAPS):
            new = change(self.pointer).model_copy(
                update={"nonce": fresh_nonce(), "written_at": utc_now(), "claim": self.claim}
            )
            try:
                self._etag = storage.put(key, encode_pointer(new), condition=if_match(self._etag))
            except PreconditionFailed:
                if self.check(storage).nonce == new.nonce:  # it was ours: only the reply was lost
                    return self.pointer
                continue  # an earlier swap of ours arrived late: build on it
            self.pointer = new
            return new
        message = f"{key}: swapped by ourselves {MAX_SWAPS} times in a row without success"
        raise Unavailable(message)


def take(storage: Storage, run: str, training_type: str, attempt: int, owner: Owner) -> Ownership:
    """Claim a run for an attempt: epoch 1 if it is new, else one more than the last.

    Raises `Fenced` if a later attempt holds the run: a machine that was cut off and comes back does
    not take it from its successor.
    """
    key = layout.pointer_key(run, training_type)
    for _ in range(MAX_SWAPS):
        seen = read_pointer(storage, run, training_type)
        if seen is not None and seen.pointer.claim.attempt > attempt:
            claim = _claim(seen.pointer.claim.epoch, attempt, owner)
            raise Fenced(_taken(run, claim, seen.pointer.claim))
        claim = _claim(seen.pointer.claim.epoch + 1 if seen else 1, attempt, owner)
        update = {"nonce": fresh_nonce(), "written_at": utc_now(), "claim": claim}
        new = (
            seen.pointer.model_copy(update=update)
            if seen
            else Pointer(run=run, training_type=training_type, **update)  # type: ignore[arg-type]
        )
        try:
            etag = storage.put(key, encode_pointer(new), condition=if_match(seen.etag) if seen else IF_ABSENT)
        except PreconditionFailed:
            found = read_pointer(storage, run, training_type)
            if found is None or found.pointer.nonce != new.nonce:
                continue  # a commit or another claim came first: claim over what is there now
            etag = found.etag
        return Ownership(storage, claim, SeenPointer(new, etag))
    message = f"{key}: {MAX_SWAPS} claims lost in a row; other machines keep claiming run {run}"
    raise Unavailable(message, next_step="Look at who they are: ./launch.py status " + run)


def _claim(epoch: int, attempt: int, owner: Owner) -> Claim:
    return Claim(epoch=epoch, nonce=fresh_nonce(), attempt=attempt, owner=owner, claimed_at=utc_now())


def _taken(run: str, ours: Claim, theirs: Claim) -> str:
    who = theirs.owner.instance_id or theirs.owner.host or "another process"
    return (
        f"run {run} was claimed by attempt {theirs.attempt} on {who} (epoch {theirs.epoch}, "
        f"{theirs.claimed_at:%Y-%m-%d %H:%M:%S} UTC); attempt {ours.attempt} (epoch {ours.epoch}) stops "
        "and has changed nothing"
    )
