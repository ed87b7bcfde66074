"""Who can be named to race: a run, a run's policy at a step, one agent of a run, a built-in driver."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from training import layout
from training.agents.policy import Policy
from training.config import EnvSettings
from training.envs import observation
from training.envs.drivers_gap import FEWEST_BEAMS
from training.envs.opponents import DRIVERS, make_driver
from training.errors import UsageError
from training.report.loading import ACTOR_OUTPUTS, config_of, policy_of
from training.report.races import Contestant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.config import Config
    from training.store.storage import Storage

_SPEC = re.compile(r"(?P<run>[^@:]+)(?:@(?P<step>[0-9_,]+))?(?::(?P<agent>[0-9]+))?")
FORMS = ("RUN", "RUN@STEP", "RUN:AGENT", "RUN@STEP:AGENT")
MAX_POLICY_BYTES = 64 << 20
# What a built-in driver of a race without any run drives by.
DRIVER_SETTINGS = EnvSettings(beams=108)


class Named(NamedTuple):
    """What a command line names."""

    run: str
    step: int | None  # None: the policy that evaluation kept
    agent: int | None  # None: the one that laps best; with a step the first


def parse(spec: str, others: Sequence[str] = ()) -> Named:
    """Read RUN[@STEP][:AGENT]. UsageError says what it can be; others: what else may stand there."""
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


def contestants_of(storage: Storage, specs: tuple[str, ...]) -> list[Contestant]:
    """Load all who are named; drivers drive at the speeds and rate of the first run among them.

    Raises UsageError for an unknown run, step or agent; DataError for a broken policy.
    """
    loaded = {spec: _load(storage, spec) for spec in specs if spec not in DRIVERS}
    settings = next((one.settings for one in loaded.values()), DRIVER_SETTINGS)
    return [loaded[spec] if spec in loaded else driver(spec, settings) for spec in specs]


def driver(name: str, settings: EnvSettings) -> Contestant:
    """Return a built-in driver that drives at the speeds and rate of some settings."""
    seeing = settings.model_copy(update={"beams": max(settings.beams, FEWEST_BEAMS)})
    return Contestant(name, seeing, make_driver(name, settings.speed_cap_mps))


def steps_of(storage: Storage, run: str, agent: int = 0) -> list[int]:
    """Return the steps at which a run has left policies, in order."""
    entries = storage.list(f"{layout.policies_prefix(run, agent)}/")
    return sorted(layout.parse_policy_step(entry.key) for entry in entries)


def policy_at(storage: Storage, config: Config, named: Named) -> Policy:
    """Load the policy that an agent of a run had at a step. UsageError names the steps there are."""
    agent = named.agent or 0
    steps = steps_of(storage, named.run, agent)
    if named.step is None or named.step not in steps:
        there = ", ".join(str(step) for step in steps) or "none"
        raise UsageError(
            f"run {named.run} has no policy of agent {agent} at step {named.step}; there are: {there}",
            next_step=f"Name one of these, or {named.run} alone for the policy that evaluation kept.",
        )
    key = layout.policy_key(named.run, agent, named.step)
    return Policy.decode(storage.get(key, max_bytes=MAX_POLICY_BYTES).data, sizes_of(config), key)


def sizes_of(config: Config) -> list[int]:
    """Return the widths of a run's actor, from observation to outputs."""
    return [observation.size(config.env), *config.sac.net_arch, ACTOR_OUTPUTS]


def policy_named(storage: Storage, named: Named) -> tuple[Config, Policy]:
    """Load the policy that is named, with the settings of its run.

    Raises UsageError for an unknown run, step or agent; DataError for a broken policy.
    """
    config = config_of(storage, named.run)
    if named.step is not None:
        return config, policy_at(storage, config, named)
    return config, policy_of(storage, named.run, named.agent).policy


def _load(storage: Storage, spec: str) -> Contestant:
    config, policy = policy_named(storage, parse(spec, DRIVERS))
    return Contestant(spec, config.env, policy)
