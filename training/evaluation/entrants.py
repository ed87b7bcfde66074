"""Names of race entrants: a run, a run's policy at a step, one agent of a run, a built-in driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.policy import Policy
from ..config import EnvSettings
from ..envs.drivers.follow_the_gap import FEWEST_BEAMS
from ..envs.drivers.registry import DRIVERS, driver_of
from ..stored_runs import read
from ..stored_runs.read import FORMS, Named, StoredPolicy, parse, steps_of
from .races import Entrant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..store.storage import Storage

__all__ = ["FORMS", "Named", "driver", "entrants_of", "parse", "policy_at", "steps_of"]
# The settings of a built-in driver in a race without any run.
DRIVER_SETTINGS = EnvSettings(beams=108)


def entrants_of(storage: Storage, specs: tuple[str, ...]) -> list[Entrant]:
    """Load all named entrants; drivers drive at the speeds and rate of the first run among them.

    Raises UsageError for an unknown run, step or agent; DataError for a broken policy.
    """
    loaded = {spec: _load(storage, spec) for spec in specs if spec not in DRIVERS}
    settings = next((one.settings for one in loaded.values()), DRIVER_SETTINGS)
    return [loaded[spec] if spec in loaded else driver(spec, settings) for spec in specs]


def driver(name: str, settings: EnvSettings) -> Entrant:
    """Return a built-in driver that drives at the speeds and rate of some settings."""
    seeing = settings.model_copy(update={"beams": max(settings.beams, FEWEST_BEAMS)})
    return Entrant(name, seeing, driver_of(name, settings))


def policy_at(storage: Storage, named: Named, sizes: Sequence[int]) -> Policy:
    """Load the policy that an agent of a run had at a step. UsageError names the steps there are."""
    data, key = read.policy_at(storage, named)
    return Policy.decode(data, sizes, key)


def _load(storage: Storage, spec: str) -> Entrant:
    stored = read.policy_named(storage, parse(spec, DRIVERS))
    return Entrant(spec, stored.config.env, _decoded(stored))


def _decoded(stored: StoredPolicy) -> Policy:
    return Policy.decode(stored.data, stored.config.actor_sizes, stored.what)
