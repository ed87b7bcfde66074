"""Repeat what is worth repeating: a named list of errors, backoff with jitter, and a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from .storage import ALWAYS, RETRIED, Body, Condition, ListedObject, Storage, Stored, Unavailable

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how patiently a call is repeated; all times in seconds."""

    deadline_s: float = 120.0
    first_delay_s: float = 0.1
    longest_delay_s: float = 10.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    not_after: float | None = None  # on the `monotonic` clock: an end that all calls share
    on_success: Callable[[], None] = lambda: None  # called after each call that succeeded

    def end(self) -> float:
        """Return the moment, on the monotonic clock, after which nothing is repeated."""
        own = self.monotonic() + self.deadline_s
        return own if self.not_after is None else min(own, self.not_after)


def call_with_retries(policy: RetryPolicy, what: str, call: Callable[[], T]) -> T:
    """Call until it succeeds, fails for good, or the deadline would pass; raise the last error."""
    end = policy.end()
    attempts = 0
    while True:
        attempts += 1
        try:
            result = call()
        except RETRIED as error:
            longest = min(policy.longest_delay_s, policy.first_delay_s * 2 ** min(attempts - 1, 30))
            # Full jitter: many clients that failed together do not come back together.
            delay = longest * policy.jitter()
            if policy.monotonic() + delay >= end:
                message = f"{what}: gave up after {attempts} attempts; the last answer was: {error}"
                raise Unavailable(message) from error
            policy.sleep(delay)
        else:
            policy.on_success()
            return result


def reporting(storage: Storage, on_success: Callable[[], None]) -> Storage:
    """Return the same store, which reports each call that succeeded; one without retries as it is."""
    if not isinstance(storage, RetryingStorage):
        return storage
    return replace(storage, policy=replace(storage.policy, on_success=on_success))


@dataclass(frozen=True)
class RetryingStorage:
    """Any store, with every call repeated by one policy.

    A conditional write that is repeated can be refused because its first try succeeded and only the
    reply was lost: callers that get `PreconditionFailed` read back before they believe it.
    """

    inner: Storage
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def url(self) -> str:
        """Name the store as a user would type it."""
        return self.inner.url

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a whole object; see `Storage.get`."""
        return self._call(f"read {key}", lambda: self.inner.get(key, max_bytes=max_bytes))

    def get_to_file(self, key: str, path: Path, *, max_bytes: int) -> None:
        """Stream an object into a file; see `Storage.get_to_file`."""
        self._call(f"read {key}", lambda: self.inner.get_to_file(key, path, max_bytes=max_bytes))

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        """Write an object; see `Storage.put`."""
        return self._call(
            f"write {key}", lambda: self.inner.put(key, body, condition=condition, sha256=sha256)
        )

    def list(self, prefix: str) -> Iterator[ListedObject]:
        """List objects; a listing that breaks off is taken from the start."""
        return iter(self._call(f"list {prefix}", lambda: [*self.inner.list(prefix)]))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; see `Storage.delete`."""
        self._call(f"delete {len(keys)} objects", lambda: self.inner.delete(keys))

    def _call(self, what: str, call: Callable[[], T]) -> T:
        return call_with_retries(self.policy, f"{what} in {self.url}", call)


def until(storage: Storage, not_after: float | None) -> Storage:
    """Return the same store, with no call repeated after `not_after` (monotonic clock)."""
    if not_after is None or not isinstance(storage, RetryingStorage):
        return storage
    return replace(storage, policy=replace(storage.policy, not_after=not_after))


def end_of(storage: Storage) -> float | None:
    """Return the moment set by `until`, or None."""
    return storage.policy.not_after if isinstance(storage, RetryingStorage) else None
