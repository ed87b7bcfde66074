"""Cleanup: a run's fleet, its traces, leaks of the project. A resource that is gone already is no error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ... import layout
from ...store.documents import read_attempts, read_status
from ...store.storage import Storage
from ..aws import inventory
from ..aws.aws_errors import AccessDenied, CloudError, ResourceNotFound
from ..aws.client import Cloud
from ..aws.ownership import as_mapping, is_owned
from ..aws.project import Project, tag
from ..console.wait_notices import WaitReporter
from ..launch_record import ENDS, LaunchRecord, is_here, is_under_way, owner, read_launch_record
from ..watch.lost_machines import MOST_LOST, lost_in_a_row, too_many

WAIT_FOR_END_S = 300.0


class Leak(NamedTuple):
    """Something that is left over: what, why, and the command that ends it."""

    kind: str  # fleet | machine | volume | half-made run | launch template | role | instance profile
    id: str
    run: str
    why: str
    costs: bool

    @property
    def line(self) -> str:
        """Return the finding for people."""
        money = "costs money" if self.costs else "free"
        return (
            f"{self.kind} {self.id}" + (f" of run {self.run}" if self.run else "") + f": {self.why} ({money})"
        )


# --- finding ---
def find_leaks(
    cloud: Cloud, project: Project, storage: Storage | None, *, half_made: bool = True
) -> list[Leak]:
    """Return all of the project's that belongs to no living run.

    storage: None where there is no bucket. half_made: look too for launches in the store that never became a fleet.
    """
    fleets = inventory.fleets(cloud, project)
    why = {fleet["FleetId"]: _why_leaked(cloud, project, storage, fleet) for fleet in fleets}
    living = {tag(fleet, layout.TAG_RUN) for fleet in fleets if why[fleet["FleetId"]] is None}
    with_fleet = {tag(fleet, layout.TAG_RUN) for fleet in fleets}
    half = _half_made(cloud, project, storage, with_fleet) if storage is not None and half_made else []
    young = {one.run for one in half if storage is not None and is_under_way(cloud, storage, one, owner())}
    keep = living | young
    half = [intent for intent in half if intent.run not in young]
    return [
        *(
            Leak("fleet", fleet["FleetId"], tag(fleet, layout.TAG_RUN), reason, costs=True)
            for fleet in fleets
            if (reason := why[fleet["FleetId"]]) is not None
        ),
        *_orphans(cloud, project, living),
        *(
            Leak(
                "half-made run",
                intent.run,
                intent.run,
                f"begun by {intent.by}, never became a fleet",
                costs=False,
            )
            for intent in half
        ),
        *_templates(cloud, project, keep),
        *_identities(cloud, project, keep),
    ]


def _why_leaked(cloud: Cloud, project: Project, storage: Storage | None, fleet: dict[str, Any]) -> str | None:
    run = tag(fleet, layout.TAG_RUN)
    if storage is None:
        return f"there is no bucket {project.bucket}"
    intent = read_launch_record(storage, run) if run else None
    if intent is None:
        return "no run has it"
    if intent.fleet_id and intent.fleet_id != fleet["FleetId"]:
        return f"the run has another, {intent.fleet_id}" + (f" in {intent.region}" if intent.region else "")
    if not intent.fleet_id and not is_under_way(cloud, storage, intent, owner()):
        return "its launch was interrupted before it was written down"
    status = read_status(storage, run)
    if status is not None and status.state in ENDS:
        return f"the run is {status.state}"
    started = {attempt.instance_id for attempt in read_attempts(storage, run)}
    lost = lost_in_a_row(cloud, project, run, fleet["FleetId"], started)
    return too_many(lost) if len(lost) >= MOST_LOST else None


def _half_made(cloud: Cloud, project: Project, storage: Storage, with_fleet: set[str]) -> list[LaunchRecord]:
    found = []
    for run in inventory.run_names(cloud, project):
        intent = read_launch_record(storage, run)
        status = read_status(storage, run)
        ended = status is not None and status.state in ENDS
        if intent is None or not is_here(intent, project):  # a fleet elsewhere cannot be seen from here
            continue
        if not intent.fleet_id and run not in with_fleet and not ended:
            found.append(intent)
    return found


def _orphans(cloud: Cloud, project: Project, living: set[str]) -> list[Leak]:
    """Return machines and volumes that no living fleet's run explains."""
    found = [
        Leak(
            "machine",
            one["InstanceId"],
            tag(one, layout.TAG_RUN),
            f"{one['State']['Name']}, its run has no fleet",
            costs=True,
        )
        for one in inventory.machines(cloud, project)
        if tag(one, layout.TAG_RUN) not in living and one["State"]["Name"] != "shutting-down"
    ]
    return found + [
        Leak("volume", one["VolumeId"], tag(one, layout.TAG_RUN), "attached to nothing", costs=True)
        for one in inventory.volumes(cloud, project)
    ]


def _templates(cloud: Cloud, project: Project, keep: set[str]) -> list[Leak]:
    return [
        Leak(
            "launch template",
            one["LaunchTemplateName"],
            tag(one, layout.TAG_RUN),
            "its run has no fleet",
            costs=False,
        )
        for one in inventory.run_templates(cloud, project)
        if tag(one, layout.TAG_RUN) not in keep
    ]


def _identities(cloud: Cloud, project: Project, keep: set[str]) -> list[Leak]:
    """Return roles and instance profiles of runs that are not kept; those without our tags are not ours."""
    profiles = [
        row["InstanceProfileName"]
        for row in _on_our_path(cloud, project, "list_instance_profiles", "InstanceProfiles")
    ]
    roles = [row["RoleName"] for row in _on_our_path(cloud, project, "list_roles", "Roles")]
    found = [
        *(("instance profile", name, _tags_of(inventory.instance_profile(cloud, name))) for name in profiles),
        *(("role", name, _tags_of(inventory.role(cloud, name))) for name in roles),
    ]
    return [
        Leak(kind, name, tags.get(layout.TAG_RUN, ""), "its run has no fleet", costs=False)
        for kind, name, tags in found
        if is_owned(project, tags) and tags.get(layout.TAG_RUN) not in {None, "", *keep}
    ]


def _on_our_path(cloud: Cloud, project: Project, operation: str, key: str) -> list[dict[str, Any]]:
    """Return what IAM has on the project's path; looked at again here, for what is listed may be deleted next."""
    found = cloud.pages("iam", operation, key, PathPrefix=project.iam_path)
    return [row for row in found if row["Path"] == project.iam_path]


def _tags_of(item: dict[str, Any] | None) -> dict[str, str]:
    return as_mapping((item or {}).get("Tags"))


# --- ending ---
def delete_leak(cloud: Cloud, project: Project, leak: Leak, end_run: Callable[[str], object]) -> None:
    """End one leak; `end_run` marks a half-made run as stopped."""
    if leak.kind == "fleet":
        delete_fleet(cloud, leak.id)
    elif leak.kind == "machine":
        unless_absent(cloud, "ec2", "terminate_instances", InstanceIds=[leak.id])
    elif leak.kind == "volume":
        unless_absent(cloud, "ec2", "delete_volume", VolumeId=leak.id)
    elif leak.kind == "launch template":
        delete_template(cloud, leak.id)
    elif leak.kind == "instance profile":
        delete_profile(cloud, project, leak.id)
    elif leak.kind == "role":
        delete_role(cloud, project, leak.id)
    else:
        end_run(leak.run)


def delete_fleet(cloud: Cloud, fleet_id: str) -> None:
    """Delete a fleet with its machines; a 403 may mean that it is gone, so look before believing it."""
    try:
        reply = cloud.call("ec2", "delete_fleets", FleetIds=[fleet_id], TerminateInstances=True)
    except (ResourceNotFound, AccessDenied) as error:
        if _fleet_lives(cloud, fleet_id):
            raise
        if isinstance(error, AccessDenied):
            cloud.say(f"  {fleet_id} was gone already")
        return
    for failed in reply.get("UnsuccessfulFleetDeletions", ()):
        if _fleet_lives(cloud, fleet_id):
            detail = failed.get("Error", {})
            raise CloudError(
                f"{fleet_id} was not deleted: {detail.get('Code', '')} {detail.get('Message', '')}",
                next_step="Try again: ./launch.py gc --delete",
            )


def _fleet_lives(cloud: Cloud, fleet_id: str) -> bool:
    return any(
        fleet["FleetId"] == fleet_id and fleet["FleetState"] in inventory.LIVE_FLEETS
        for fleet in cloud.pages("ec2", "describe_fleets", "Fleets")
    )


def delete_run_resources(cloud: Cloud, project: Project, run: str) -> None:
    """Remove a run's launch templates, profile and role; its data stays."""
    for template in inventory.run_templates(cloud, project):
        if tag(template, layout.TAG_RUN) == run:
            delete_template(cloud, template["LaunchTemplateName"])
    if project.machine_role:
        return
    name = layout.run_role_name(project.name, project.region, run)
    delete_profile(cloud, project, name, run)
    delete_role(cloud, project, name, run)


def delete_profile(cloud: Cloud, project: Project, name: str, run: str | None = None) -> None:
    """Delete an instance profile, emptied first; one without our tags, and the run's where named, stays."""
    found = inventory.instance_profile(cloud, name)
    if found is None or _stays(cloud, project, f"instance profile {name}", found, run):
        return
    for role in found["Roles"]:
        unless_absent(
            cloud,
            "iam",
            "remove_role_from_instance_profile",
            InstanceProfileName=name,
            RoleName=role["RoleName"],
        )
    unless_absent(cloud, "iam", "delete_instance_profile", InstanceProfileName=name)


def delete_role(cloud: Cloud, project: Project, name: str, run: str | None = None) -> None:
    """Delete a role, its policy detached first; one without our tags, and the run's where named, stays."""
    found = inventory.role(cloud, name)
    if found is None or _stays(cloud, project, f"role {name}", found, run):
        return
    unless_absent(cloud, "iam", "detach_role_policy", RoleName=name, PolicyArn=project.policy_arn)
    unless_absent(cloud, "iam", "delete_role", RoleName=name)


def _stays(cloud: Cloud, project: Project, what: str, found: dict[str, Any], run: str | None) -> bool:
    """Tell whether something is not ours, and say so."""
    if is_owned(project, _tags_of(found), run):
        return False
    cloud.say(f"  left    {what}: its tags say that it is not ours")
    return True


def wait_until_ended(cloud: Cloud, project: Project, run: str | None = None) -> None:
    """Wait until the machines are terminated, saying which are not; CloudError after five minutes."""
    reporter = WaitReporter(cloud)
    while True:
        left = inventory.machines(cloud, project, run)
        if not left:
            return
        names = ", ".join(f"{one['InstanceId']} {one['State']['Name']}" for one in left)
        if reporter.waited_s > WAIT_FOR_END_S:
            raise CloudError(
                f"still there after {WAIT_FOR_END_S:.0f} s: {names}", next_step="Look again: ./launch.py gc"
            )
        reporter.explain(f"  waiting for AWS to terminate {names}; a machine takes about a minute")
        cloud.clock.sleep(3.0)


def unless_absent(cloud: Cloud, service: str, operation: str, **request: Any) -> bool:  # noqa: ANN401 - any request
    """Send a request; False where what it is about is not there."""
    try:
        cloud.call(service, operation, **request)
    except ResourceNotFound:
        return False
    return True


def delete_template(cloud: Cloud, name: str) -> None:
    """Delete a launch template, if it is there."""
    try:
        cloud.call("ec2", "delete_launch_template", LaunchTemplateName=name)
    except ResourceNotFound:
        return
