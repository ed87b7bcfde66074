"""A directory as a store: the same promises as S3 (whole objects, conditional writes), by POSIX means.

Whole objects by `files.write_whole`. Compare-and-swap under an advisory lock on one file: the kernel
drops it with its holder, so a killed writer blocks no one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from .files import TEMPORARY_PREFIX, sync_directory, write_whole
from .storage import (
    ALWAYS,
    Body,
    Condition,
    Corrupt,
    ListedObject,
    NotFound,
    OutOfSpace,
    PreconditionFailed,
    Refused,
    Stored,
    StoreError,
    Unavailable,
    body_chunks,
    check_key,
)

LOCK_NAME = ".lock"
LOCK_TIMEOUT_S = 30.0
LOCK_POLL_S = 0.005

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


class DirectoryStorage:
    """Keep objects as files below one directory; an ETag is the SHA-256 of the content."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        with _named_errors(f"open the store {self._root}"):
            self._root.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """Name the store as a user would type it."""
        return str(self._root)

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a whole file of at most `max_bytes`."""
        with _named_errors(f"read {key}"), self._path(key).open("rb") as file:
            _check_size(key, os.fstat(file.fileno()).st_size, max_bytes)
            data = file.read()
        return Stored(data, hashlib.sha256(data).hexdigest())

    def get_to_file(self, key: str, path: Path, *, max_bytes: int) -> None:
        """Copy an object to a local file, which appears whole or not at all."""
        with _named_errors(f"read {key}"):
            _check_size(key, self._path(key).stat().st_size, max_bytes)
            write_whole(path, body_chunks(self._path(key)))

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        """Write durably and return the ETag; conditional writes hold the store's lock."""
        path = self._path(key)
        with _named_errors(f"write {key}"):
            _make_directories(path.parent, self._root)
            if condition == ALWAYS:
                return write_whole(path, body_chunks(body), expected_sha256=sha256)
            with self._lock():
                _check_condition(key, path, condition)
                return write_whole(path, body_chunks(body), expected_sha256=sha256)

    def list(self, prefix: str) -> Iterator[ListedObject]:
        """List the files whose key starts with `prefix`, in key order; temporary files are not objects."""
        with _named_errors(f"list {prefix}"):
            # Only below the last whole directory of the prefix can there be a match.
            top = self._root / prefix.rpartition("/")[0]
            found = [
                entry
                for path in _visible_files(top)
                if (key := path.relative_to(self._root).as_posix()).startswith(prefix)
                and (entry := _entry(key, path)) is not None
            ]
        return iter(sorted(found, key=lambda entry: entry.key))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete files; absent ones are no error."""
        for key in keys:
            with _named_errors(f"delete {key}"):
                self._path(key).unlink(missing_ok=True)

    def remove_temporary(self, prefix: str, before: datetime) -> None:
        """Remove what killed writers left half written below `prefix` before a moment."""
        for path in (self._root / check_key(prefix)).rglob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()

    def remove_empty(self, prefixes: Iterable[str]) -> None:
        """Remove directories in which nothing is left and nothing will be written again."""
        for prefix in prefixes:
            with contextlib.suppress(OSError):
                self._path(prefix).rmdir()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        # flock, not lockf: it belongs to the open file, so it also excludes other threads of this process.
        descriptor = os.open(self._root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            end = time.monotonic() + LOCK_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > end:
                        message = (
                            f"{self._root / LOCK_NAME} was held by another process for {LOCK_TIMEOUT_S:g} s; "
                            f"look for a stopped one with: fuser -v {self._root / LOCK_NAME}"
                        )
                        raise Unavailable(message) from error
                    time.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)


def _check_condition(key: str, path: Path, condition: Condition) -> None:
    current = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    fits = current is None if condition.if_absent else current == condition.if_match
    if fits:
        return
    # The refused writer may find its own bytes here and take them as committed (its fsync of the
    # directory may have failed before): make them durable first.
    sync_directory(path.parent)
    wanted = "no object" if condition.if_absent else f"ETag {str(condition.if_match)[:16]}…"
    message = f"{key}: expected {wanted}, found {f'ETag {current[:16]}…' if current else 'no object'}"
    raise PreconditionFailed(message)


def _make_directories(directory: Path, root: Path) -> None:
    if directory.is_dir():
        return
    missing = [directory]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_directory(path.parent if path != root else path)


def _visible_files(top: Path) -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(top):
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
        yield from (Path(directory) / name for name in names if not name.startswith("."))


def _entry(key: str, path: Path) -> ListedObject | None:
    try:
        status = path.stat()
    except FileNotFoundError:  # deleted between the walk and the look
        return None
    return ListedObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, timezone.utc))


def _check_size(key: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        message = f"{key}: {size} bytes, at most {max_bytes} expected; it was not read"
        raise Corrupt(message)


@contextlib.contextmanager
def _named_errors(what: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        message = f"{what}: no such object"
        raise NotFound(message) from error
    except OSError as error:
        if error.errno in _FULL:
            message = f"{what}: no space left on the device; free some, nothing was replaced"
            raise OutOfSpace(message) from error
        if error.errno in _REFUSED:
            message = f"{what}: {error}"
            raise Refused(message) from error
        message = f"{what}: {error}"
        raise Unavailable(message) from error
