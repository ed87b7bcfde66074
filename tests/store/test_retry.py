"""What is repeated, for how long, and what is never repeated."""

from __future__ import annotations

import pytest

from tests.store.memory import Call, Fault, FaultyStorage, MemoryStorage, conflict, lost_reply, unavailable
from training.store.retry import RetryingStorage, RetryPolicy, call_with_retries, until
from training.store.storage import (
    IF_ABSENT,
    Conflict,
    Corrupt,
    NotFound,
    OutOfSpace,
    PreconditionFailed,
    Refused,
    StoreError,
    Unavailable,
)


class Clock:
    """A clock that moves while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def policy(self, **options: float) -> RetryPolicy:
        return RetryPolicy(
            sleep=self.sleep,
            monotonic=lambda: self.now_s,
            jitter=lambda: 1.0,
            **options,  # type: ignore[arg-type]
        )


def failing(errors: list[Exception]) -> Call:
    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    return call  # type: ignore[return-value]


@pytest.mark.parametrize("error", [Unavailable("503"), Conflict("409")])
def test_what_may_pass_is_repeated(error: StoreError) -> None:
    clock = Clock()
    assert call_with_retries(clock.policy(), "it", failing([error, error])) == "done"
    assert clock.slept == [0.1, 0.2]


@pytest.mark.parametrize("kind", [NotFound, PreconditionFailed, OutOfSpace, Refused, Corrupt])
def test_what_will_not_pass_is_not_repeated(kind: type[StoreError]) -> None:
    clock = Clock()
    with pytest.raises(kind):
        call_with_retries(clock.policy(), "it", failing([kind("no")]))
    assert clock.slept == []


def test_waits_grow_to_a_limit_and_end_before_the_deadline() -> None:
    clock = Clock()
    policy = clock.policy(deadline_s=10, first_delay_s=1, longest_delay_s=3)
    with pytest.raises(Unavailable, match=r"it: gave up after 5 attempts; the last answer was: 503"):
        call_with_retries(policy, "it", failing([Unavailable("503")] * 99))
    assert clock.slept == [1, 2, 3, 3]
    assert clock.now_s < 10


def test_jitter_spreads_the_waits_over_the_whole_range() -> None:
    clock = Clock()
    rolls = iter([0.0, 0.5, 1.0])
    policy = RetryPolicy(
        sleep=clock.sleep, monotonic=lambda: 0.0, jitter=lambda: next(rolls), first_delay_s=1
    )
    assert call_with_retries(policy, "it", failing([Unavailable("503")] * 3)) == "done"
    assert clock.slept == [0.0, 1.0, 4.0]


def test_a_common_end_cuts_every_call_short() -> None:
    clock = Clock()
    down = FaultyStorage(MemoryStorage(), lambda *_: unavailable)
    store = RetryingStorage(down, clock.policy(deadline_s=120, first_delay_s=1))
    limited = until(store, clock.now_s + 5)
    for _ in range(3):
        with pytest.raises(Unavailable):
            limited.get("key", max_bytes=1)
    assert clock.now_s < 5


def test_every_call_of_a_store_is_repeated() -> None:
    seen: set[str] = set()

    def first_of_each(_: int, call: Call) -> Fault | None:
        if call.operation in seen:
            return None
        seen.add(call.operation)
        return conflict if call.is_write else unavailable

    store = RetryingStorage(FaultyStorage(MemoryStorage(), first_of_each), Clock().policy())
    store.put("key", b"1")
    assert store.get("key", max_bytes=1).data == b"1"
    assert [entry.key for entry in store.list("")] == ["key"]
    store.delete(["key"])
    assert seen == {"put", "get", "list", "delete"}


def test_a_repeated_conditional_write_can_meet_its_own_first_try() -> None:
    """That is why callers read back: here is the 412 that means success."""
    first = [lost_reply]
    flaky = FaultyStorage(MemoryStorage(), lambda *_: first.pop() if first else None)
    with pytest.raises(PreconditionFailed):
        RetryingStorage(flaky, Clock().policy()).put("key", b"1", condition=IF_ABSENT)
    assert flaky.get("key", max_bytes=1).data == b"1"
