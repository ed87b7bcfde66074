"""The steps of `up` for the bucket: create it, or use someone else's for our runs and change nothing of theirs."""

from __future__ import annotations

import functools

from ...errors import UsageError
from ..aws import bucket, bucket_notes, bucket_settings, inventory, project_resources
from ..aws.aws_errors import AlreadyExists, CloudError
from ..aws.bucket_settings import Change
from ..aws.client import Cloud
from ..aws.project import Project
from .steps import SetupStep, refused


def steps(cloud: Cloud, scope: Project, *, use_existing: bool) -> list[SetupStep]:
    """Return the steps for the bucket; reads only.

    use_existing: the user has said that a bucket that is not tagged as ours may be used.
    """
    if not inventory.bucket_exists(cloud, scope):
        return _new(cloud, scope)
    accelerate = cloud.aws.s3_transfer_acceleration
    found = bucket.read(cloud, scope)
    use = bucket.use_of(scope, found.tags)
    why_not = bucket_notes.refusal(scope, found, use, accelerate=accelerate, allowed=use_existing)
    if why_not is None and use == "unmarked":
        why_not = _keys_in_the_way(cloud, scope)
    notes = () if use == "created" else tuple(bucket_notes.notes(scope, found))
    what, request = f"bucket {scope.bucket}", project_resources.create_bucket(scope)
    first = (
        SetupStep(what, "keep", request, _nothing, notes=notes)
        if why_not is None
        else refused(what, request, why_not)._replace(notes=notes)
    )
    if use == "other":
        return [first]
    settings = bucket_settings.changes(scope, found, use, accelerate=accelerate)
    return [first, *(_step(cloud, scope, change) for change in settings)]


def missing(cloud: Cloud, scope: Project) -> list[str]:
    """Return, in words, that there is no bucket, or none that is tagged as the project's; empty where there is one."""
    if not inventory.bucket_exists(cloud, scope):
        return [f"bucket {scope.bucket}"]
    if bucket.use_of(scope, bucket.read_tags(cloud, scope)) in {"created", "shared"}:
        return []
    return [f"the tag of the project on bucket {scope.bucket}"]


def _new(cloud: Cloud, scope: Project) -> list[SetupStep]:
    request = project_resources.create_bucket(scope)
    settings = project_resources.bucket_settings(scope, accelerate=cloud.aws.s3_transfer_acceleration)
    return [
        SetupStep(f"bucket {scope.bucket}", "make", request, functools.partial(_create, cloud, scope)),
        *(
            SetupStep(_name(operation), "make", setting, functools.partial(_set, cloud, operation, setting))
            for operation, setting in settings.items()
        ),
    ]


def _step(cloud: Cloud, scope: Project, change: Change) -> SetupStep:
    what = _name(change.operation)
    if not change.request:
        return SetupStep(what, "keep", {"Bucket": scope.bucket}, _nothing)
    apply = functools.partial(_set, cloud, change.operation, change.request)
    return SetupStep(what, "update", change.request, apply, change.before, change.after)


def _name(operation: str) -> str:
    return f"bucket's {operation.removeprefix('put_').removeprefix('bucket_').replace('_', ' ')}"


def _set(cloud: Cloud, operation: str, setting: dict[str, object]) -> None:
    cloud.call("s3", operation, **project_resources.sent(setting))


def _create(cloud: Cloud, scope: Project) -> None:
    """Create the bucket with its tags; UsageError where the name belongs to someone else, or was taken meanwhile."""
    request = project_resources.create_bucket(scope)
    try:
        cloud.call("s3", "create_bucket", **request)
    except (
        AlreadyExists
    ):  # by a request whose reply was lost, or by someone else in the account since `up` looked
        if bucket.use_of(scope, bucket.read_tags(cloud, scope)) != "created":
            raise UsageError(
                f"bucket {scope.bucket} was made by somebody else meanwhile", next_step="Look: ./launch.py up"
            ) from None
    except CloudError as error:
        if error.code == "BucketAlreadyExists":
            raise UsageError(
                f"the bucket name {request['Bucket']} is taken by somebody else",
                next_step="Choose another aws.s3_bucket_name; bucket names are shared by the whole world.",
            ) from error
        raise


def _keys_in_the_way(cloud: Cloud, scope: Project) -> UsageError | None:
    keys = bucket.strangers(cloud, scope)
    return bucket_notes.keys_in_the_way(scope, keys) if keys else None


def _nothing() -> None:
    """Do nothing."""
