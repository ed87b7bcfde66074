"""An in-memory store with S3's semantics, and a wrapper that makes any store fail at chosen calls."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from training.store.storage import (
    ALWAYS,
    Body,
    Condition,
    Conflict,
    Corrupt,
    ListedObject,
    NotFound,
    OutOfSpace,
    PreconditionFailed,
    Refused,
    Storage,
    Stored,
    Unavailable,
    body_chunks,
    check_announced,
    check_key,
)

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class MemoryStorage:
    """Objects in a dictionary; ETags are hashes of the content, so equal bytes have equal ETags, as in S3."""

    url = "memory://"

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.writes = 0
        self._lock = threading.Lock()

    def get(self, key: str, *, max_bytes: int) -> Stored:
        with self._lock:
            if key not in self.objects:
                raise NotFound(f"{key}: no such object")
            data, _ = self.objects[key]
        if len(data) > max_bytes:
            raise Corrupt(f"{key}: {len(data)} bytes, at most {max_bytes} expected; it was not read")
        return Stored(data, hashlib.md5(data).hexdigest())  # noqa: S324 - it is what S3's ETag is

    def get_to_file(self, key: str, path: Path, *, max_bytes: int) -> None:
        path.write_bytes(self.get(key, max_bytes=max_bytes).data)

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        data = b"".join(body_chunks(body))
        check_announced(key, hashlib.sha256(data).hexdigest(), sha256)
        with self._lock:
            known = self.objects.get(check_key(key))
            etag = hashlib.md5(known[0]).hexdigest() if known else None  # noqa: S324
            refused = (condition.if_absent and etag) or (condition.if_match not in (None, etag))
            if refused:
                raise PreconditionFailed(f"{key}: it is not what was expected")
            self.writes += 1
            self.objects[key] = (data, START + timedelta(seconds=self.writes))
        return hashlib.md5(data).hexdigest()  # noqa: S324

    def list(self, prefix: str) -> Iterator[ListedObject]:
        with self._lock:
            found = sorted((key, *value) for key, value in self.objects.items() if key.startswith(prefix))
        return iter([ListedObject(key, len(data), modified) for key, data, modified in found])

    def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self.objects.pop(key, None)


class Crash(BaseException):
    """The process dies here; no handler of the code under test may outlive it."""


class Call(NamedTuple):
    """One store call: the operation and the key (or prefix)."""

    operation: str
    key: str

    @property
    def is_write(self) -> bool:
        return self.operation == "put"


# A fault gets the call and a function that carries it out; it returns or raises in its place.
Fault = Callable[[Call, Callable[[], object]], object]


class FaultyStorage:
    """Any store; each call is numbered and given to `fault` if that is due."""

    def __init__(self, inner: Storage, due: Callable[[int, Call], Fault | None]) -> None:
        self._inner = inner
        self._due = due
        self.calls: list[Call] = []

    @property
    def url(self) -> str:
        return self._inner.url

    def get(self, key: str, *, max_bytes: int) -> Stored:
        found = self._call("get", key, lambda: self._inner.get(key, max_bytes=max_bytes))
        assert isinstance(found, Stored)
        return found

    def get_to_file(self, key: str, path: Path, *, max_bytes: int) -> None:
        self._call("get", key, lambda: self._inner.get_to_file(key, path, max_bytes=max_bytes))

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        etag = self._call("put", key, lambda: self._inner.put(key, body, condition=condition, sha256=sha256))
        assert isinstance(etag, str)
        return etag

    def list(self, prefix: str) -> Iterator[ListedObject]:
        found = self._call("list", prefix, lambda: [*self._inner.list(prefix)])
        assert isinstance(found, list)
        return iter(found)

    def delete(self, keys: Sequence[str]) -> None:
        self._call("delete", ",".join(keys), lambda: self._inner.delete(keys))

    def _call(self, operation: str, key: str, act: Callable[[], object]) -> object:
        call = Call(operation, key)
        number = len(self.calls)
        self.calls.append(call)
        fault = self._due(number, call)
        return act() if fault is None else fault(call, act)


def unavailable(_: Call, act: Callable[[], object]) -> object:
    """Answer 500, 503 or nothing, and do nothing."""
    del act
    raise Unavailable("503 SlowDown")


def lost_reply(_: Call, act: Callable[[], object]) -> object:
    """Do it, and lose the reply."""
    act()
    raise Unavailable("connection reset after the request")


def conflict(call: Call, act: Callable[[], object]) -> object:
    """Answer 409, as S3 does when conditional writes meet."""
    if not call.is_write:
        return act()
    raise Conflict("409 ConditionalRequestConflict")


def done_then_412(call: Call, act: Callable[[], object]) -> object:
    """Do it, lose the reply, repeat it below our feet, and answer 412 to the repetition."""
    result = act()
    if not call.is_write:
        return result
    raise PreconditionFailed("412 PreconditionFailed")


def torn(call: Call, act: Callable[[], object]) -> object:
    """Lose half of a body: a write is refused for its checksum, a read is short and looks whole."""
    if call.is_write:
        raise Unavailable("400 IncompleteBody")
    result = act()
    if isinstance(result, Stored):
        return Stored(result.data[: len(result.data) // 2], result.etag)
    return result


def flipped(_: Call, act: Callable[[], object]) -> object:
    """Flip a bit of what is read."""
    result = act()
    if isinstance(result, Stored) and result.data:
        middle = len(result.data) // 2
        data = bytearray(result.data)
        data[middle] ^= 0x10
        return Stored(bytes(data), result.etag)
    return result


def full(call: Call, act: Callable[[], object]) -> object:
    """Have no room for a write."""
    if not call.is_write:
        return act()
    raise OutOfSpace("no space left on the device")


def forbidden(_: Call, act: Callable[[], object]) -> object:
    """Answer 403."""
    del act
    raise Refused("403 AccessDenied")


def crash_before(_: Call, act: Callable[[], object]) -> object:
    """Die before the request is sent."""
    del act
    raise Crash


def crash_after(_: Call, act: Callable[[], object]) -> object:
    """Die after the request is carried out."""
    act()
    raise Crash


FAULTS: dict[str, Fault] = {
    "before (500, 503, timeout)": unavailable,
    "lost reply": lost_reply,
    "409": conflict,
    "412 after lost reply": done_then_412,
    "torn body": torn,
    "flipped bit": flipped,
    "no space": full,
    "403": forbidden,
    "kill before": crash_before,
    "kill after": crash_after,
}
