"""Open a store by the name that a user types: a directory, or s3://bucket[/prefix]."""

from __future__ import annotations

from pathlib import Path

from training.store.directory import DirectoryStorage
from training.store.retry import RetryingStorage, RetryPolicy


def open_store(url: str, *, policy: RetryPolicy | None = None) -> RetryingStorage:
    """Open the store at a directory, with retries."""
    return RetryingStorage(DirectoryStorage(Path(url).expanduser()), policy or RetryPolicy())
