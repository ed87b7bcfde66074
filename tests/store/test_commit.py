"""What a trainer may rely on: commit, resume, walk back, and one owner at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import Fenced
from training.store.checkpoint import CheckpointData, claim, load, load_partial
from training.store.open import open_store
from training.store.restore import NoCheckpoint
from training.store.retry import RetryingStorage
from training.store.storage import Corrupt

RUN = "run-a"


@pytest.fixture
def store(tmp_path: Path) -> RetryingStorage:
    return open_store(str(tmp_path / "store"))


def test_a_committed_checkpoint_is_read_back_with_its_json_to_the_last_bit(store: RetryingStorage) -> None:
    lineage = claim(store, RUN, "sac", 1)
    meta = {"best": float("-inf"), "rng": 2**127 + 1, "score": 0.1}
    lineage.commit(100, CheckpointData({"weights": b"abc"}, meta=meta))
    checkpoint = load(store, RUN, "sac")
    assert (checkpoint.step, checkpoint.read("weights"), checkpoint.meta) == (100, b"abc", meta)


def test_a_run_without_a_commit_has_no_checkpoint(store: RetryingStorage) -> None:
    claim(store, RUN, "sac", 1)
    with pytest.raises(NoCheckpoint, match="no committed sac checkpoint"):
        load(store, RUN, "sac")


def test_a_claim_fences_the_writer_before_it(store: RetryingStorage) -> None:
    old = claim(store, RUN, "sac", 1)
    old.commit(100, CheckpointData({"weights": b"old"}))
    new = claim(store, RUN, "sac", 2)
    with pytest.raises(Fenced, match="claimed by attempt 2"):
        old.commit(200, CheckpointData({"weights": b"zombie"}))
    assert new.load().step == 100


def test_an_earlier_attempt_cannot_take_the_run_back(store: RetryingStorage) -> None:
    claim(store, RUN, "sac", 2)
    with pytest.raises(Fenced, match="attempt 1 "):
        claim(store, RUN, "sac", 1)


def test_a_resumed_run_continues_where_the_last_commit_was(store: RetryingStorage) -> None:
    claim(store, RUN, "sac", 1).commit(100, CheckpointData({"weights": b"one"}))
    second = claim(store, RUN, "sac", 2)
    assert second.load().read("weights") == b"one"
    second.commit(200, CheckpointData({"weights": b"two"}))
    assert [ref.step for ref in second.pointer.checkpoints] == [200, 100]
    assert load(store, RUN, "sac").read("weights") == b"two"


def test_resuming_at_an_older_step_drops_the_history_after_it(store: RetryingStorage) -> None:
    lineage = claim(store, RUN, "sac", 1)
    for step in (100, 200, 300):
        lineage.commit(step, CheckpointData({"weights": b"%d" % step}))
    again = claim(store, RUN, "sac", 2)
    assert again.load(at_step=100).read("weights") == b"100"
    again.commit(150, CheckpointData({"weights": b"150"}))
    again.commit(180, CheckpointData({"weights": b"180"}))
    assert [ref.step for ref in again.pointer.checkpoints] == [180, 150, 100]


def test_a_damaged_checkpoint_is_passed_over_and_named(store: RetryingStorage, tmp_path: Path) -> None:
    lineage = claim(store, RUN, "sac", 1)
    lineage.commit(100, CheckpointData({"weights": b"good"}))
    ref = lineage.commit(200, CheckpointData({"weights": b"bad!"}))
    (tmp_path / f"store/runs/{RUN}/checkpoints/{ref.id}/weights").write_bytes(b"BAD!")
    checkpoint = load(store, RUN, "sac")
    assert checkpoint.step == 100
    assert "000000000200" in checkpoint.skipped[0]
    assert "damaged" in checkpoint.skipped[0]


def test_a_step_that_is_not_kept_is_refused_with_those_that_are(store: RetryingStorage) -> None:
    lineage = claim(store, RUN, "sac", 1)
    lineage.commit(100, CheckpointData({"weights": b"a"}))
    lineage.commit(200, CheckpointData({"weights": b"b"}))
    with pytest.raises(Corrupt, match="kept are: 100, 200"):
        load(store, RUN, "sac", at_step=150)


def test_a_partial_save_is_found_only_when_asked_for_and_only_until_the_next_full_one(
    store: RetryingStorage,
) -> None:
    lineage = claim(store, RUN, "sac", 1)
    lineage.commit(100, CheckpointData({"weights": b"full"}))
    lineage.commit_partial(150, CheckpointData({"weights": b"part"}))
    assert load(store, RUN, "sac").read("weights") == b"full"
    assert load_partial(store, RUN, "sac").read("weights") == b"part"
    lineage.commit(200, CheckpointData({"weights": b"next"}))
    with pytest.raises(NoCheckpoint):
        load_partial(store, RUN, "sac")


def test_members_may_be_files(store: RetryingStorage, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * 3_000_000)
    claim(store, RUN, "sac", 1).commit(1, CheckpointData({"big": path, "view": memoryview(b"abc")}))
    checkpoint = load(store, RUN, "sac")
    assert checkpoint.read("big") == path.read_bytes()
    assert checkpoint.read("view") == b"abc"
