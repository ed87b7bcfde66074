"""One life of a run, small enough to be broken at every store call, and what must hold after any break.

With several agents each has files and replay segments of its own in every checkpoint, and all are of one step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tests.store.memory import Call
from training import layout
from training.errors import TrainingError
from training.store.checkpoint import CheckpointData, RunWriter, claim, load
from training.store.retry import RetryingStorage, RetryPolicy
from training.store.segments import PendingSegment, Target
from training.store.storage import Storage, StoreError

RUN = "run-a"
KIND = "sac"
FIRST_STEP, LAST_STEP, RESUMED_STEP = 200, 400, 500


def instant_policy() -> RetryPolicy:
    """Return a policy whose clock moves only while it sleeps, so that outages end at once."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return RetryPolicy(deadline_s=5.0, sleep=sleep, monotonic=lambda: now[0], jitter=lambda: 1.0)


def names(agents: int) -> list[str]:
    """Return the agents' names."""
    return ["car"] if agents == 1 else [f"agent{number}" for number in range(agents)]


def contents_at(step: int, segments: list[PendingSegment], agents: int = 1) -> CheckpointData:
    """Return what a checkpoint at a step holds: members of the run and of each agent, the segments so far, JSON."""
    members = {"policy": b"policy at %d" % step, "optimizer": b"optimizer at %d " % step * 50}
    if agents > 1:
        members |= {f"{name}.learner": b"%s at %d" % (name.encode(), step) for name in names(agents)}
    return CheckpointData(members, segments=segments, meta={"step": step, "best": -0.5})


def segments_at(lineage: RunWriter, step: int, agents: int = 1) -> list[PendingSegment]:
    """Upload every agent's replay rows that lead to a step, in the caller's thread."""
    return [segment_at(lineage, step, name) for name in names(agents)]


def segment_at(lineage: RunWriter, step: int, agent: str = "car") -> PendingSegment:
    """Upload one agent's replay rows that lead to a step, in the caller's thread."""
    target = Target(lineage.storage, RUN, lineage.epoch)
    pending = PendingSegment(target, agent, (step - 100, step - 1), lambda: b"rows to %d " % step * 100)
    pending.upload()
    return pending


@dataclasses.dataclass
class Told:
    """What the writer was told: the steps whose commit returned, and the errors it went on after."""

    committed: list[int] = dataclasses.field(default_factory=list)
    errors: list[TrainingError] = dataclasses.field(default_factory=list)


def begin(storage: Storage, agents: int = 1) -> None:
    """Make a run with two checkpoints, by an attempt that nothing happens to."""
    lineage = claim(storage, RUN, KIND, 1, workers=1)
    segments = []
    for step in (FIRST_STEP - 100, FIRST_STEP):
        segments += segments_at(lineage, step, agents)
        lineage.commit(step, contents_at(step, segments, agents))


def live(storage: Storage, told: Told, agents: int = 1) -> None:
    """Boot, resume, train, save twice: every phase in which a machine can be lost."""
    lineage = claim(RetryingStorage(storage, instant_policy()), RUN, KIND, 2, workers=1)
    checkpoint = lineage.load()
    segments = list(checkpoint.manifest.segments)
    for step in range(FIRST_STEP + 100, LAST_STEP + 1, 100):
        segments += segments_at(lineage, step, agents)  # type: ignore[arg-type]
        try:
            lineage.commit(step, contents_at(step, segments, agents))  # type: ignore[arg-type]
        except StoreError as error:
            told.errors.append(error)  # a save that failed stops no training
        else:
            told.committed.append(step)


def check(storage: Storage, told: Told, agents: int = 1) -> int:
    """Check what must hold whatever happened, resume and save; return the step resumed from.

    The newest checkpoint is sound, no older than the last one whose commit returned, and holds what
    that step's holds, of every agent; a new attempt claims the run, continues it and commits.
    """
    sound = load(storage, RUN, KIND, workers=1)
    assert not sound.skipped, f"the pointer names a damaged checkpoint: {sound.skipped}"
    assert sound.step >= max([FIRST_STEP, *told.committed]), f"lost step {max(told.committed)}"
    assert sound.meta["step"] == sound.step
    assert sound.read("policy") == b"policy at %d" % sound.step
    for name in names(agents):
        ends = [ref.last + 1 for ref in sound.manifest.segments if ref.agent == name]
        assert ends == [*range(100, sound.step + 1, 100)], f"rows of {name}"
        for ref, rows in sound.read_segments(name, workers=1):
            assert rows == b"rows to %d " % (ref.last + 1) * 100
        if agents > 1:
            assert sound.read(f"{name}.learner") == b"%s at %d" % (name.encode(), sound.step)
    lineage = claim(storage, RUN, KIND, 3, workers=1)
    resumed = lineage.load()
    assert resumed.ref == sound.ref
    segments = [*resumed.manifest.segments, *segments_at(lineage, RESUMED_STEP, agents)]
    lineage.commit(RESUMED_STEP, CheckpointData({"policy": b"resumed"}, segments=segments))
    assert load(storage, RUN, KIND, workers=1).read("policy") == b"resumed"
    return sound.step


def phases(run: Callable[[list[Call]], None]) -> list[tuple[str, Call]]:
    """Name the phase of each call of an undisturbed life: boot claim, restore, segment, data, …"""
    calls: list[Call] = []
    run(calls)
    claimed = False
    named: list[tuple[str, Call]] = []
    for call in calls:
        phase = _phase(call, claimed=claimed)
        named.append((phase, call))
        claimed = claimed or (phase == "claim" and call.is_write)
    return named


def _phase(call: Call, *, claimed: bool) -> str:
    if not claimed:
        return "claim"
    if call.operation != "put":
        return "fence check" if call.key == layout.pointer_key(RUN, KIND) else "restore"
    if "/replay/" in call.key:
        return "segment"
    if call.key.endswith("manifest.json"):
        return "manifest"
    return "pointer" if call.key.endswith("_latest_checkpoint.json") else "data"
