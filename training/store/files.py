"""Local files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from .storage import check_announced

TEMPORARY_PREFIX = ".tmp-"


def write_whole(
    path: Path, chunks: Iterable[bytes | memoryview], *, expected_sha256: str | None = None
) -> str:
    """Write a file durably so that it appears whole or not at all; return its SHA-256 (hex).

    A temporary name in the same directory, fsync, rename, fsync of the directory: a reader sees the
    old file or the new one, whatever instant the writer dies at. Raises `Corrupt`, with nothing
    replaced, if the bytes do not have the expected SHA-256.
    """
    temporary = path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    digest = hashlib.sha256()
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        seen = digest.hexdigest()
        check_announced(path.name, seen, expected_sha256)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that matters
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return seen


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
