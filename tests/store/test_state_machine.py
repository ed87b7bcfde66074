"""The protocol against a model, by hypothesis: crashes, lost replies, zombies, damage, pruning."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.store.memory import FAULTS, Call, Crash, Fault, FaultyStorage, MemoryStorage
from tests.store.scenario import KIND, RUN, instant_policy
from training import layout
from training.errors import Fenced
from training.store.checkpoint import CheckpointData, RunWriter, claim, load, load_partial
from training.store.manifest import CheckpointRef, SegmentRef, decode_pointer
from training.store.prune import make_plan, sweep
from training.store.restore import NoCheckpoint
from training.store.retry import RetryingStorage
from training.store.segments import PendingSegment, Target
from training.store.storage import Corrupt, StoreError

POINTER_KEY = layout.pointer_key(RUN, KIND)
# Faults of a call: (which call of the operation, what happens); None: nothing does.
FAULT = st.none() | st.tuples(st.integers(0, 9), st.sampled_from(sorted(FAULTS)))
PICK = st.integers(0, 10**6)


@dataclass
class Writer:
    """An attempt: its lineage, and what it would train on from."""

    lineage: RunWriter
    step: int
    segments: list[SegmentRef] = field(default_factory=list)


@dataclass(frozen=True)
class Committed:
    """A checkpoint that the model knows of: its bytes, and the objects that it needs."""

    ref: CheckpointRef
    policy: bytes
    keys: frozenset[str]


class Protocol(RuleBasedStateMachine):
    """Do anything to a run, in any order; the newest sound checkpoint is always what is loaded."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.fault: tuple[int, Fault] | None = None
        self.originals: dict[str, bytes] = {}
        self.known: dict[str, Committed] = {}
        self.writers: list[Writer] = []
        self.owner: Writer | None = None
        self.history: list[str] = []
        self.attempt = 0
        self.number = 0

    # --- what happens ---
    @rule(fault=FAULT, again=st.booleans())
    def boot(self, fault: tuple[int, str] | None, again: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        self._boot(fault, again=again, at_step=None)

    @precondition(lambda self: self.history)
    @rule(pick=PICK)
    def boot_at_an_older_step(self, pick: int) -> None:
        sound = [uuid for uuid in self.history if self._is_sound(uuid)]
        if sound:
            self._boot(None, again=False, at_step=self.known[sound[pick % len(sound)]].ref.step)

    @precondition(lambda self: self.writers)
    @rule(pick=PICK, fault=FAULT, milestone=st.booleans())
    def commit(self, pick: int, fault: tuple[int, str] | None, milestone: bool) -> None:  # noqa: FBT001
        # Mostly the owner, often a zombie.
        writer = self.owner if self.owner and pick % 3 else self.writers[pick % len(self.writers)]
        before = self.storage.objects.get(POINTER_KEY)
        self.number += 1
        step, policy = writer.step + 100, b"policy %d" % self.number
        try:
            ref = self._with_fault(fault, lambda: self._commit(writer, step, policy, milestone=milestone))
        except Fenced:
            assert writer is not self.owner, "the owner was fenced"
            assert self.storage.objects.get(POINTER_KEY) == before, "a fenced writer moved the pointer"
            self.writers.remove(writer)
        except (StoreError, Crash) as error:
            if isinstance(error, Crash):
                self._bury(writer)
            if self._pointed() != self.history:
                self._note_commit(writer, self._pointed()[0])
        else:
            assert writer is self.owner, "a zombie committed"
            assert ref is not None
            self._note_commit(writer, ref.uuid)

    @precondition(lambda self: self.writers)
    @rule(pick=PICK, fault=FAULT)
    def commit_partially(self, pick: int, fault: tuple[int, str] | None) -> None:
        writer = self.writers[pick % len(self.writers)]
        part = CheckpointData({"policy": b"part"}, meta={"policy": "part"})
        try:
            self._with_fault(fault, lambda: writer.lineage.commit_partial(writer.step + 50, part))
        except StoreError:
            return
        except Crash:
            self._bury(writer)

    @precondition(lambda self: self.history)
    @rule(pick=PICK, how=st.sampled_from(["flip", "truncate", "remove"]))
    def damage(self, pick: int, how: str) -> None:
        """Spoil an object of the newest checkpoint, as long as the one before it stays whole."""
        newest, *older = [uuid for uuid in self.history[:16] if self._is_sound(uuid)] or [None]
        spare = set().union(*(self.known[uuid].keys for uuid in older[:1])) if older else None
        if newest is None or spare is None:
            return
        keys = sorted(self.known[newest].keys - spare)
        data, modified = self.storage.objects[keys[pick % len(keys)]]
        if how == "remove":
            del self.storage.objects[keys[pick % len(keys)]]
            return
        spoilt = data[:-1] if how == "truncate" else bytes([data[0] ^ 1]) + data[1:]
        self.storage.objects[keys[pick % len(keys)]] = (spoilt, modified)

    @precondition(lambda self: self.history)
    @rule(fault=FAULT)
    def prune(self, fault: tuple[int, str] | None) -> None:
        expected = self._expected()
        milestones = [uuid for uuid in self._milestones() if self._is_sound(uuid)]
        storage = self._faulty()
        with contextlib.suppress(StoreError, Crash):  # a laptop may be closed in the middle of a sweep
            self._with_fault(fault, lambda: sweep(storage, make_plan(storage, RUN, 2)))
        assert self._expected() == expected, "pruning removed the newest sound checkpoint"
        assert all(self._is_sound(uuid) for uuid in milestones), "pruning removed a part of a milestone"

    # --- what holds ---
    @invariant()
    def the_newest_sound_checkpoint_is_what_is_loaded(self) -> None:
        Protocol.steps += 1
        expected = self._expected()
        try:
            found = load(self.storage, RUN, KIND, workers=1)
        except NoCheckpoint:
            assert not self.history
        except Corrupt:
            assert expected is None, "a sound checkpoint was not found"
        else:
            if expected is not None:
                assert found.ref.uuid == expected, "not the newest sound checkpoint"
            assert found.read("policy") == self.known[found.ref.uuid].policy

    @invariant()
    def the_pointer_is_what_the_model_says(self) -> None:
        assert self._pointed() == self.history[:16]

    @invariant()
    def a_partial_save_continues_the_newest_checkpoint(self) -> None:
        try:
            found = load_partial(self.storage, RUN, KIND, workers=1)
        except NoCheckpoint:
            return
        base = found.manifest.base.uuid if found.manifest.base else None
        assert base == (self.history[0] if self.history else None)

    # --- how ---
    def _boot(self, fault: tuple[int, str] | None, *, again: bool, at_step: int | None) -> None:
        self.attempt += not again
        attempt = max(1, self.attempt)
        before = self.storage.objects.get(POINTER_KEY)
        try:
            writer = self._with_fault(fault, lambda: self._claim(attempt, at_step))
        except (StoreError, Crash):
            if self.storage.objects.get(POINTER_KEY) != before:
                self.owner = None  # claimed, then died: nobody may write until the next boot
            return
        assert writer is not None
        self.writers.append(writer)
        self.owner = writer

    def _claim(self, attempt: int, at_step: int | None) -> Writer:
        lineage = claim(self._faulty(), RUN, KIND, attempt, workers=1)
        try:
            checkpoint = lineage.load(at_step=at_step)
        except NoCheckpoint:
            return Writer(lineage, 0)
        return Writer(lineage, checkpoint.step, [*checkpoint.manifest.segments])

    def _commit(self, writer: Writer, step: int, policy: bytes, *, milestone: bool) -> CheckpointRef:
        target = Target(writer.lineage.storage, RUN, writer.lineage.epoch)
        segment = PendingSegment(target, "car", (step - 100, step - 1), lambda: b"rows for " + policy)
        segment.upload()
        contents = CheckpointData(
            {"policy": policy}, [*writer.segments, segment], {"policy": policy.decode()}
        )
        return writer.lineage.commit(step, contents, milestone=milestone)

    def _note_commit(self, writer: Writer, uuid: str) -> None:
        """Enter a commit that took place into the model: the pointer says on top of what."""
        pointer = decode_pointer(self.storage.objects[POINTER_KEY][0], POINTER_KEY)
        ref = pointer.checkpoints[0]
        assert ref.uuid == uuid
        keys = {key for key in self.storage.objects if f"/{ref.id}/" in key}
        manifest = load(self.storage, RUN, KIND, verify=False).manifest
        keys |= {segment.key(RUN) for segment in manifest.segments}
        self.originals |= {key: self.storage.objects[key][0] for key in keys if key not in self.originals}
        self.known[uuid] = Committed(ref, str(manifest.meta["policy"]).encode(), frozenset(keys))
        base = manifest.base.uuid if manifest.base else None
        self.history = [uuid, *(self.history[self.history.index(base) :] if base in self.history else [])]
        writer.step, writer.segments = ref.step, [*manifest.segments]

    def _with_fault(self, fault: tuple[int, str] | None, act):
        self.fault = (fault[0], FAULTS[fault[1]]) if fault else None
        self.calls = 0
        try:
            return act()
        finally:
            self.fault = None

    def _faulty(self) -> RetryingStorage:
        def due(_: int, __: Call) -> Fault | None:
            number, self.calls = self.calls, self.calls + 1
            return self.fault[1] if self.fault and self.fault[0] == number else None

        return RetryingStorage(FaultyStorage(self.storage, due), instant_policy())

    def _bury(self, writer: Writer) -> None:
        self.writers.remove(writer)
        if writer is self.owner:
            self.owner = None

    def _pointed(self) -> list[str]:
        if POINTER_KEY not in self.storage.objects:
            return []
        pointer = decode_pointer(self.storage.objects[POINTER_KEY][0], POINTER_KEY)
        return [ref.uuid for ref in pointer.checkpoints]

    def _milestones(self) -> list[str]:
        pointer = decode_pointer(self.storage.objects[POINTER_KEY][0], POINTER_KEY)
        return [ref.uuid for ref in pointer.milestones]

    def _is_sound(self, uuid: str) -> bool:
        return all(
            self.storage.objects.get(key, (None,))[0] == self.originals[key] for key in self.known[uuid].keys
        )

    def _expected(self) -> str | None:
        return next((uuid for uuid in self.history[:16] if self._is_sound(uuid)), None)


def run_machine(examples: int, steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    Protocol.steps = 0
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
    with capsys.disabled():
        sys.stdout.write(f"\nstate machine: {Protocol.steps} steps, no invariant violated\n")


def test_no_sequence_of_events_violates_an_invariant(capsys: pytest.CaptureFixture[str]) -> None:
    run_machine(40, 30, capsys)


@pytest.mark.torture
def test_ten_thousand_steps_violate_no_invariant(capsys: pytest.CaptureFixture[str]) -> None:
    run_machine(400, 50, capsys)
    assert Protocol.steps >= 10_000
