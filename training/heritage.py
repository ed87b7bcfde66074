"""What a new run takes over from others: its agents' first networks, and opponents that learn no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from training import layout
from training.agents import state
from training.agents.codec import decode
from training.envs import observation
from training.errors import ConfigurationError, DataError, UsageError
from training.notify import alive
from training.report.contestants import parse, policy_named
from training.report.loading import ACTOR_OUTPUTS, config_of
from training.report.races import PHYSICS
from training.store.checkpoint import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from training.agents.multi_agent import MultiAgentSAC
    from training.agents.policy import Policy
    from training.config import Config, EnvSettings
    from training.store.checkpoint import Checkpoint
    from training.store.storage import Storage

MAX_LEARNER_BYTES = 1 << 30
# The settings of env that say what the numbers of an observation and of an action mean, and how often there are any.
MEANING = (
    *PHYSICS,
    "beams",
    "scans_stacked",
    "proprioception",
    "scan_range_m",
    "action_repeat",
    "speed_cap_mps",
    "min_speed_mps",
)


class _Ancestor(NamedTuple):
    """The run whose networks the agents begin with."""

    config: Config
    checkpoint: Checkpoint


def check(config: Config, storage: Storage) -> None:
    """See, before a run begins, that all is there that it wants to take over.

    Raises ConfigurationError naming the setting, what is missing or of another shape, and what there is.
    """
    _ancestor(config, storage)
    for _ in _opponents(config, storage):
        pass


def take_over(learner: MultiAgentSAC, config: Config, storage: Storage, say: Callable[[str], None]) -> None:
    """Give the agents of a new run what its settings name; agent n gets the networks of agent n modulo theirs."""
    ancestor = _ancestor(config, storage)
    if ancestor is not None:
        theirs = ancestor.config.num_agents
        saved = [
            decode(ancestor.checkpoint.read(name), what=name, max_bytes=MAX_LEARNER_BYTES)
            for name in map(layout.learner_member, range(theirs))
        ]
        for number in range(len(learner.agents)):
            state.restore_networks(learner, number, saved[number % theirs])
            alive()
        say(
            f"{len(learner.agents)} agents begin with the networks of {theirs} of run "
            f"{config.training.init_from}, step {ancestor.checkpoint.step:,}"
        )
        if other := _other_meaning(ancestor.config.env, config.env):
            say(f"they learnt with {_told(other)} as here, and have to learn that anew")
    if learner.league is not None:
        for name, policy in _opponents(config, storage):
            learner.league.admit(name, policy)
            alive()


def _ancestor(config: Config, storage: Storage) -> _Ancestor | None:
    run = config.training.init_from
    if run is None:
        return None
    try:
        theirs = config_of(storage, run)
        _check_shape(f"training.init_from = {run}", _sizes(theirs), _sizes(config))
        return _Ancestor(theirs, load(storage, run, theirs.training.training_type))
    except (UsageError, DataError) as error:
        raise ConfigurationError(
            f"training.init_from = {run}: {error.message}", next_step=error.next_step
        ) from error


def _opponents(config: Config, storage: Storage) -> Iterator[tuple[str, Policy]]:
    """Give each policy that the settings put into the pool, with its name there."""
    if config.num_cars == 1 or config.multi_agent.mode != "league":
        return
    for name in config.multi_agent.league.checkpoints:
        key = f"multi_agent.league.checkpoints: {name}"
        try:
            theirs, policy = policy_named(storage, parse(name))
        except (UsageError, DataError) as error:
            raise ConfigurationError(f"{key}: {error.message}", next_step=error.next_step) from error
        _check_meaning(key, theirs.env, config.env)
        _check_shape(key, policy.stack.sizes, _sizes(config))
        yield name, policy


def _check_meaning(what: str, theirs: EnvSettings, ours: EnvSettings) -> None:
    """See that a policy that only drives along sees and acts here as it has learnt to; a race would translate."""
    if other := _other_meaning(theirs, ours):
        values = " ".join(f"--set {key}={_as_yaml(their)}" for key, (their, _) in other.items())
        raise ConfigurationError(
            f"{what}: it learnt with {_told(other)} as in this run, and would take what it sees and does for "
            "something else",
            next_step=f"Give this run the values of that one: {values}\nOr leave it out of the pool.",
        )


def _other_meaning(theirs: EnvSettings, ours: EnvSettings) -> dict[str, tuple[object, object]]:
    """Return the settings by which the same numbers mean something else, with both values."""
    pairs = {f"env.{name}": (getattr(theirs, name), getattr(ours, name)) for name in MEANING}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _told(other: Mapping[str, tuple[object, object]]) -> str:
    return ", ".join(f"{key} = {their}, not {our}" for key, (their, our) in other.items())


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sizes(config: Config) -> list[int]:
    return [observation.size(config.env), *config.sac.net_arch, ACTOR_OUTPUTS]


def _check_shape(what: str, theirs: Sequence[int], ours: Sequence[int]) -> None:
    if tuple(theirs) != tuple(ours):
        their_words, our_words = ("-".join(map(str, sizes)) for sizes in (theirs, ours))
        raise ConfigurationError(
            f"{what}: its policies have layers of {their_words} units, those of this run would have {our_words}",
            next_step="Give env.beams, env.scans_stacked, env.proprioception and sac.net_arch the values of that run.",
        )
