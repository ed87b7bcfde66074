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


def steps(cloud: Cloud, project: Project, *, use_existing: bool) -> list[SetupStep]:
    """Return the steps for the bucket; reads only.

    use_existing: the user has said that a bucket that is not tagged as ours may be used.
    """
    if not inventory.bucket_exists(cloud, project):
        return _new(cloud, project)
    accelerate = cloud.aws.s3_transfer_acceleration
    found = bucket.read(cloud, project)
    use = bucket.use_of(project, found.tags)
    why_not = bucket_notes.refusal(project, found, use, accelerate=accelerate, allowed=use_existing)
    if why_not is None and use == "unmarked":
        why_not = _keys_in_the_way(cloud, project)
    notes = () if use == "created" else tuple(bucket_notes.notes(project, found))
    what, request = f"bucket {project.bucket}", project_resources.create_bucket(project)
    first = (
        SetupStep(what, "keep", request, _nothing, notes=notes)
        if why_not is None
        else refused(what, request, why_not)._replace(notes=notes)
    )
    if use == "other":
        return [first]
    settings = bucket_settings.changes(project, found, use, accelerate=accelerate)
    return [first, *(_step(cloud, project, change) for change in settings)]


def missing(cloud: Cloud, project: Project) -> list[str]:
    """Return, in words, that there is no bucket, or none that is tagged as the project's; empty where there is one."""
    if not inventory.bucket_exists(cloud, project):
        return [f"bucket {project.bucket}"]
    if bucket.use_of(project, bucket.read_tags(cloud, project)) in {"created", "shared"}:
        return []
    return [f"the tag of the project on bucket {project.bucket}"]


def _new(cloud: Cloud, project: Project) -> list[SetupStep]:
    request = project_resources.create_bucket(project)
    settings = project_resources.bucket_settings(project, accelerate=cloud.aws.s3_transfer_acceleration)
    return [
        SetupStep(f"bucket {project.bucket}", "make", request, functools.partial(_create, cloud, project)),
        *(
            SetupStep(_name(operation), "make", setting, functools.partial(_set, cloud, operation, setting))
            for operation, setting in settings.items()
        ),
    ]


def _step(cloud: Cloud, project: Project, change: Change) -> SetupStep:
    what = _name(change.operation)
    if not change.request:
        return SetupStep(what, "keep", {"Bucket": project.bucket}, _nothing)
    apply = functools.partial(_set, cloud, change.operation, change.request)
    return SetupStep(what, "update", change.request, apply, change.before, change.after)


def _name(operation: str) -> str:
    return f"bucket's {operation.removeprefix('put_').removeprefix('bucket_').replace('_', ' ')}"


def _set(cloud: Cloud, operation: str, setting: dict[str, object]) -> None:
    cloud.call("s3", operation, **project_resources.sent(setting))


def _create(cloud: Cloud, project: Project) -> None:
    """Create the bucket with its tags; UsageError where the name belongs to someone else, or was taken meanwhile."""
    request = project_resources.create_bucket(project)
    try:
        cloud.call("s3", "create_bucket", **request)
    except (
        AlreadyExists
    ):  # by a request whose reply was lost, or by someone else in the account since `up` looked
        if bucket.use_of(project, bucket.read_tags(cloud, project)) != "created":
            raise UsageError(
                f"bucket {project.bucket} was made by somebody else meanwhile",
                next_step="Look: ./launch.py up",
            ) from None
    except CloudError as error:
        if error.code == "BucketAlreadyExists":
            raise UsageError(
                f"the bucket name {request['Bucket']} is taken by somebody else",
                next_step="Choose another aws.s3_bucket_name; bucket names are shared by the whole world.",
            ) from error
        raise


def _keys_in_the_way(cloud: Cloud, project: Project) -> UsageError | None:
    keys = bucket.strangers(cloud, project)
    return bucket_notes.keys_in_the_way(project, keys) if keys else None


def _nothing() -> None:
    """Do nothing."""
