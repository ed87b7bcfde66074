"""The cost of training on each type of machine: by runs that trained on it with such settings, else by the estimate."""

from __future__ import annotations

from ...config.speed import Speed, estimate, timestep_s
from ...errors import TrainingError
from ..aws import instance_types, inventory
from ..context import CommandContext
from ..watch import run_status
from ..watch.run_status import RunStatus
from .run_checks import config_of

# The number of newest runs that are read: each takes some requests.
MOST_RUNS = 20


def speeds(context: CommandContext, kinds: tuple[str, ...]) -> dict[str, Speed]:
    """Return how fast each type trains with the settings. UsageError for a type that does not exist."""
    cores = instance_types.cores(instance_types.describe_types(context.cloud, kinds))
    own = _own_speeds(context)
    return {kind: own.get(kind) or estimate(context.config, cores[kind]) for kind in kinds}


def _own_speeds(context: CommandContext) -> dict[str, Speed]:
    """Return the speed of the newest run on each type, of those that the estimate takes for equally fast."""
    found: dict[str, Speed] = {}
    if not inventory.bucket_exists(context.cloud, context.project):
        return found
    names = inventory.run_names(context.cloud, context.project)
    read = [
        run_status.read_run_status(context.storage, name, context.cloud.now()) for name in names[-MOST_RUNS:]
    ]
    for one in sorted(read, key=lambda one: one.begun_at.timestamp() if one.begun_at else 0.0, reverse=True):
        kinds = {attempt.instance_type for attempt in one.attempts if attempt.instance_type}
        if one.steps_per_s and len(kinds) == 1 and _is_alike(context, one):
            found.setdefault(kinds.pop(), Speed(1 / one.steps_per_s, f"run {one.run}"))
    return found


def _is_alike(context: CommandContext, one: RunStatus) -> bool:
    """Tell whether a run has networks, updates and cars as the settings have them."""
    try:
        theirs = config_of(context.storage, one.run)
    except TrainingError:  # of a version that this one cannot read
        return False
    return abs(timestep_s(theirs) / timestep_s(context.config) - 1) < 0.01
