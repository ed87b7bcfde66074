"""Open a finished or running run: its settings, and the policy that evaluation kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..agents.policy import Policy
from ..config import Config
from ..errors import UsageError
from ..process.systemd_notify import alive
from ..store.checkpoint import Checkpoint
from ..store.storage import Storage
from ..stored_runs import carried_maps
from ..stored_runs.read import StoredRun, config_of, runs_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

__all__ = ["LoadedRun", "agent_name", "config_of", "newest_run", "policies_of", "policy_of", "runs_in"]


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


def newest_run(storage: Storage) -> str:
    """Return the run that began last; UsageError if there is none."""
    runs = runs_in(storage)
    if not runs:
        raise UsageError(
            f"there are no runs in {storage.url}", next_step="Make one: python -m training train"
        )
    return runs[-1]


def policy_of(storage: Storage, run: str, agent: int | None = None) -> LoadedRun:
    """Load the policy that evaluation kept, from the newest sound checkpoint of a run, and bring the run's maps here.

    agent: the number of one of several; None: the one that laps best. Raises UsageError for an unknown run or agent, or
    if no policy has been kept yet, DataError for a broken one.
    """
    config = config_of(storage, run)
    carried_maps.bring(storage, run, config.all_tracks)
    checkpoint, number, data = StoredRun(storage, run, config).kept_policy(agent)
    policy = Policy.decode(data, config.actor_sizes, f"the kept policy of checkpoint {checkpoint.ref.id}")
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
