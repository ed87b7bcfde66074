"""Named byte streams: the small interface that every store implements, its errors, and which of them are retried.

StoreError               exit 1
├── NotFound             no such key
├── PreconditionFailed   a conditional write was refused (HTTP 412): read back before believing it
├── Unavailable          no answer, or "try again": the outcome is unknown (5xx, throttling, time-outs)
│   └── Conflict         a concurrent conditional write was in the way (HTTP 409)
├── OutOfSpace           the disk is full; nothing was replaced
├── Refused              exit 78: no permission, no such bucket, a malformed request
└── Corrupt              exit 65: bytes or documents that are not what was committed
`training.errors.Fenced` (exit 3) is no StoreError: code that continues after a failed save must not swallow it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ..errors import ConfigurationError, DataError, TrainingError

Body = bytes | memoryview | Path

MAX_KEY_LENGTH = 800
CHUNK_BYTES = 1 << 20
# A part may not start with a dot: hidden names are the directory store's own, and ".." leaves the store.
_KEY_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@-]{0,199}")


class StoreError(TrainingError):
    """Base of everything a store raises on purpose."""


class NotFound(StoreError):
    """The key does not exist."""


class PreconditionFailed(StoreError):
    """A conditional write was refused because the key is not what the writer last saw."""


class Unavailable(StoreError):
    """The store gave no usable answer; the request may or may not have taken effect."""


class Conflict(Unavailable):
    """A concurrent conditional write was in the way (HTTP 409); repeat."""


class OutOfSpace(StoreError):
    """The store has no room; everything that was there before is untouched."""


class Refused(StoreError, ConfigurationError):
    """The store will never accept this request as it is."""

    exit_code = ConfigurationError.exit_code


class Corrupt(StoreError, DataError):
    """Stored bytes are not those that were committed, or a document breaks its schema."""

    exit_code = DataError.exit_code


# The errors worth a retry, and no others: a refusal repeated is a refusal, only later.
RETRIED: tuple[type[StoreError], ...] = (Unavailable, Conflict)


@dataclass(frozen=True)
class Stored:
    """An object's bytes and the ETag to compare and swap against."""

    data: bytes
    etag: str


@dataclass(frozen=True)
class ListedObject:
    """One listed object; `modified` is the store's clock, not ours."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Condition:
    """When a write may happen: only if absent, or only if the ETag is still the one last seen."""

    if_match: str | None = None
    if_absent: bool = False


ALWAYS = Condition()
IF_ABSENT = Condition(if_absent=True)


def if_match(etag: str) -> Condition:
    """Allow the write only while the key still has this ETag."""
    return Condition(if_match=etag)


class Storage(Protocol):
    """Keep named byte streams; every method makes one attempt and raises a `StoreError`."""

    @property
    def url(self) -> str:
        """Name the store as a user would type it."""
        ...

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a whole object of at most `max_bytes` (else `Corrupt`), or raise `NotFound`."""
        ...

    def get_to_file(self, key: str, path: Path, *, max_bytes: int) -> None:
        """Stream an object into a local file, which appears whole or not at all."""
        ...

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        """Write an object durably and return its ETag; a `sha256` (hex) is checked on the way."""
        ...

    def list(self, prefix: str) -> Iterator[ListedObject]:
        """List the objects whose key starts with `prefix`, in key order."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects (pruning only: no instance ever deletes); absent keys are no error."""
        ...


def check_key(key: str) -> str:
    """Return the key if it is a plain relative path of safe parts, else raise `Refused`."""
    if len(key) > MAX_KEY_LENGTH or not all(_KEY_PART.fullmatch(part) for part in key.split("/")):
        message = (
            f"store key {key[:120]!r} is not allowed: parts of letters, digits and ._=+@- joined by '/', "
            f"none starting with '.', at most {MAX_KEY_LENGTH} characters"
        )
        raise Refused(message)
    return key


def body_size(body: Body) -> int:
    """Count the bytes of a body, in memory or in a file."""
    if isinstance(body, Path):
        return body.stat().st_size
    return memoryview(body).nbytes


def body_chunks(body: Body) -> Iterator[memoryview]:
    """Yield a body in pieces of at most `CHUNK_BYTES`, without copying what is in memory already."""
    if isinstance(body, Path):
        with body.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield memoryview(chunk)
        return
    view = memoryview(body).cast("B")
    for start in range(0, view.nbytes, CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def body_sha256(body: Body) -> str:
    """Hash a body, in memory or in a file, in bounded memory."""
    digest = hashlib.sha256()
    for chunk in body_chunks(body):
        digest.update(chunk)
    return digest.hexdigest()


def check_announced(what: str, seen: str, announced: str | None) -> None:
    """Raise `Corrupt` if what was just sent has not the SHA-256 (hex) that was announced for it."""
    if announced is not None and seen != announced:
        raise Corrupt(f"{what}: SHA-256 {seen[:16]}… while writing, {announced[:16]}… announced: it changed")


def check_bytes(data: bytes, *, size: int, sha256: str, what: str) -> bytes:
    """Return the data if size and SHA-256 (hex) are as recorded, else raise `Corrupt` naming `what`."""
    if len(data) != size:
        message = f"{what}: {len(data)} bytes in the store, {size} recorded at commit: truncated or replaced"
        raise Corrupt(message)
    seen = hashlib.sha256(data).hexdigest()
    if seen != sha256:
        message = f"{what}: SHA-256 {seen[:16]}… in the store, {sha256[:16]}… recorded at commit: damaged"
        raise Corrupt(message)
    return data
