"""`stop` and `fetch`: end a run with its checkpoint kept, bring home what it made."""

from __future__ import annotations

from pathlib import Path

from training import layout
from training.cloud import look
from training.cloud.api import SILENCE_S, Cloud
from training.cloud.ending import delete_fleet, end_traces, wait_until_ended
from training.cloud.launching import ENDS, owner
from training.cloud.problems import CloudError
from training.cloud.scope import Scope, tag
from training.cloud.site import Site
from training.store.documents import read_status, request, set_status
from training.store.storage import Storage

POLL_S = 5.0
STOP_WITHIN_S = 600.0
MAX_FILE_BYTES = 4 << 30


def stop(site: Site, storage: Storage, run: str, *, now: bool, wait: bool) -> str:
    """End a run and return its state: by its own last checkpoint, or `now`, by taking its machine away."""
    _, cloud, scope = site
    fleet = look.fleet_of(cloud, scope, run)
    if fleet is None or now or not look.machines(cloud, scope, run):
        # Nobody is there to hear of it, or nobody shall be asked.
        set_status(storage, run, "stopped", only_from={"pending", "running"}, reason=f"stopped by {owner()}")
        return end_run(cloud, scope, storage, run)
    request(storage, run, "stop_now", by=owner())
    cloud.say("  asked   the run saves a checkpoint and ends; --now takes the machine away instead")
    return _wait_for_end(cloud, scope, storage, run) if wait else "stopping"


def end_run(cloud: Cloud, scope: Scope, storage: Storage, run: str) -> str:
    """Delete a run's fleets and traces, wait for its machines' end, and return the run's state."""
    for fleet in look.fleets(cloud, scope):
        if tag(fleet, layout.TAG_RUN) == run:
            delete_fleet(cloud, fleet["FleetId"])
            cloud.say(f"  gone    fleet {fleet['FleetId']}")
    machines = [one["InstanceId"] for one in look.machines(cloud, scope, run)]
    if machines:
        cloud.call("ec2", "terminate_instances", InstanceIds=machines)
        wait_until_ended(cloud, scope, run)
    end_traces(cloud, scope, run)
    status = read_status(storage, run)
    return status.state if status else "stopped"


def _wait_for_end(cloud: Cloud, scope: Scope, storage: Storage, run: str) -> str:
    start = spoken = cloud.clock.monotonic()
    while True:
        status = read_status(storage, run)
        if status is not None and status.state in ENDS:
            return end_run(cloud, scope, storage, run)
        now = cloud.clock.monotonic()
        if now - start > STOP_WITHIN_S:
            raise CloudError(
                f"run {run} has not ended {STOP_WITHIN_S / 60:.0f} minutes after it was asked to",
                next_step=f"Take its machine away; its last checkpoint stays: ./launch.py stop {run} --now",
            )
        if now - spoken >= SILENCE_S:
            cloud.say(
                f"  waiting for the last checkpoint of {run}; it is {status.state if status else 'unknown'}"
            )
            spoken = now
        cloud.clock.sleep(POLL_S)


def fetch(storage: Storage, run: str, out: Path, *, latest: bool) -> list[Path]:
    """Copy the model and the report of a run to this computer and return the files.

    The trainer writes a model of the best policy so far; `latest` takes the one of the newest step.
    """
    models = [
        entry.key for entry in storage.list(f"{layout.run_prefix(run)}/models/") if entry.key.endswith(".zip")
    ]
    chosen = sorted(models, key=lambda key: key.rpartition("/")[2])[-1:]
    reports = [entry.key for entry in storage.list(f"{layout.report_prefix(run)}/")]
    best = [key for key in models if "/best/" in key]
    wanted = [*(chosen if latest or not best else best), *reports]
    if not wanted:
        raise CloudError(
            f"run {run} has no model and no report yet", next_step=f"How far it is: ./launch.py status {run}"
        )
    files = []
    for key in wanted:
        path = out / key
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.get_to_file(key, path, max_bytes=MAX_FILE_BYTES)
        files.append(path)
    return files
