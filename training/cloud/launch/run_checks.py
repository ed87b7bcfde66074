"""What a launch asks of its run in the store: may it start, with which settings, from which checkpoint."""

from __future__ import annotations

import json

from ... import layout
from ...config import Config, PolicySources
from ...config.resume import changed
from ...errors import UsageError
from ...store.documents import read_attempts, read_status
from ...store.fencing import read_pointer
from ...store.restore import NoCheckpoint, load, load_partial
from ...store.storage import Corrupt, NotFound, Storage
from ..aws import inventory
from ..aws.client import Cloud
from ..aws.project import Project
from ..launch_record import ENDS, check_place, name_fleet, owner, read_launch_record
from .arguments import Options
from .settings_checks import check_namespace, check_sources, check_tracks


def next_launch(cloud: Cloud, project: Project, storage: Storage, options: Options) -> int:
    """Return the number of this launch; UsageError for a run that exists, does not exist, or is running."""
    intent = read_launch_record(storage, options.run)
    status = read_status(storage, options.run)
    ended = status is not None and status.state in ENDS
    if intent is not None and not ended and cloud.clock.now() < intent.valid_until:
        check_place(intent, project)  # a run that has ended may continue in another place
    fleet = inventory.fleet_of(cloud, project, options.run)
    if fleet is not None:
        if intent is not None and not intent.fleet_id and intent.by == owner():
            name_fleet(storage, intent, fleet["FleetId"])  # our own start, interrupted at the very last step
        raise UsageError(
            f"run {options.run} is running",
            next_step=f"Watch it: ./launch.py status {options.run}. End it: ./launch.py stop {options.run}",
        )
    if options.resume:
        if status is None and intent is None:
            raise no_run(project, options.run)
        if status is not None and status.state == "done":
            raise UsageError(
                f"run {options.run} is done", next_step=f"Get its model: ./launch.py fetch {options.run}"
            )
        if intent is None:
            return 1
        # Our own start keeps its number, for AWS may remember it; one that had machines, or somebody else's, does not.
        seen = any(row.launch == intent.launch for row in read_attempts(storage, options.run))
        return intent.launch + (1 if intent.fleet_id or intent.by != owner() or seen else 0)
    if intent is not None and not intent.fleet_id and intent.by == owner():
        return intent.launch  # our own start, interrupted
    if intent is not None or status is not None:
        raise UsageError(
            f"a run named {options.run} exists in {project.store}",
            next_step=f"Continue it: ./launch.py train --resume {options.run}. Or choose another --name.",
        )
    return 1


def no_run(project: Project, run: str) -> UsageError:
    """Return the error for a run that does not exist."""
    return UsageError(f"there is no run {run} in {project.store}", next_step="List them: ./launch.py list")


def own_settings(storage: Storage, options: Options) -> Config | None:
    """Return the settings that a continued run brings, changed as far as that is allowed; None for a new one."""
    if read_status(storage, options.run) is None:
        return None
    own = changed(config_of(storage, options.run), options.overrides if options.resume else ())
    check_tracks(own.tracks_by_setting)  # those of its evaluations may be others now
    check_namespace(own.cloudwatch, own.aws)
    return own


def sources_of(storage: Storage, run: str, training_type: str, sources: PolicySources) -> str:
    """Return what a run without a checkpoint takes over from others, "" for nothing; refuse what is not there."""
    seen = read_pointer(storage, run, training_type)
    begun = seen is not None and seen.pointer.checkpoint is not None
    return "" if begun else check_sources(storage, sources, run)


def check_origin(storage: Storage, options: Options, training_type: str) -> None:
    """Raise UsageError where the checkpoint that the user names is not there: no machine need boot to find out."""
    try:
        if options.at_step is not None:
            load(storage, options.run, training_type, at_step=options.at_step, verify=False)
        elif options.from_partial:
            load_partial(storage, options.run, training_type, verify=False)
    except (Corrupt, NoCheckpoint) as error:
        raise UsageError(
            error.message, next_step=error.next_step or f"Its newest: ./launch.py status {options.run}"
        ) from error


def config_of(storage: Storage, run: str) -> Config:
    """Return the settings of a run. UsageError if there is none."""
    try:
        data = json.loads(storage.get(layout.config_key(run), max_bytes=1 << 20).data)
    except NotFound:
        raise UsageError(
            f"there is no run {run} in {storage.url}", next_step="List them: ./launch.py list"
        ) from None
    return Config.from_json_dict(data, layout.config_key(run))
