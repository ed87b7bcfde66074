"""Broken and hostile data: refused with a clear word, the checkpoint before it used, nothing executed."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.memory import MemoryStorage
from tests.store.scenario import KIND, RUN, begin
from training import layout
from training.errors import DataError
from training.store.checkpoint import CheckpointData, claim, load
from training.store.fencing import read_pointer
from training.store.manifest import (
    MAX_MANIFEST_BYTES,
    MAX_MEMBER_BYTES,
    Manifest,
    Pointer,
    decode,
    encode_pointer,
)
from training.store.storage import Corrupt, Refused, body_sha256

POINTER_KEY = layout.pointer_key(RUN, KIND)


@pytest.fixture
def store() -> MemoryStorage:
    """Hold a run with sound checkpoints at steps 100 and 200."""
    storage = MemoryStorage()
    begin(storage)
    return storage


def replace_object(store: MemoryStorage, key: str, data: bytes) -> None:
    store.objects[key] = (data, store.objects[key][1])


def pointer_of(store: MemoryStorage) -> Pointer:
    seen = read_pointer(store, RUN, KIND)
    assert seen is not None
    return seen.pointer


def newest_manifest(store: MemoryStorage) -> tuple[str, dict[str, Any]]:
    key = layout.manifest_key(RUN, pointer_of(store).checkpoints[0].id)
    return key, json.loads(store.objects[key][0])


def forge(store: MemoryStorage, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the newest manifest and make the pointer vouch for it: what an attacker who may write does."""
    key, document = newest_manifest(store)
    change(document)
    forge_bytes(store, key, json.dumps(document).encode())


def forge_bytes(store: MemoryStorage, key: str, data: bytes) -> None:
    replace_object(store, key, data)
    pointer = pointer_of(store)
    ref = pointer.checkpoints[0].model_copy(
        update={"manifest_sha256": body_sha256(data), "manifest_size": min(len(data), MAX_MANIFEST_BYTES)}
    )
    forged = pointer.model_copy(update={"checkpoints": (ref, *pointer.checkpoints[1:])})
    replace_object(store, POINTER_KEY, encode_pointer(forged))


def set_in(*path: str | int, to: object) -> Callable[[dict[str, Any]], object]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path
        place: Any = document
        for part in parents:
            place = place[part]
        place[last] = to

    return change


def rename_member(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["members"].update({name: document["members"].pop("policy")})


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a path that leaves the run": (rename_member("../../../other/secret"), "members"),
    "an absolute path": (rename_member("/etc/passwd"), "members"),
    "a member that is the manifest": (rename_member("manifest.json"), "may not be called"),
    "a member larger than any": (
        set_in("members", "policy", "size", to=MAX_MEMBER_BYTES + 1),
        "members.policy.size",
    ),
    "a negative size": (set_in("members", "policy", "size", to=-1), "members.policy.size"),
    "a size that is text": (set_in("members", "policy", "size", to="12"), "members.policy.size"),
    "a hash that is none": (set_in("members", "policy", "sha256", to="../x"), "members.policy.sha256"),
    "an agent that is a path": (set_in("segments", 0, "agent", to="../../x"), "segments.0.agent"),
    "a segment that ends before it begins": (set_in("segments", 0, "first", to=10**6), "before it begins"),
    "another run": (set_in("run", to="run-b"), "of run run-b, expected"),
    "another kind of training": (set_in("training_type", to="sac_multiagent"), "sac_multiagent checkpoint"),
    "another step": (set_in("step", to=999), "000000000999"),
    "a partial save in its place": (set_in("kind", to="partial"), "partial sac checkpoint"),
    "a format of the future": (set_in("format", to=2), "format 2, this program reads format 1"),
    "a key nobody knows": (set_in("load_with", to="pickle"), "load_with"),
    "a step that is no number": (set_in("step", to="NaN"), "step"),
    "more members than any": (
        lambda d: d["members"].update({f"m{i}": d["members"]["policy"] for i in range(2000)}),
        "members",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_manifest_is_refused_by_name_and_the_one_before_it_is_used(
    store: MemoryStorage, name: str
) -> None:
    change, said = FORGERIES[name]
    forge(store, change)
    checkpoint = load(store, RUN, KIND)
    assert checkpoint.step == 100
    assert said in checkpoint.skipped[0]
    assert layout.manifest_key(RUN, pointer_of(store).checkpoints[0].id) in checkpoint.skipped[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 100,
        b"[" * 100_000,
        b'{"format": 1, "run": "' + b"a" * 1_000_000,
        pickle.dumps({"format": 1}),
        b'{"format": 1e999}',
    ],
    ids=["empty", "zeros", "deep nesting", "cut off", "a pickle", "infinity"],
)
def test_what_is_no_manifest_at_all_is_passed_over(store: MemoryStorage, data: bytes) -> None:
    forge_bytes(store, newest_manifest(store)[0], data or b"  ")
    checkpoint = load(store, RUN, KIND)
    assert checkpoint.step == 100
    assert len(checkpoint.skipped[0]) < 1000


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "a flipped bit": _flip,
    "a cut end": lambda data: data[:-1],
    "nothing left": lambda _: b"",
    "too much": lambda data: data + b"x",
    "gone": lambda _: None,
}


@pytest.mark.parametrize("part", ["policy", "manifest.json", "/replay/"])
@pytest.mark.parametrize("how", DAMAGE)
def test_damage_to_any_part_of_the_newest_checkpoint_uses_the_one_before(
    store: MemoryStorage, part: str, how: str
) -> None:
    newest = str(pointer_of(store).checkpoints[0].id)
    keys = sorted(key for key in store.objects if part in key and (newest in key or part == "/replay/"))
    damaged = DAMAGE[how](store.objects[keys[-1]][0])
    if damaged is None:
        del store.objects[keys[-1]]
    else:
        replace_object(store, keys[-1], damaged)
    checkpoint = load(store, RUN, KIND)
    assert checkpoint.step == 100
    assert keys[-1] in checkpoint.skipped[0]


def test_when_nothing_is_sound_all_damage_is_named_with_what_to_do(store: MemoryStorage) -> None:
    for key in [key for key in store.objects if key.endswith("policy")]:
        replace_object(store, key, b"")
    with pytest.raises(Corrupt, match="no sound checkpoint is left") as refusal:
        load(store, RUN, KIND)
    assert str(refusal.value).count("damaged: 0000000002") == 1
    assert str(refusal.value).count("damaged: 0000000001") == 1
    assert "versioned bucket" in refusal.value.next_step
    assert refusal.value.exit_code == 65


@pytest.mark.parametrize("position", range(0, 1400, 23))
def test_no_byte_of_the_pointer_can_change_unnoticed(store: MemoryStorage, position: int) -> None:
    data = bytearray(store.objects[POINTER_KEY][0])
    data[position % len(data)] ^= 0x01
    replace_object(store, POINTER_KEY, bytes(data))
    with pytest.raises(Corrupt, match="latest_checkpoint"):
        load(store, RUN, KIND)
    with pytest.raises(Corrupt):
        claim(store, RUN, KIND, 2)
    assert store.objects[POINTER_KEY][0] == bytes(data), "a damaged pointer was overwritten"


def test_a_pointer_copied_from_another_run_is_refused(store: MemoryStorage) -> None:
    store.objects[layout.pointer_key("run-b", KIND)] = store.objects[POINTER_KEY]
    with pytest.raises(Corrupt, match="belongs to run 'run-a'") as refusal:
        load(store, "run-b", KIND)
    assert isinstance(refusal.value, DataError)


def test_a_pointer_of_the_future_is_refused_with_what_to_do(store: MemoryStorage) -> None:
    document = json.loads(store.objects[POINTER_KEY][0])
    replace_object(store, POINTER_KEY, json.dumps({**document, "format": 7}).encode())
    with pytest.raises(Corrupt, match="format 7, this program reads format 1") as refusal:
        claim(store, RUN, KIND, 2)
    assert "version of this project" in refusal.value.next_step


def test_an_object_that_grew_huge_costs_no_memory(tmp_path: Path) -> None:
    from training.store.directory import DirectoryStorage

    storage = DirectoryStorage(tmp_path)
    begin(storage)
    seen = read_pointer(storage, RUN, KIND)
    assert seen is not None
    for key in (
        layout.member_key(RUN, seen.pointer.checkpoints[0].id, "policy"),
        layout.manifest_key(RUN, seen.pointer.checkpoints[1].id),
        POINTER_KEY,
    ):
        with (tmp_path / key).open("r+b") as file:
            file.truncate(4 << 30)  # a hole: 4 GiB to read, nothing on the disk
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="it was not read"):
            load(storage, RUN, KIND)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_nothing_is_ever_unpickled(store: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    lineage = claim(store, RUN, KIND, 2)
    checkpoint = lineage.load()
    assert [*checkpoint.read_segments("car")]
    lineage.commit(300, CheckpointData({"policy": pickle.dumps("kept as bytes, never read as a pickle")}))
    assert load(store, RUN, KIND).step == 300


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (CheckpointData({"manifest.json": b"x"}), "reserved names"),
        (CheckpointData({"../up": b"x"}), "not a file name in a checkpoint"),
        (CheckpointData({}, meta={"state": object()}), "meta"),  # type: ignore[dict-item]
        (CheckpointData({f"m{number}": b"" for number in range(1001)}), "1001 members"),
        (CheckpointData({}, meta={"much": "x" * (MAX_MANIFEST_BYTES + 1)}), "Put large state into a member"),
    ],
    ids=["reserved", "escape", "no json", "many", "large"],
)
def test_what_could_not_be_read_back_is_not_committed(
    store: MemoryStorage, contents: CheckpointData, said: str
) -> None:
    lineage = claim(store, RUN, KIND, 2)
    with pytest.raises((Refused, DataError), match=said):
        lineage.commit(300, contents)
    assert load(store, RUN, KIND).step == 200
    lineage.commit(300, CheckpointData({"policy": b"sound"}))
    assert load(store, RUN, KIND).step == 300


def test_a_manifest_names_no_keys_at_all(store: MemoryStorage) -> None:
    """Keys are made from checked names: no document can point anywhere."""
    key, document = newest_manifest(store)
    assert decode(Manifest, store.objects[key][0], key)
    assert "runs/" not in json.dumps(document)
