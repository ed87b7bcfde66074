"""Replay segments: immutable, named by their content, uploaded once, behind the trainer's back.

The trainer pays for the copy of the rows and nothing else; encoding, hashing and uploading happen in daemon
threads. Errors there surface at the next commit, which tries again before it gives up: a
segment stays in memory until it is durable.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from .manifest import MAX_SEGMENT_BYTES, SegmentRef
from .retry import until
from .storage import RETRIED, Refused, Storage, Unavailable

SLOT_POLL_S = 0.2
# How often a failed upload is tried again while the trainer continues.
AGAIN_S = 5.0


class Target(NamedTuple):
    """The keys of an attempt's segments: its epoch is in every key, so no zombie can touch them."""

    storage: Storage
    run: str
    epoch: int


class PendingSegment:
    """A segment on its way to the store: rows `first` to `last` (inclusive) of one agent."""

    def __init__(
        self, target: Target, agent: str, rows: tuple[int, int], encode: Callable[[], bytes]
    ) -> None:
        self._target = target
        self.agent = agent
        self.first, self.last = rows
        self._encode: Callable[[], bytes] | None = encode
        self._data = b""
        self._ref: SegmentRef | None = None
        self._error: Exception | None = None
        self._tried = threading.Event()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"replay segment {self.agent} {self.first}-{self.last}"

    def result(self, *, not_after: float | None = None) -> SegmentRef:
        """Wait until the segment is durable and return what a manifest says about it.

        An upload that failed is tried once more here. Raises its error, or `Unavailable` if the
        first try has not ended by `not_after` (monotonic clock, s).
        """
        timeout_s = None if not_after is None else max(0.0, not_after - time.monotonic())
        if not self._tried.wait(timeout_s):
            raise Unavailable(f"{self} was not uploaded in time")
        self.upload(not_after=not_after)
        if self._error is not None:
            raise self._error
        assert self._ref is not None  # noqa: S101 - tried, and no error
        return self._ref

    def upload(self, *, not_after: float | None = None) -> None:
        """Encode, hash and put the segment if that is still to do; keep an error for `result`."""
        with self._lock:
            if self._ref is None:
                try:
                    self._ref = self._put(not_after)
                    self._error, self._data = None, b""
                except Exception as error:  # noqa: BLE001 - `result` raises it in the trainer's thread
                    self._error = error
        self._tried.set()

    @property
    def durable(self) -> bool:
        """Tell whether the segment is in the store."""
        return self._ref is not None

    @property
    def failed(self) -> bool:
        """Tell whether it was tried, is not durable, and no thread is working on it."""
        return self._tried.is_set() and self._error is not None

    @property
    def last_error(self) -> str:
        """Say why the last try failed; empty if none did."""
        return "" if self._error is None else str(self._error)

    def _put(self, not_after: float | None) -> SegmentRef:
        if self._encode is not None:
            self._data = self._encode()
            self._encode = None  # it holds the copied rows
        if len(self._data) > MAX_SEGMENT_BYTES:
            message = f"{self} has {len(self._data)} bytes, {MAX_SEGMENT_BYTES} are allowed"
            raise Refused(message, next_step="Put fewer rows into a segment.")
        ref = SegmentRef(
            epoch=self._target.epoch,
            agent=self.agent,
            first=self.first,
            last=self.last,
            sha256=hashlib.sha256(self._data).hexdigest(),
            size=len(self._data),
        )
        # Unconditional: an object that is already there has the same bytes, for its hash is in the key.
        until(self._target.storage, not_after).put(ref.key(self._target.run), self._data, sha256=ref.sha256)
        return ref


class SegmentUploader:
    """Upload segments in the background; at most `waiting` of them are held in memory.

    A segment must be named by the first commit after its `submit`, or by the one after that: pruning
    takes an older one that no checkpoint names for garbage.
    """

    def __init__(
        self, target: Target, *, waiting: int = 8, workers: int = 2, patience_s: float = 300.0
    ) -> None:
        self._target = target
        self._waiting = waiting
        self._patience_s = patience_s
        self._held: list[PendingSegment] = []
        self._again_at = -AGAIN_S
        self._queue: queue.SimpleQueue[PendingSegment | None] = queue.SimpleQueue()
        # Daemons: a machine about to be taken must be able to exit while the store hangs.
        self._threads = [
            threading.Thread(target=self._work, name=f"segments-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def has_room(self) -> bool:
        """Tell whether `submit` would take a segment at once; failed ones are tried again in the background."""
        self._held = [pending for pending in self._held if not pending.durable]
        if len(self._held) < self._waiting:
            return True
        if time.monotonic() - self._again_at >= AGAIN_S:
            self._again_at = time.monotonic()
            for pending in self._held:
                if pending.failed:
                    self._queue.put(pending)
        return False

    @property
    def last_error(self) -> str:
        """Say why segments wait; empty if the store has refused none of them."""
        return next((pending.last_error for pending in self._held if pending.failed), "")

    def submit(
        self,
        agent: str,
        rows: tuple[int, int],
        encode: Callable[[], bytes],
        *,
        not_after: float | None = None,
    ) -> PendingSegment:
        """Hand over rows first to last; `encode` is called once, in another thread, for the bytes.

        Blocks while `waiting` segments are not durable yet. After `patience_s`, at `not_after` (monotonic clock,
        s), or when trying again is of no use, it raises what the store said.
        """
        self._make_room(not_after)
        pending = PendingSegment(self._target, agent, rows, encode)
        self._held.append(pending)
        self._queue.put(pending)
        return pending

    def close(self, *, timeout_s: float = 0.0) -> None:
        """Let the threads end after what is queued; wait at most `timeout_s` for them."""
        for _ in self._threads:
            self._queue.put(None)
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _make_room(self, not_after: float | None) -> None:
        end = time.monotonic() + self._patience_s
        if not_after is not None:
            end = min(end, not_after)
        while True:
            self._held = [pending for pending in self._held if not pending.durable]
            if len(self._held) < self._waiting:
                return
            failed = next((pending for pending in self._held if pending.failed), None)
            if time.monotonic() >= end:
                if failed is not None:
                    failed.result(not_after=end)
                raise Unavailable(f"{self._waiting} replay segments were not uploaded in time")
            if failed is not None:
                with contextlib.suppress(*RETRIED):
                    failed.result(not_after=end)
            time.sleep(SLOT_POLL_S)

    def _work(self) -> None:
        while (pending := self._queue.get()) is not None:
            pending.upload()
