"""The tests above must fail for a protocol with one thought left out; here each is left out in turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.memory import FAULTS, Fault, MemoryStorage
from tests.store.schedules import World
from tests.support.store_faults import ONCE, survive
from training.errors import TrainingError
from training.store import checkpoint, fencing, prune, restore, segments
from training.store.manifest import SegmentRef, utc_now
from training.store.storage import ALWAYS, Body, Condition

SEEDS = 400
Mutation = Callable[[pytest.MonkeyPatch], None]


def _constant_nonces(patch: pytest.MonkeyPatch) -> None:
    now = utc_now()
    patch.setattr(fencing, "fresh_nonce", lambda: "0" * 32)
    patch.setattr(fencing, "utc_now", lambda: now)


def _swap_without_condition(patch: pytest.MonkeyPatch) -> None:
    put = MemoryStorage.put

    def careless(
        self: MemoryStorage, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None
    ) -> str:
        del condition
        return put(self, key, body, sha256=sha256)

    patch.setattr(MemoryStorage, "put", careless)


def _no_manifest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoint, "_write_manifest", lambda *_: None)


def _segments_not_awaited(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: segments.PendingSegment, *, not_after: float | None = None) -> SegmentRef:
        del not_after
        target = self._target
        return SegmentRef(
            epoch=target.epoch, agent=self.agent, first=self.first, last=self.last, sha256="0" * 64, size=0
        )

    patch.setattr(segments.PendingSegment, "result", hasty)


def _epoch_never_grows(patch: pytest.MonkeyPatch) -> None:
    real = fencing._claim
    patch.setattr(fencing, "_claim", lambda _epoch, attempt, owner: real(1, attempt, owner))


def _claim_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """Take any pointer for one's own after a 412."""

    def trusting(self: fencing.Ownership, storage: object = None) -> object:
        seen = fencing.read_pointer(storage or self.storage, self.run, self.training_type)  # type: ignore[arg-type]
        assert seen is not None
        self.pointer, self._etag = seen
        return self.pointer

    patch.setattr(fencing.Ownership, "check", trusting)


def _prune_forgets_segments(patch: pytest.MonkeyPatch) -> None:
    real = prune._sizes
    patch.setattr(
        prune, "_sizes", lambda *names: {k: size for k, size in real(*names).items() if "/replay/" not in k}
    )


MUTANTS_OF_SCHEDULES: list[Mutation] = [
    _constant_nonces,
    _swap_without_condition,
    _no_manifest,
    _segments_not_awaited,
    _epoch_never_grows,
    _claim_not_looked_at,
    _prune_forgets_segments,
]


@pytest.mark.parametrize("mutate", MUTANTS_OF_SCHEDULES)
def test_the_schedules_notice(mutate: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    for seed in range(SEEDS):
        try:
            World(seed, writers=3, pruner=seed % 2 == 0).run()
        except (AssertionError, TrainingError):
            return
    pytest.fail(f"{SEEDS} schedules did not notice")


def _believe_what_is_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(restore, "check_bytes", lambda data, **_: data)


@pytest.mark.parametrize("mutate", [_no_manifest, _believe_what_is_read])
def test_the_fault_matrix_notices(mutate: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    cases = [(number, fault) for number in range(20) for fault in FAULTS.values()]
    assert any(_not_survived(number, fault) for number, fault in cases)


def _not_survived(number: int, fault: Fault) -> bool:
    try:
        survive(MemoryStorage(), number, fault, ONCE)
    except (AssertionError, TrainingError):
        return True
    return False
