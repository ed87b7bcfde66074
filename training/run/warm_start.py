"""Take over from other runs: initial networks for a new run's agents, and opponents that learn no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents import snapshot
from ..agents.codec import decode
from ..agents.policy import Policy
from ..config.checks import differing_settings, other_meaning, other_physics
from ..errors import ConfigurationError, DataError
from ..process.systemd_notify import alive
from ..stored_runs import policy_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..agents.multi_agent import MultiAgentSAC
    from ..config import PolicySources
    from ..store.storage import Storage
    from ..stored_runs.read import StoredPolicy


def check(sources: PolicySources, storage: Storage) -> None:
    """Check, before a run begins, that everything exists that it will take over.

    Raises ConfigurationError naming the setting, what is missing or of another shape, and what there is.
    """
    policy_sources.read_networks(storage, sources)
    for _ in _decoded(policy_sources.read_opponents(storage, sources)):
        pass


def load_initial_policies(
    learner: MultiAgentSAC, sources: PolicySources, storage: Storage, run: str, say: Callable[[str], None]
) -> None:
    """Give the agents of a new run what its settings name; agent n gets the networks of agent n modulo theirs.

    run: its name. On an instance the launcher has copied into it what it takes over.
    """
    networks = policy_sources.networks_of(storage, run, sources)
    if networks is not None:
        what, theirs = f"training.init_from = {sources.init_from}", len(networks.data)
        saved = [
            decode(data, what=what, max_bytes=policy_sources.MAX_NETWORKS_BYTES) for data in networks.data
        ]
        for number in range(len(learner.agents)):
            snapshot.restore_networks(learner, number, saved[number % theirs])
            alive()
        say(
            f"{len(learner.agents)} agents begin with the networks of {theirs} of run "
            f"{sources.init_from}, step {networks.step:,}"
        )
        theirs_env = networks.config.env
        if other := other_physics(theirs_env, sources.env) | other_meaning(theirs_env, sources.env):
            say(f"they learnt with {differing_settings(other)} as here, and have to learn that again")
    if learner.league is not None:
        learnt_in = {}
        for name, stored, policy in _decoded(policy_sources.opponents_of(storage, run, sources)):
            learner.league.add(name, policy)
            learnt_in[name] = stored.config.env
            alive()
        for told in policy_sources.in_other_physics(learnt_in, sources.env):
            say(f"{told}; in its races this run's physics hold")


def _decoded(found: Iterable[tuple[str, StoredPolicy]]) -> Iterator[tuple[str, StoredPolicy, Policy]]:
    """Give each policy that the settings put into the pool, with its name there, as it is stored and decoded."""
    for name, stored in found:
        try:
            policy = Policy.decode(stored.data, stored.config.actor_sizes, stored.what)
        except DataError as error:
            key = f"multi_agent.league.checkpoints: {name}"
            raise ConfigurationError(f"{key}: {error.message}", next_step=error.next_step) from error
        yield name, stored, policy
