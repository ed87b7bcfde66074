"""`stop`: end a run with its checkpoint kept."""

from __future__ import annotations

from typing import Literal

from ... import layout
from ...store.documents import read_attempts, read_status, request, set_status
from ...store.storage import Storage
from ..aws import inventory
from ..aws.aws_errors import CloudError
from ..aws.client import Cloud
from ..aws.project import Project, tag
from ..console.wait_notices import WaitReporter
from ..context import CommandContext
from ..launch_record import ENDS, owner, read_launch_record
from .leaks import delete_fleet, delete_run_resources, wait_until_ended

POLL_S = 5.0
STOP_WITHIN_S = 600.0

When = Literal["saved", "at_checkpoint", "at_once"]


def stop_run(context: CommandContext, storage: Storage, run: str, *, when: When, wait: bool) -> str:
    """End a run and return its state.

    when: `saved`, the run saves a checkpoint and ends; `at_checkpoint`, it trains until the next one is due, and this
    command does not wait for it; `at_once`, its machine is terminated.
    """
    _, cloud, project = context
    fleet = inventory.fleet_of(cloud, project, run)
    if fleet is None or when == "at_once" or not inventory.machines(cloud, project, run):
        # No machine is there to be asked, or none shall be asked.
        set_status(storage, run, "stopped", only_from={"pending", "running"}, reason=f"stopped by {owner()}")
        return end_run(cloud, project, storage, run)
    launch = _launch_to_ask(storage, run)
    if when == "at_checkpoint":
        request(storage, run, "stop_after_checkpoint", by=owner(), launch=launch)
        cloud.say(
            "  asked   the run trains on to its next checkpoint, then ends; without the option it saves now"
        )
        return "stopping"
    request(storage, run, "stop_now", by=owner(), launch=launch)
    cloud.say("  asked   the run saves a checkpoint and ends; --now takes the machine away instead")
    return _wait_for_end(cloud, project, storage, run) if wait else "stopping"


def _launch_to_ask(storage: Storage, run: str) -> int | None:
    """Return the launch whose machines shall hear a request; None where they run a program that knows no numbers."""
    intent = read_launch_record(storage, run)
    newest = next(reversed(read_attempts(storage, run)), None)
    if intent is None or (
        newest is not None and newest.launch is None and newest.fleet_id == intent.fleet_id
    ):
        return None
    return intent.launch


def end_run(cloud: Cloud, project: Project, storage: Storage, run: str) -> str:
    """Delete a run's fleets and traces, wait for its machines' end, and return the run's state."""
    for fleet in inventory.fleets(cloud, project):
        if tag(fleet, layout.TAG_RUN) == run:
            delete_fleet(cloud, fleet["FleetId"])
            cloud.say(f"  gone    fleet {fleet['FleetId']}")
    machines = [one["InstanceId"] for one in inventory.machines(cloud, project, run)]
    if machines:
        cloud.call("ec2", "terminate_instances", InstanceIds=machines)
        wait_until_ended(cloud, project, run)
    delete_run_resources(cloud, project, run)
    status = read_status(storage, run)
    return status.state if status else "stopped"


def _wait_for_end(cloud: Cloud, project: Project, storage: Storage, run: str) -> str:
    reporter = WaitReporter(cloud)
    while True:
        status = read_status(storage, run)
        if status is not None and status.state in ENDS:
            return end_run(cloud, project, storage, run)
        if reporter.waited_s > STOP_WITHIN_S:
            raise CloudError(
                f"run {run} has not ended {STOP_WITHIN_S / 60:.0f} minutes after it was asked to",
                next_step=f"Take its machine away; its last checkpoint stays: ./launch.py stop {run} --now",
            )
        if not inventory.machines(cloud, project, run):
            # It was interrupted meanwhile. The next machine would only read the request and end: do not pay for it.
            cloud.say("  its machine is gone: the run ends with the last checkpoint that it saved")
            set_status(
                storage, run, "stopped", only_from={"pending", "running"}, reason=f"stopped by {owner()}"
            )
            return end_run(cloud, project, storage, run)
        state = status.state if status else "unknown"
        reporter.explain(f"  waiting for the last checkpoint of {run}; it is {state}")
        cloud.clock.sleep(POLL_S)
