"""A new run that continues from another's checkpoint, with its replay buffer and optimizers, under other settings.

All that the checkpoint consists of is copied, so the new run lives by itself: its parent may be pruned, and a machine
that reaches its own run alone can train it. Its settings are written last: only then there is a run of that name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import layout
from ..config import Config, TrainingSettings
from ..config.resume import LIMITS, differences, forked
from ..errors import ConfigurationError, UsageError
from ..process.systemd_notify import alive
from ..store import documents
from ..store.checkpoint import Checkpoint, CheckpointData, claim, load
from ..store.manifest import Count, Hex32, ShortText
from ..store.restore import NoCheckpoint
from ..store.segments import PendingSegment, SegmentUploader, Target
from ..store.storage import Corrupt, Storage
from . import carried_maps
from .read import config_of, parse, write_config

RUN_NAME = "training.run_name"
# Entries of a checkpoint that hold for its own run only.
OF_THE_PARENT = ("wandb_id",)
# Before any machine or process of the new run: the attempts of those count from 1.
ATTEMPT = 0


class Parent(documents.Versioned):
    """The run and step that a run was forked from."""

    run: ShortText
    step: Count
    checkpoint: Hex32
    changes: dict[str, Any]  # setting → [value in the parent, value here]


class ForkPlan(NamedTuple):
    """A fork that can be carried out."""

    parent: str
    checkpoint: Checkpoint
    config: Config  # of the new run
    changes: dict[str, tuple[Any, Any]]

    def describe(self) -> str:
        """Return it in a sentence, for people."""
        changes = ", ".join(
            f"{key} = {_in_text(new)} (was {_in_text(old)})" for key, (old, new) in self.changes.items()
        )
        return (
            f"continues from step {self.checkpoint.step:,} of run {self.parent}, with its replay buffer and optimizers"
            + (f"; {changes}" if changes else "; no setting is changed")
        )


def plan_fork(storage: Storage, spec: str, overrides: Sequence[str]) -> ForkPlan:
    """Return the fork of `RUN[@STEP]` as it would be; nothing is written.

    overrides: the changed settings (`a.b=value`), its name among them. Raises UsageError for a run or a step that does
    not exist, ConfigurationError for a setting that cannot change, or limits that are reached already.
    """
    named = parse(spec)
    if named.agent is not None:
        raise UsageError(
            f"--fork {spec}: a run is forked with all of its agents", next_step="Leave :AGENT out."
        )
    own = config_of(storage, named.run)
    without_name = own.model_copy(update={"training": own.training.model_copy(update={"run_name": None})})
    config = forked(without_name, overrides, named.run)
    try:
        checkpoint = load(storage, named.run, own.training.training_type, at_step=named.step)
    except (NoCheckpoint, Corrupt) as error:
        raise UsageError(f"--fork {spec}: {error.message}", next_step=error.next_step) from error
    _check_limits(config.training, checkpoint)
    changes = differences(own, config)
    changes.pop(RUN_NAME, None)
    return ForkPlan(named.run, checkpoint, config, changes)


def make_fork(storage: Storage, plan: ForkPlan, name: str, say: Callable[[str], None]) -> None:
    """Copy the checkpoint into the run `name` and write its settings; may be repeated after an interruption.

    Raises UsageError where a run of that name exists.
    """
    if any(True for _ in storage.list(layout.config_key(name))):
        raise UsageError(
            f"a run named {name!r} exists in {storage.url}",
            next_step=f"Choose another --name, or continue it: --resume {name}.",
        )
    checkpoint = plan.checkpoint
    lineage = claim(storage, name, plan.config.training.training_type, ATTEMPT)
    uploader = SegmentUploader(Target(storage, name, lineage.epoch))
    try:
        segments = _copied_segments(checkpoint, uploader)
        members = {member: checkpoint.read(member) for member in checkpoint.manifest.members}
        meta = {key: value for key, value in checkpoint.meta.items() if key not in OF_THE_PARENT}
        lineage.commit(checkpoint.step, CheckpointData(members, segments, meta), milestone=True)
    finally:
        uploader.close()
    carried_maps.copy(storage, plan.parent, name)
    parent = Parent(
        run=plan.parent,
        step=checkpoint.step,
        checkpoint=checkpoint.ref.uuid,
        changes={key: list(values) for key, values in plan.changes.items()},
    )
    documents.update(storage, layout.parent_key(name), Parent, lambda _: parent)
    write_config(storage, name, plan.config)
    say(f"run {name} {plan.describe()}")


def read_parent(storage: Storage, run: str) -> Parent | None:
    """Return where a run was forked from, None for one that was not."""
    return documents.read(storage, layout.parent_key(run), Parent)


def _copied_segments(checkpoint: Checkpoint, uploader: SegmentUploader) -> list[PendingSegment]:
    """Hand every replay segment to the uploader, in the order of the checkpoint; few are in memory at once."""
    copied = []
    for agent in dict.fromkeys(ref.agent for ref in checkpoint.manifest.segments):
        for ref, data in checkpoint.read_segments(agent):
            copied.append(uploader.submit(agent, (ref.first, ref.last), lambda data=data: data))  # type: ignore[misc]
            alive()
    return copied


def _check_limits(training: TrainingSettings, checkpoint: Checkpoint) -> None:
    """Raise ConfigurationError where the new run would end before its first step."""
    steps, minutes = training.total_timesteps, training.max_minutes
    elapsed = checkpoint.meta.get("elapsed_s", 0.0)
    trained_min = elapsed / 60 if isinstance(elapsed, (int, float)) else 0.0
    reached = []
    if checkpoint.step >= steps:
        reached.append(f"{LIMITS[0]} = {steps:,}, and the checkpoint is at step {checkpoint.step:,}")
    if minutes is not None and trained_min >= minutes:
        reached.append(f"{LIMITS[1]} = {minutes:g}, and its run had trained for {trained_min:.1f} minutes")
    if reached:
        raise ConfigurationError(
            f"the new run would end at once: {'; '.join(reached)}",
            next_step="Both count from the parent's beginning: add for example "
            f"--set {LIMITS[0]}={2 * max(steps, checkpoint.step)} --set {LIMITS[1]}=null",
        )


def _in_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
