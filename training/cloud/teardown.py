"""`down`: all that the project has made goes; its bucket only where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from training import layout
from training.cloud import look
from training.cloud.api import Cloud
from training.cloud.ending import delete_fleet, end_leak, find_leaks, unless_absent, wait_until_ended
from training.cloud.intent import ENDS, check_place, is_here, read_intent
from training.cloud.launching import owner
from training.cloud.patience import Patience
from training.cloud.problems import Absent, CloudError
from training.cloud.scope import Scope, tag
from training.store.documents import read_status, set_status
from training.store.storage import Storage


def what_goes(cloud: Cloud, scope: Scope) -> list[str]:
    """Return what `down` will remove beside the bucket, in its order, for people; reads only."""
    leaks = find_leaks(cloud, scope, None)
    group, policy = (
        layout.security_group_name(scope.project),
        layout.instance_policy_name(scope.project, scope.region),
    )
    name = layout.log_group_name(scope.project)
    logs = cloud.call("logs", "describe_log_groups", logGroupNamePrefix=name)["logGroups"]
    lost = ": its machine will be terminated without a last checkpoint"
    return [
        *(f"{one.kind} {one.id}{lost if one.kind == 'fleet' else ''}" for one in leaks),
        *(f"security group {one['GroupId']} {group}" for one in _groups(cloud, scope)),
        *(f"policy {policy}" for _ in _policy_versions(cloud, scope)[:1]),
        *(f"log group {name}" for one in logs if one["logGroupName"] == name),
    ]


def down(
    cloud: Cloud, scope: Scope, storage: Storage | None, *, data: bool, say: Callable[[str], None]
) -> None:
    """Remove all that the project has made; with `data`, its bucket and every run in it too."""
    for fleet in look.fleets(cloud, scope):
        delete_fleet(cloud, fleet["FleetId"])
        say(f"  gone    fleet {fleet['FleetId']}")
    for one in look.machines(cloud, scope):
        if tag(one, layout.TAG_RUN):
            unless_absent(cloud, "ec2", "terminate_instances", InstanceIds=[one["InstanceId"]])
    wait_until_ended(cloud, scope)
    for leak in find_leaks(cloud, scope, None):
        end_leak(cloud, scope, leak, lambda _: None)
        say(f"  gone    {leak.kind} {leak.id}")
    if storage is not None and not data:
        _mark_stopped(cloud, scope, storage)
    _delete_groups(cloud, scope, say)
    if _delete_policy(cloud, scope):
        say(f"  gone    policy {layout.instance_policy_name(scope.project, scope.region)}")
    if unless_absent(cloud, "logs", "delete_log_group", logGroupName=layout.log_group_name(scope.project)):
        say(f"  gone    log group {layout.log_group_name(scope.project)}")
    if data and look.bucket_exists(cloud, scope):
        empty_bucket(cloud, scope)
        unless_absent(cloud, "s3", "delete_bucket", Bucket=scope.bucket)
        say(f"  gone    bucket {scope.bucket}")


def _mark_stopped(cloud: Cloud, scope: Scope, storage: Storage) -> None:
    """Write into the runs that had a fleet that they are stopped; what trains elsewhere with this store goes on."""
    for run in look.run_names(cloud, scope):
        intent = read_intent(storage, run)
        if intent is not None and is_here(intent, scope):
            reason = f"down by {owner()}"
            set_status(storage, run, "stopped", only_from={"pending", "running"}, reason=reason)


def check_data_unused(cloud: Cloud, scope: Scope, storage: Storage) -> None:
    """Raise UsageError where a run that has not ended trains elsewhere with the data that would be deleted."""
    for run in look.run_names(cloud, scope):
        intent, status = read_intent(storage, run), read_status(storage, run)
        ended = status is not None and status.state in ENDS
        if intent is not None and not ended and cloud.clock.now() < intent.valid_until:
            check_place(intent, scope)


def bucket_size(cloud: Cloud, scope: Scope) -> tuple[int, int]:
    """Return how many objects the bucket holds, and their bytes."""
    count = size = 0
    patience = Patience(cloud)
    token: dict[str, Any] = {}
    while True:
        patience.explain(f"  counting what is in {scope.bucket}: {count:,} objects so far")
        reply = cloud.call("s3", "list_objects_v2", Bucket=scope.bucket, **token)
        rows = reply.get("Contents", ())
        count, size = count + len(rows), size + sum(row["Size"] for row in rows)
        if not reply.get("IsTruncated"):
            return count, size
        token = {"ContinuationToken": reply["NextContinuationToken"]}


def empty_bucket(cloud: Cloud, scope: Scope) -> None:
    """Delete every version of every object: only so does a versioned bucket become empty."""
    patience, gone = Patience(cloud), 0
    while True:
        patience.explain(f"  emptying {scope.bucket}: {gone:,} versions of objects are gone")
        reply = cloud.call("s3", "list_object_versions", Bucket=scope.bucket, MaxKeys=1000)
        rows = [*reply.get("Versions", ()), *reply.get("DeleteMarkers", ())]
        if not rows:
            break
        objects = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
        answer = cloud.call(
            "s3", "delete_objects", Bucket=scope.bucket, Delete={"Objects": objects, "Quiet": True}
        )
        for failed in answer.get("Errors", ()):
            raise CloudError(
                f"{failed['Key']} was not deleted: {failed['Code']}",
                next_step="Again: ./launch.py down --data",
            )
        gone += len(objects)
    for upload in cloud.call("s3", "list_multipart_uploads", Bucket=scope.bucket).get("Uploads", ()):
        unless_absent(
            cloud,
            "s3",
            "abort_multipart_upload",
            Bucket=scope.bucket,
            Key=upload["Key"],
            UploadId=upload["UploadId"],
        )


def _groups(cloud: Cloud, scope: Scope) -> list[dict[str, Any]]:
    filters = [*scope.filters, {"Name": "group-name", "Values": [layout.security_group_name(scope.project)]}]
    return list(cloud.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=filters))


def _delete_groups(cloud: Cloud, scope: Scope, say: Callable[[str], None]) -> None:
    for group in _groups(cloud, scope):
        unless_absent(cloud, "ec2", "delete_security_group", GroupId=group["GroupId"])
        say(f"  gone    security group {group['GroupId']}")


def _policy_versions(cloud: Cloud, scope: Scope) -> list[dict[str, Any]]:
    """Return the versions of the machines' policy; empty where there is no policy."""
    try:
        return list(cloud.pages("iam", "list_policy_versions", "Versions", PolicyArn=scope.policy_arn))
    except Absent:
        return []


def _delete_policy(cloud: Cloud, scope: Scope) -> bool:
    """Delete the machines' policy with all its versions; tell whether there was one."""
    versions = _policy_versions(cloud, scope)
    for version in versions:
        if not version["IsDefaultVersion"]:
            unless_absent(
                cloud,
                "iam",
                "delete_policy_version",
                PolicyArn=scope.policy_arn,
                VersionId=version["VersionId"],
            )
    if versions:
        unless_absent(cloud, "iam", "delete_policy", PolicyArn=scope.policy_arn)
    return bool(versions)
