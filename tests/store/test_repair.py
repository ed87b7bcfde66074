"""A pointer that is damaged or gone is written anew from the manifests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.scenario import KIND, RUN, begin
from training import layout
from training.errors import Fenced
from training.store.checkpoint import CheckpointData, claim, load
from training.store.directory import DirectoryStorage
from training.store.repair import main, repair
from training.store.restore import NoCheckpoint
from training.store.storage import Corrupt, Refused

POINTER_KEY = layout.pointer_key(RUN, KIND)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStorage:
    storage = DirectoryStorage(tmp_path)
    begin(storage)
    return storage


def spoil(store: DirectoryStorage) -> Path:
    path = Path(store.url) / POINTER_KEY
    path.write_bytes(path.read_bytes()[:-50])
    return path


def test_a_damaged_pointer_says_how_it_is_repaired_and_is(store: DirectoryStorage) -> None:
    spoil(store)
    with pytest.raises(Corrupt) as refusal:
        load(store, RUN, KIND)
    assert "python -m training.store.repair" in refusal.value.next_step
    assert main([RUN, KIND, "--store", store.url]) == 0
    assert load(store, RUN, KIND).read("policy") == b"policy at 200"
    assert load(store, RUN, KIND, at_step=100).read("policy") == b"policy at 100"
    claim(store, RUN, KIND, 2).commit(300, CheckpointData({"policy": b"on"}))
    assert load(store, RUN, KIND).step == 300


def test_a_pointer_that_is_gone_is_repaired(store: DirectoryStorage) -> None:
    store.delete([POINTER_KEY])
    assert [ref.step for ref in repair(store, RUN, KIND).checkpoints] == [200, 100]


def test_who_wrote_before_the_repair_is_fenced(store: DirectoryStorage) -> None:
    lineage = claim(store, RUN, KIND, 1)
    spoil(store)
    repair(store, RUN, KIND)
    with pytest.raises(Fenced):
        lineage.commit(300, CheckpointData({}))


def test_a_zombies_checkpoint_of_an_older_epoch_does_not_come_first(store: DirectoryStorage) -> None:
    old = claim(store, RUN, KIND, 1)
    new = claim(store, RUN, KIND, 2)
    new.commit(300, CheckpointData({"policy": b"new"}))
    old._write(store, 900, CheckpointData({"policy": b"zombie"}), "full")
    spoil(store)
    pointer = repair(store, RUN, KIND)
    assert [ref.step for ref in pointer.checkpoints] == [300, 200, 100]
    assert [ref.step for ref in pointer.milestones] == [900]


def test_a_damaged_checkpoint_is_not_pointed_at(store: DirectoryStorage) -> None:
    newest = load(store, RUN, KIND).ref
    (Path(store.url) / layout.member_key(RUN, newest.id, "policy")).unlink()
    spoil(store)
    assert [ref.step for ref in repair(store, RUN, KIND).checkpoints] == [100]


def test_a_sound_pointer_is_left_alone(store: DirectoryStorage) -> None:
    with pytest.raises(Refused, match="nothing to repair"):
        repair(store, RUN, KIND)


def test_without_a_sound_checkpoint_nothing_is_written(store: DirectoryStorage) -> None:
    with pytest.raises(NoCheckpoint):
        repair(store, "run-b", KIND)
    assert not (Path(store.url) / "runs/run-b").exists()


def test_the_command_says_what_went_wrong(store: DirectoryStorage) -> None:
    command = [sys.executable, "-m", "training.store.repair", RUN, KIND, "--store", store.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "nothing to repair" in done.stderr
