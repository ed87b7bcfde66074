"""`stop` and `fetch`: end a run with its checkpoint kept, bring home what it made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from training import layout
from training.cloud import look
from training.cloud.api import Cloud
from training.cloud.ending import delete_fleet, end_traces, wait_until_ended
from training.cloud.facts import newest_meta, newest_pointer
from training.cloud.intent import ENDS, read_intent
from training.cloud.launching import owner
from training.cloud.patience import Patience, heard
from training.cloud.problems import CloudError
from training.cloud.scope import Scope, tag
from training.cloud.site import Site
from training.store.documents import read_attempts, read_status, request, set_status
from training.store.storage import Entry, Storage

POLL_S = 5.0
STOP_WITHIN_S = 600.0
MAX_FILE_BYTES = 4 << 30

When = Literal["saved", "at_checkpoint", "at_once"]


def stop(site: Site, storage: Storage, run: str, *, when: When, wait: bool) -> str:
    """End a run and return its state.

    when: `saved`, the run saves a checkpoint and ends; `at_checkpoint`, it trains on to the one that is due next, which
    nobody waits for here; `at_once`, its machine is taken away.
    """
    _, cloud, scope = site
    fleet = look.fleet_of(cloud, scope, run)
    if fleet is None or when == "at_once" or not look.machines(cloud, scope, run):
        # Nobody is there to hear of it, or nobody shall be asked.
        set_status(storage, run, "stopped", only_from={"pending", "running"}, reason=f"stopped by {owner()}")
        return end_run(cloud, scope, storage, run)
    launch = _launch_to_ask(storage, run)
    if when == "at_checkpoint":
        request(storage, run, "stop_after_checkpoint", by=owner(), launch=launch)
        cloud.say(
            "  asked   the run trains on to its next checkpoint, then ends; without the option it saves now"
        )
        return "stopping"
    request(storage, run, "stop_now", by=owner(), launch=launch)
    cloud.say("  asked   the run saves a checkpoint and ends; --now takes the machine away instead")
    return _wait_for_end(cloud, scope, storage, run) if wait else "stopping"


def _launch_to_ask(storage: Storage, run: str) -> int | None:
    """Return the launch whose machines shall hear a request; None where they run a program that knows no numbers."""
    intent = read_intent(storage, run)
    newest = next(reversed(read_attempts(storage, run)), None)
    if intent is None or (
        newest is not None and newest.launch is None and newest.fleet_id == intent.fleet_id
    ):
        return None
    return intent.launch


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
    patience = Patience(cloud)
    while True:
        status = read_status(storage, run)
        if status is not None and status.state in ENDS:
            return end_run(cloud, scope, storage, run)
        if patience.waited_s > STOP_WITHIN_S:
            raise CloudError(
                f"run {run} has not ended {STOP_WITHIN_S / 60:.0f} minutes after it was asked to",
                next_step=f"Take its machine away; its last checkpoint stays: ./launch.py stop {run} --now",
            )
        if not look.machines(cloud, scope, run):
            # It was interrupted meanwhile. The next machine would read the request and end: nobody need pay it.
            cloud.say("  its machine is gone: the run ends with the last checkpoint that it saved")
            set_status(
                storage, run, "stopped", only_from={"pending", "running"}, reason=f"stopped by {owner()}"
            )
            return end_run(cloud, scope, storage, run)
        state = status.state if status else "unknown"
        patience.explain(f"  waiting for the last checkpoint of {run}; it is {state}")
        cloud.clock.sleep(POLL_S)


def fetch(storage: Storage, run: str, out: Path, say: Callable[[str], None], *, latest: bool) -> list[Path]:
    """Copy the best model of a run, or the `latest`, its report and its maps to this computer; return the files."""
    models = [one for one in storage.list(f"{layout.run_prefix(run)}/models/") if one.key.endswith(".zip")]
    models.sort(key=lambda one: one.key.rpartition("/")[2])
    chosen = _newest(models) if latest else _best(storage, run, models)
    made = [*chosen, *storage.list(f"{layout.report_prefix(run)}/")]
    if not made:
        raise CloudError(
            f"run {run} has no model and no report yet", next_step=f"How far it is: ./launch.py status {run}"
        )
    files = []
    for entry in (*made, *storage.list(f"{layout.maps_prefix(run)}/")):
        path = out / entry.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with heard(say, f"  still fetching {entry.key}, {entry.size / 1e6:.1f} MB"):
            storage.get_to_file(entry.key, path, max_bytes=MAX_FILE_BYTES)
        files.append(path)
    return files


def _best(storage: Storage, run: str, models: list[Entry]) -> list[Entry]:
    """Return each agent's model of the policy that the newest checkpoint calls its best; the newest where none is."""
    pointer = newest_pointer(storage, run)
    kept = newest_meta(storage, pointer).get("kept") if pointer else None
    rows = kept if isinstance(kept, list) else []
    steps = [row.get("step") if isinstance(row, dict) else None for row in rows]
    best = []
    for number, step in enumerate(steps):
        folder = f"{layout.agent_name(number)}/" if len(steps) > 1 else ""
        if isinstance(step, int):
            best += [one for one in models if one.key.endswith(f"/{folder}{step:012d}.zip")]
    return best or _newest(models)


def _newest(models: list[Entry]) -> list[Entry]:
    """Return the newest of the models, of each agent where there are several; models: sorted by step."""
    return list({one.key.rpartition("/")[0]: one for one in models}.values())
