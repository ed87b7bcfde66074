"""Open a finished or running run: its settings, and the policy that evaluation kept."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, NamedTuple

from training import layout
from training.agents.policy import Policy
from training.config import Config
from training.envs import observation
from training.errors import DataError, UsageError
from training.notify import alive
from training.store.checkpoint import Checkpoint, load
from training.store.restore import NoCheckpoint
from training.store.storage import Corrupt, NotFound, Storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

MAX_CONFIG_BYTES = 1 << 20
# Steering and speed, each with a mean and a deviation.
ACTOR_OUTPUTS = 4


class LoadedRun(NamedTuple):
    """A run as the commands after training need it."""

    config: Config
    policy: Policy
    kept_step: int  # timestep of training at which the policy drove so
    meta: Mapping[str, JsonValue]  # of the newest checkpoint
    run: str
    step: int  # of that checkpoint
    agent: int = 0  # whose policy it is, where several learnt

    @property
    def name(self) -> str:
        """Return what tables call the policy: by its agent's number, where several learnt."""
        return agent_name(self.agent) if self.agents > 1 else "policy"

    @property
    def agents(self) -> int:
        """Return how many agents learnt in the run."""
        return self.config.num_agents


def agent_name(number: int) -> str:
    """Return what tables call an agent."""
    return f"agent {number}"


def runs_in(storage: Storage) -> list[str]:
    """Return the runs of a store, the newest last; a run exists once its settings are written."""
    entries = [
        entry
        for entry in storage.list(f"{layout.RUNS}/")
        if entry.key.count("/") == 2 and entry.key == layout.config_key(layout.parse_run(entry.key))
    ]
    return [layout.parse_run(entry.key) for entry in sorted(entries, key=lambda entry: entry.modified)]


def newest_run(storage: Storage) -> str:
    """Return the run that began last; UsageError if there is none."""
    runs = runs_in(storage)
    if not runs:
        raise UsageError(
            f"there are no runs in {storage.url}", next_step="Make one: python -m training train"
        )
    return runs[-1]


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


def policy_of(storage: Storage, run: str, agent: int | None = None) -> LoadedRun:
    """Load the policy that evaluation kept, from the newest sound checkpoint of a run.

    agent: the number of one of several; None: the one that laps best. Raises UsageError for an unknown run or agent,
    or where no policy has been kept yet, DataError for a broken one.
    """
    config = config_of(storage, run)
    if agent is not None and not 0 <= agent < config.num_agents:
        raise UsageError(
            f"run {run} has no agent {agent}", next_step=f"Its agents are 0 to {config.num_agents - 1}."
        )
    checkpoint, number, data = _kept(storage, run, config.training.training_type, agent)
    sizes = [observation.size(config.env), *config.sac.net_arch, ACTOR_OUTPUTS]
    policy = Policy.decode(data, sizes, f"the kept policy of checkpoint {checkpoint.ref.id}")
    return LoadedRun(
        config, policy, _kept_step(checkpoint, number), checkpoint.meta, run, checkpoint.step, number
    )


def policies_of(loaded: LoadedRun, storage: Storage) -> dict[str, Policy]:
    """Return the kept policies of a run's agents by the names that tables give them, the loaded one first."""
    found = {loaded.name: loaded.policy}
    for number in range(loaded.agents):
        if number != loaded.agent:
            found[agent_name(number)] = policy_of(storage, loaded.run, number).policy
            alive()
    return found


def _kept_step(checkpoint: Checkpoint, agent: int) -> int:
    """Return the timestep of an agent's kept policy."""
    kept = checkpoint.meta.get("kept")
    row = kept[agent] if isinstance(kept, list) and agent < len(kept) else None
    step = row.get("step") if isinstance(row, dict) else None
    return step if isinstance(step, int) else checkpoint.step


def _kept(storage: Storage, run: str, training_type: str, agent: int | None) -> tuple[Checkpoint, int, bytes]:
    """Return the newest checkpoint, the agent and its kept policy.

    Only if that is damaged is every byte of others read.
    """
    try:
        checkpoint = load(storage, run, training_type, verify=False)
        number = _best_agent(checkpoint) if agent is None else agent
        member = layout.kept_member(number)
        if member not in checkpoint.manifest.members:
            raise UsageError(
                f"run {run} has kept no policy yet: none was evaluated up to its checkpoint at step {checkpoint.step}",
                next_step="Wait for its next evaluation, or continue it: "
                f"python -m training train --resume {run}",
            )
        try:
            return checkpoint, number, checkpoint.read(member)
        except (Corrupt, NotFound):
            checkpoint = load(storage, run, training_type)
            return checkpoint, number, checkpoint.read(member)
    except NoCheckpoint as error:
        raise UsageError(
            error.message, next_step=f"Continue it first: python -m training train --resume {run}"
        ) from None


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
