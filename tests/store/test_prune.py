"""Pruning removes what nothing kept needs, and only that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support.servers import Bucket
from training import layout
from training.errors import UsageError
from training.store import prune as prune_module
from training.store.checkpoint import CheckpointData, RunWriter, claim, load
from training.store.directory import DirectoryStorage
from training.store.open import open_store
from training.store.prune import make_plan, prune, sweep
from training.store.retry import RetryingStorage
from training.store.segments import SegmentUploader, Target
from training.store.storage import ALWAYS, Body, Condition, ListedObject, Storage, StoreError

RUN = "run-a"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path)


def save(lineage: RunWriter, step: int, segments: tuple[str, ...] = (), *, milestone: bool = False) -> None:
    """Commit a checkpoint with one segment a name; equal names are equal segments."""
    uploader = SegmentUploader(Target(lineage.storage, RUN, lineage.epoch))
    pending = [
        uploader.submit("car", (ord(name), ord(name)), lambda name=name: name.encode() * 10)
        for name in segments
    ]
    lineage.commit(step, CheckpointData({"weights": b"%d" % step}, segments=pending), milestone=milestone)


def age_everything(store: DirectoryStorage) -> None:
    """Let every object be an hour older, as if the run had gone on in the meantime."""
    for path in Path(store.url).rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - 3600
            os.utime(path, (then, then))


def keys(store: Storage, part: str) -> set[str]:
    return {entry.key for entry in store.list(f"runs/{RUN}/") if part in entry.key}


def grown(store: DirectoryStorage) -> RunWriter:
    lineage = claim(store, RUN, "sac", 1)
    for step, segments in ((100, ("a",)), (200, ("a", "b")), (300, ("b", "c")), (400, ("c", "d"))):
        age_everything(store)
        save(lineage, step, segments, milestone=step == 100)
    return lineage


def test_the_last_two_and_the_milestones_stay_whole_and_the_rest_goes(store: DirectoryStorage) -> None:
    grown(store)
    sweep(store, make_plan(store, RUN, 2))
    assert [load(store, RUN, "sac", at_step=step).read("weights") for step in (100, 300, 400)] == [
        b"100",
        b"300",
        b"400",
    ]
    assert not keys(store, "000000000200-")
    assert len(keys(store, "/replay/")) == 4  # a for the milestone; b, c, d for the last two


def test_a_segment_that_nothing_names_any_more_goes(store: DirectoryStorage) -> None:
    lineage = claim(store, RUN, "sac", 1)
    for step, segments in ((100, ("a",)), (200, ("b",)), (300, ("b",))):
        age_everything(store)
        save(lineage, step, segments)
    sweep(store, make_plan(store, RUN, 2))
    assert len(keys(store, "/replay/")) == 1
    assert load(store, RUN, "sac").step == 300


def test_a_dry_run_lists_what_would_go_and_removes_nothing(store: DirectoryStorage) -> None:
    grown(store)
    before = keys(store, "")
    said: list[str] = []
    assert prune(RUN, store=store.url, dry_run=True, say=said.append) == 0
    assert keys(store, "") == before
    assert any("remove" in line and "000000000200-" in line for line in said)
    assert said[0].endswith("400, 300, 100")


def test_pruning_from_the_command_line_removes_what_it_listed(store: DirectoryStorage) -> None:
    grown(store)
    said: list[str] = []
    prune(RUN, store=store.url, dry_run=False, say=said.append)
    assert not any("000000000200-" in key for key in keys(store, ""))


def test_what_is_newer_than_the_oldest_kept_checkpoint_is_never_removed(store: DirectoryStorage) -> None:
    lineage = grown(store)
    uploader = SegmentUploader(Target(store, RUN, lineage.epoch))
    pending = uploader.submit("car", (500, 509), lambda: b"uploaded, not yet named")
    pending.result()
    sweep(store, make_plan(store, RUN, 2))
    lineage.commit(500, CheckpointData({}, segments=[pending]))
    assert load(store, RUN, "sac").step == 500


def test_a_clock_that_was_set_back_removes_nothing_that_the_next_checkpoint_names(
    store: DirectoryStorage,
) -> None:
    """Its segments and members are written before its manifest, here two hours before all that is kept."""
    lineage = grown(store)
    uploader = SegmentUploader(Target(store, RUN, lineage.epoch))
    pending = [uploader.submit("car", (ord("e"), ord("e")), lambda: b"e" * 10)]
    pending[0].result()
    half_made = layout.CheckpointId(500, lineage.epoch, "0" * 32)
    member = layout.member_key(RUN, half_made, "weights")
    store.put(member, b"500")
    for path in Path(store.url).rglob("*"):
        if path.is_file() and (f"{ord('e'):012d}-" in path.name or "0" * 32 in str(path)):
            then = path.stat().st_mtime - 6 * 3600
            os.utime(path, (then, then))
    sweep(store, make_plan(store, RUN, 2))
    lineage.commit(500, CheckpointData({"weights": b"500"}, segments=pending))
    assert store.get(member, max_bytes=10).data == b"500"
    newest = load(store, RUN, "sac")
    assert newest.step == 500
    newest.verify()


def test_fewer_than_two_are_never_kept(store: DirectoryStorage) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        make_plan(store, RUN, 1)


def test_a_young_run_is_left_alone(store: DirectoryStorage) -> None:
    lineage = claim(store, RUN, "sac", 1)
    save(lineage, 100, ("a",))
    assert make_plan(store, RUN, 2).doomed == ()


def test_a_damaged_checkpoint_does_not_count_as_kept(store: DirectoryStorage) -> None:
    lineage = grown(store)
    newest = lineage.pointer.checkpoints[0]
    (Path(store.url) / layout.manifest_key(RUN, newest.id)).write_bytes(b"{}")
    plan = make_plan(store, RUN, 2)
    assert [ref.step for ref in plan.kept] == [300, 200, 100]
    assert "damaged" in plan.notes[0]


@pytest.mark.parametrize("read_all", [True, False])
def test_a_checkpoint_with_a_part_missing_does_not_count_as_kept(
    store: DirectoryStorage, *, read_all: bool
) -> None:
    lineage = grown(store)
    newest = lineage.pointer.checkpoints[0]
    (Path(store.url) / layout.member_key(RUN, newest.id, "weights")).unlink()
    plan = make_plan(store, RUN, 2, read_all=read_all)
    assert [ref.step for ref in plan.kept] == [300, 200, 100]
    assert "missing or cut short" in plan.notes[0]


def test_what_rots_in_a_directory_does_not_count_as_kept(store: DirectoryStorage) -> None:
    lineage = grown(store)
    newest = lineage.pointer.checkpoints[0]
    (Path(store.url) / layout.member_key(RUN, newest.id, "weights")).write_bytes(b"4O0")
    assert [ref.step for ref in make_plan(store, RUN, 2).kept] == [300, 200, 100]


def test_a_run_that_was_just_claimed_waits_for_its_first_checkpoint(
    store: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(store)
    claim(store, RUN, "sac", 2)
    plan = make_plan(store, RUN, 2)
    assert plan.doomed == ()
    assert "has saved nothing since" in plan.notes[-1]
    monkeypatch.setattr(prune_module, "SETTLING", timedelta(0))
    assert make_plan(store, RUN, 2).doomed


def test_a_claim_in_the_middle_stops_the_sweep(store: DirectoryStorage) -> None:
    grown(store)
    plan = make_plan(store, RUN, 2)
    claim(store, RUN, "sac", 2)
    with pytest.raises(StoreError, match="claimed while it was pruned; 0 of"):
        sweep(store, plan)


def test_what_killed_writers_left_half_written_goes_too(store: DirectoryStorage) -> None:
    grown(store)
    torn = Path(store.url) / f"runs/{RUN}/checkpoints/.tmp-torn"
    torn.write_bytes(b"half")
    young = Path(store.url) / f"runs/{RUN}/checkpoints/.tmp-young"
    young.write_bytes(b"being written")
    os.utime(torn, (0, 0))
    sweep(store, make_plan(store, RUN, 2))
    assert not torn.exists()
    assert young.exists()


class Ticking(RetryingStorage):
    """A store whose clock ticks at every write: S3's ticks once a second, too coarse for a quick test."""

    def put(self, key: str, body: Body, *, condition: Condition = ALWAYS, sha256: str | None = None) -> str:
        etag = super().put(key, body, condition=condition, sha256=sha256)
        TICKS[key] = datetime.fromtimestamp(len(TICKS), timezone.utc)
        return etag

    def list(self, prefix: str) -> Iterator[ListedObject]:
        return (replace(entry, modified=TICKS[entry.key]) for entry in super().list(prefix))


TICKS: dict[str, datetime] = {}


def test_a_run_in_s3_is_pruned_as_in_a_directory(weed_url: Bucket) -> None:
    store = Ticking(open_store(weed_url.url, weed_url.aws).inner)
    lineage = claim(store, RUN, "sac", 1)
    for step in (100, 200, 300):
        save(lineage, step, (chr(step),))
    sweep(store, make_plan(store, RUN, 2))
    assert [load(store, RUN, "sac", at_step=step).step for step in (200, 300)] == [200, 300]
    assert not keys(store, "000000000100-")
    assert len(keys(store, "/replay/")) == 2


def test_a_checkpoint_committed_while_the_store_is_listed_does_no_harm(store: DirectoryStorage) -> None:
    lineage = grown(store)

    class Slow(DirectoryStorage):
        """A listing during which two commits happen."""

        def list(self, prefix: str) -> Iterator[ListedObject]:
            found = [*super().list(prefix)]
            if prefix.endswith("/replay/"):
                save(lineage, 500, ("d",))
                save(lineage, 600, ("d",))
            return iter(found)

    assert make_plan(Slow(Path(store.url)), RUN, 2).doomed == ()
