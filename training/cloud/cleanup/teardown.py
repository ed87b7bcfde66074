"""`down`: remove everything that the project has created; its bucket only on request."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from ... import layout
from ...store.documents import read_status, set_status
from ...store.storage import Storage
from ..aws import inventory
from ..aws.aws_errors import ResourceNotFound
from ..aws.client import Cloud
from ..aws.ownership import as_mapping, is_owned
from ..aws.project import Project
from ..launch_record import ENDS, check_place, is_here, owner, read_launch_record
from . import bucket_removal
from .bucket_removal import Removal
from .leaks import (
    delete_fleet,
    delete_leak,
    find_leaks,
    unless_absent,
    wait_until_ended,
)


class Resource(NamedTuple):
    """A resource of the project that outlasts runs: its kind, its tags, and the function that removes it."""

    what: str
    tags: dict[str, str]
    remove: Callable[[], object]


def what_goes(cloud: Cloud, project: Project) -> list[str]:
    """Return the things that `down` will remove besides the bucket, in its order, for people; change nothing."""
    lost = ": its machine will be terminated without a last checkpoint"
    return [
        *(
            f"{one.kind} {one.id}{lost if one.kind == 'fleet' else ''}"
            for one in find_leaks(cloud, project, None)
        ),
        *(one.what for one in _resources(cloud, project) if is_owned(project, one.tags)),
    ]


def what_is_not_ours(cloud: Cloud, project: Project) -> list[str]:
    """Return what has a name of the project but not its tags, for people: `down` leaves it as it is."""
    return [one.what for one in _resources(cloud, project) if not is_owned(project, one.tags)]


def down(
    cloud: Cloud,
    project: Project,
    storage: Storage | None,
    removal: Removal | None,
    say: Callable[[str], None],
) -> None:
    """Remove all that the project has made. storage, removal: None where there is no bucket."""
    for fleet in inventory.fleets(cloud, project):
        delete_fleet(cloud, fleet["FleetId"])
        say(f"  gone    fleet {fleet['FleetId']}")
    for one in inventory.machines(cloud, project):
        unless_absent(cloud, "ec2", "terminate_instances", InstanceIds=[one["InstanceId"]])
    wait_until_ended(cloud, project)
    for leak in find_leaks(cloud, project, None):
        delete_leak(cloud, project, leak, lambda _: None)
        say(f"  gone    {leak.kind} {leak.id}")
    if storage is not None and (removal is None or not removal.deletes_objects):
        _mark_stopped(cloud, project, storage)
    for resource in _resources(cloud, project):
        if is_owned(project, resource.tags):
            resource.remove()
            say(f"  gone    {resource.what}")
    if removal is not None:
        bucket_removal.remove(cloud, project, removal, say)


def _resources(cloud: Cloud, project: Project) -> list[Resource]:
    """Return the resources with a name of the project, made by anyone: security groups, policy, log group."""
    found = [_group(cloud, one) for one in _groups(cloud, project)]
    policy = inventory.instance_policy(cloud, project)
    if policy is not None:
        what = f"policy {policy['PolicyName']}"
        found.append(Resource(what, as_mapping(policy.get("Tags")), lambda: _delete_policy(cloud, project)))
    logs = inventory.log_group(cloud, project)
    if logs is not None:
        name = logs["logGroupName"]
        delete = functools.partial(unless_absent, cloud, "logs", "delete_log_group", logGroupName=name)
        found.append(Resource(f"log group {name}", inventory.log_group_tags(cloud, logs), delete))
    return found


def _group(cloud: Cloud, group: dict[str, Any]) -> Resource:
    delete = functools.partial(unless_absent, cloud, "ec2", "delete_security_group", GroupId=group["GroupId"])
    what = f"security group {group['GroupId']} {group['GroupName']}"
    return Resource(what, as_mapping(group.get("Tags")), delete)


def _groups(cloud: Cloud, project: Project) -> list[dict[str, Any]]:
    """Return the security groups of the project's name in all networks."""
    filters = [{"Name": "group-name", "Values": [layout.security_group_name(project.name)]}]
    return list(cloud.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=filters))


def _delete_policy(cloud: Cloud, project: Project) -> None:
    """Delete the machines' policy with all its versions."""
    try:
        versions = list(cloud.pages("iam", "list_policy_versions", "Versions", PolicyArn=project.policy_arn))
    except ResourceNotFound:
        return
    for version in versions:
        if not version["IsDefaultVersion"]:
            unless_absent(
                cloud,
                "iam",
                "delete_policy_version",
                PolicyArn=project.policy_arn,
                VersionId=version["VersionId"],
            )
    unless_absent(cloud, "iam", "delete_policy", PolicyArn=project.policy_arn)


def _mark_stopped(cloud: Cloud, project: Project, storage: Storage) -> None:
    """Mark the runs that had a fleet as stopped; runs that train elsewhere with this store continue."""
    for run in inventory.run_names(cloud, project):
        intent = read_launch_record(storage, run)
        if intent is not None and is_here(intent, project):
            reason = f"down by {owner()}"
            set_status(storage, run, "stopped", only_from={"pending", "running"}, reason=reason)


def check_data_unused(cloud: Cloud, project: Project, storage: Storage) -> None:
    """Raise UsageError where a run that has not ended trains elsewhere with the data that would be deleted."""
    for run in inventory.run_names(cloud, project):
        intent, status = read_launch_record(storage, run), read_status(storage, run)
        ended = status is not None and status.state in ENDS
        if intent is not None and not ended and cloud.clock.now() < intent.valid_until:
            check_place(intent, project)
