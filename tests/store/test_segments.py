"""Replay segments: uploaded behind the trainer's back, never lost, never twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from training.store.checkpoint import CheckpointData, RunWriter, claim, load
from training.store.directory import DirectoryStorage
from training.store.retry import RetryingStorage, RetryPolicy
from training.store.segments import SegmentUploader, Target
from training.store.storage import ALWAYS, Body, Condition, OutOfSpace, Refused, Unavailable

RUN = "run-a"


class GatedStorage(DirectoryStorage):
    """A directory whose segment writes wait at a gate, and fail while told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.written: list[str] = []

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        if "/replay/" in key:
            self.gate.wait(30)
            self.written.append(key)
            if self.error is not None:
                raise self.error
        return super().put(key, body, condition=condition, sha256=sha256)


@pytest.fixture
def store(tmp_path: Path) -> GatedStorage:
    return GatedStorage(tmp_path / "store")


@pytest.fixture
def lineage(store: GatedStorage) -> RunWriter:
    return claim(store, RUN, "sac", 1)


def uploader_for(lineage: RunWriter, **options: float) -> SegmentUploader:
    return SegmentUploader(Target(lineage.storage, RUN, lineage.epoch), **options)  # type: ignore[arg-type]


def test_a_commit_waits_for_the_segments_that_it_names(lineage: RunWriter, store: GatedStorage) -> None:
    uploader = uploader_for(lineage)
    store.gate.clear()
    pending = uploader.submit("car", (0, 9), lambda: b"ten rows")
    assert not pending.durable
    threading.Timer(0.05, store.gate.set).start()
    lineage.commit(10, CheckpointData({}, segments=[pending]))
    checkpoint = load(store, RUN, "sac")
    assert [data for _, data in checkpoint.read_segments("car")] == [b"ten rows"]


def test_a_segment_is_uploaded_once_however_many_checkpoints_name_it(
    lineage: RunWriter, store: GatedStorage
) -> None:
    uploader = uploader_for(lineage)
    first = uploader.submit("car", (0, 9), lambda: b"a")
    ref = first.result()
    second = uploader.submit("car", (10, 19), lambda: b"b")
    lineage.commit(10, CheckpointData({}, segments=[first]))
    lineage.commit(20, CheckpointData({}, segments=[ref, second]))
    assert len(store.written) == 2
    assert [ref.first for ref in load(store, RUN, "sac").manifest.segments] == [0, 10]


def test_an_upload_that_failed_surfaces_at_the_commit_and_is_tried_again_by_the_next(
    lineage: RunWriter, store: GatedStorage
) -> None:
    uploader = uploader_for(lineage)
    store.error = OutOfSpace("full")
    pending = uploader.submit("car", (0, 9), lambda: b"rows")
    with pytest.raises(OutOfSpace):
        lineage.commit(10, CheckpointData({}, segments=[pending]))
    store.error = None
    lineage.commit(20, CheckpointData({}, segments=[pending]))
    assert load(store, RUN, "sac").step == 20


def test_the_queue_is_bounded_and_says_what_the_store_said(lineage: RunWriter, store: GatedStorage) -> None:
    uploader = uploader_for(lineage, waiting=2, patience_s=0.3)
    store.error = Unavailable("the store is away")
    for first in (0, 10):
        uploader.submit("car", (first, first + 9), lambda: b"rows")
    with pytest.raises(Unavailable, match="the store is away"):
        uploader.submit("car", (20, 29), lambda: b"rows")


def test_a_full_queue_takes_more_once_the_store_is_back(lineage: RunWriter, store: GatedStorage) -> None:
    uploader = uploader_for(lineage, waiting=1, patience_s=30)
    store.error = Unavailable("the store is away")
    uploader.submit("car", (0, 9), lambda: b"rows")
    threading.Timer(0.1, setattr, (store, "error", None)).start()
    assert uploader.submit("car", (10, 19), lambda: b"more").result().first == 10


def test_an_encoder_that_fails_surfaces_in_the_trainers_thread(lineage: RunWriter) -> None:
    def encode() -> bytes:
        raise ValueError("rows of another shape")

    pending = uploader_for(lineage).submit("car", (0, 9), encode)
    with pytest.raises(ValueError, match="another shape"):
        lineage.commit(10, CheckpointData({}, segments=[pending]))


def test_a_commit_with_a_deadline_does_not_wait_for_a_segment_beyond_it(store: GatedStorage) -> None:
    patient = RetryingStorage(store, RetryPolicy(deadline_s=30))
    again = claim(patient, RUN, "sac", 2)
    store.gate.clear()
    pending = uploader_for(again).submit("car", (0, 9), lambda: b"rows")
    with pytest.raises(Unavailable, match="not uploaded in time"):
        again.commit(10, CheckpointData({}, segments=[pending]), not_after=time.monotonic() + 0.05)
    store.gate.set()


def test_an_oversized_segment_is_refused_with_the_limit(
    lineage: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.store.segments.MAX_SEGMENT_BYTES", 3)
    pending = uploader_for(lineage).submit("car", (0, 9), lambda: b"rows")
    with pytest.raises(Refused, match="4 bytes, 3 are allowed"):
        pending.result()
