"""Runs in a store as data: settings, the bytes of networks and policies. Knows neither torch nor the simulator."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from .. import layout
from ..config import Config
from ..errors import DataError, UsageError
from ..store.checkpoint import Checkpoint, load
from ..store.fencing import read_pointer
from ..store.restore import NoCheckpoint, history
from ..store.storage import Corrupt, NotFound, Storage

MAX_CONFIG_BYTES = 1 << 20
MAX_POLICY_BYTES = 64 << 20
_SPEC = re.compile(r"(?P<run>[^@:]+)(?:@(?P<step>[0-9_,]+))?(?::(?P<agent>[0-9]+))?")
FORMS = ("RUN", "RUN@STEP", "RUN:AGENT", "RUN@STEP:AGENT")


class Named(NamedTuple):
    """The run, step and agent that a command line names."""

    run: str
    step: int | None  # None: the policy that evaluation kept
    agent: int | None  # None: the one that laps best; with a step the first


class StoredPolicy(NamedTuple):
    """A policy of a run: the settings of the run, and the bytes of Policy.encode."""

    config: Config
    data: bytes
    what: str  # it is, for messages


def parse(spec: str, others: Sequence[str] = ()) -> Named:
    """Read RUN[@STEP][:AGENT]. UsageError lists the choices; others: further values allowed there."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise UsageError(
            f"{spec!r} names no policy of a run",
            next_step=f"Give one of {', '.join((*FORMS, *others))}.",
        )
    step, agent = found["step"], found["agent"]
    return Named(
        found["run"],
        None if step is None else int(re.sub("[_,]", "", step)),
        None if agent is None else int(agent),
    )


def runs_in(storage: Storage) -> list[str]:
    """Return the runs of a store, the newest last; a run exists once its settings are written."""
    entries = [
        entry
        for entry in storage.list(f"{layout.RUNS}/")
        if entry.key.count("/") == 2 and entry.key == layout.config_key(layout.parse_run(entry.key))
    ]
    return [layout.parse_run(entry.key) for entry in sorted(entries, key=lambda entry: entry.modified)]


def config_of(storage: Storage, run: str) -> Config:
    """Return the settings of a run. UsageError, with the runs there are, for an unknown one."""
    key = layout.config_key(run)
    try:
        text = storage.get(key, max_bytes=MAX_CONFIG_BYTES).data
    except NotFound:
        raise _unknown(storage, run) from None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DataError(f"{key} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise DataError(f"{key} holds a {type(data).__name__}, not settings")
    return Config.from_json_dict(data, key)


def steps_of(storage: Storage, run: str, agent: int = 0) -> list[int]:
    """Return the steps at which a run has left policies, in order."""
    entries = storage.list(f"{layout.policies_prefix(run, agent)}/")
    return sorted(layout.parse_policy_step(entry.key) for entry in entries)


class StoredRun(NamedTuple):
    """A run in a store, and its settings."""

    storage: Storage
    name: str
    config: Config

    def kept_policy(self, agent: int | None) -> tuple[Checkpoint, int, bytes]:
        """Return the newest checkpoint, the number of an agent and its kept policy; None: the one that laps best.

        Only if that is damaged is every byte of others read. UsageError for an agent, a checkpoint or a policy that is
        not there.
        """
        run, agents = self.name, self.config.num_agents
        if agent is not None and not 0 <= agent < agents:
            raise UsageError(
                f"run {run} has no agent {agent}", next_step=f"Its agents are 0 to {agents - 1}."
            )
        training_type = self.config.training.training_type
        try:
            checkpoint = load(self.storage, run, training_type, verify=False)
            number = _best_agent(checkpoint) if agent is None else agent
            member = layout.kept_member(number)
            if member not in checkpoint.manifest.members:
                raise UsageError(
                    f"run {run} has kept no policy yet: none was evaluated up to its checkpoint at step "
                    f"{checkpoint.step}",
                    next_step="Wait for its next evaluation, or continue it: "
                    f"python -m training train --resume {run}",
                )
            try:
                return checkpoint, number, checkpoint.read(member)
            except (Corrupt, NotFound):
                checkpoint = load(self.storage, run, training_type)
                return checkpoint, number, checkpoint.read(member)
        except NoCheckpoint as error:
            raise UsageError(
                error.message, next_step=f"Continue it first: python -m training train --resume {run}"
            ) from None

    def newest_networks(self) -> tuple[int, list[bytes]]:
        """Return the step and the networks of the agents, of the newest checkpoint in which they are as committed.

        UsageError where it has none; nothing else of a checkpoint is read.
        """
        training_type = self.config.training.training_type
        seen = read_pointer(self.storage, self.name, training_type)
        members = [layout.learner_member(number) for number in range(self.config.num_agents)]
        damaged: list[str] = []
        for ref, manifest in history(self.storage, seen.pointer, damaged) if seen else ():
            checkpoint = Checkpoint(self.storage, self.name, ref, manifest)
            try:
                return checkpoint.step, [checkpoint.read(member) for member in members]
            except (Corrupt, NotFound) as error:
                damaged.append(f"{ref.id}: {error.message}")
        what = f"run {self.name} has no committed {training_type} checkpoint in {self.storage.url}"
        raise UsageError(
            "\n  damaged: ".join([what, *damaged]),
            next_step=f"Continue it first: python -m training train --resume {self.name}",
        )


def write_config(storage: Storage, run: str, config: Config) -> None:
    """Write the settings of a run: from then on it exists."""
    storage.put(layout.config_key(run), json.dumps(config.to_json_dict(), indent=1).encode())


def policy_named(storage: Storage, named: Named) -> StoredPolicy:
    """Read the policy that is named, with the settings of its run.

    Raises UsageError for an unknown run, step or agent; DataError for a broken one.
    """
    config = config_of(storage, named.run)
    if named.step is not None:
        return StoredPolicy(config, *policy_at(storage, named))
    checkpoint, _, data = StoredRun(storage, named.run, config).kept_policy(named.agent)
    return StoredPolicy(config, data, f"the kept policy of checkpoint {checkpoint.ref.id}")


def policy_at(storage: Storage, named: Named) -> tuple[bytes, str]:
    """Read the policy that an agent of a run had at a step; return it and its key. UsageError names the steps."""
    agent = named.agent or 0
    steps = steps_of(storage, named.run, agent)
    if named.step is None or named.step not in steps:
        there = ", ".join(str(step) for step in steps) or "none"
        raise UsageError(
            f"run {named.run} has no policy of agent {agent} at step {named.step}; there are: {there}",
            next_step=f"Name one of these, or {named.run} alone for the policy that evaluation kept.",
        )
    key = layout.policy_key(named.run, agent, named.step)
    return storage.get(key, max_bytes=MAX_POLICY_BYTES).data, key


def _best_agent(checkpoint: Checkpoint) -> int:
    best = checkpoint.meta.get("best_agent")
    return best if isinstance(best, int) else 0


def _unknown(storage: Storage, run: str) -> UsageError:
    runs = runs_in(storage)
    near = difflib.get_close_matches(run, runs, n=1)
    return UsageError(
        f"there is no run called {run!r} in {storage.url}; there are: {', '.join(runs) or 'none'}",
        next_step=f"Did you mean {near[0]}?"
        if near
        else "Another place is named by --store DIR|s3://BUCKET.",
    )
