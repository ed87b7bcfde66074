"""The project's bucket as AWS describes it: whose it is, what is set on it, and which of its objects are ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from ... import layout
from ..console.wait_notices import WaitReporter
from .aws_errors import ResourceNotFound, Unsupported
from .client import Cloud
from .ownership import as_mapping
from .project import Project

Document = dict[str, Any]
# created: made by `up`. shared: someone else's, used with permission. other: of another project. unmarked: not ours.
Use = Literal["created", "shared", "other", "unmarked"]
PAGE = 1000


class Found(NamedTuple):
    """The settings of a bucket, as S3 returns them; empty where nothing is set, or the store has no such setting."""

    tags: dict[str, str]
    policy: Document
    lifecycle: Document  # Rules, TransitionDefaultMinimumObjectSize
    encryption: Document  # SSEAlgorithm, KMSMasterKeyID, BucketKeyEnabled
    versioning: Document  # Status, MFADelete
    public_access: Document
    ownership: str
    acceleration: str
    object_lock: Document  # ObjectLockEnabled, Rule
    replication: Document  # Role, Rules


class Content(NamedTuple):
    """The content of a bucket: how much is ours, and the first few keys of others."""

    objects: int
    versions: int
    size: int  # bytes, of all versions
    others: tuple[str, ...]


def use_of(project: Project, tags: dict[str, str]) -> Use:
    """Return whose a bucket with these tags is."""
    mark = tags.get(layout.TAG_BUCKET)
    if mark == layout.bucket_mark(project.name, created=True):
        return "created"
    if mark == layout.bucket_mark(project.name, created=False):
        return "shared"
    return "other" if mark else "unmarked"


def read_tags(cloud: Cloud, project: Project) -> dict[str, str]:
    """Return the tags of the bucket; empty where it has none."""
    return as_mapping(_read(cloud, project, "get_bucket_tagging").get("TagSet"))


def read(cloud: Cloud, project: Project) -> Found:
    """Read all that is set on the bucket."""
    policy = _read(cloud, project, "get_bucket_policy").get("Policy")
    rules = _read(cloud, project, "get_bucket_encryption").get("ServerSideEncryptionConfiguration", {})
    rule: Document = next(iter(rules.get("Rules", ())), {})
    ownership = _read(cloud, project, "get_bucket_ownership_controls").get("OwnershipControls", {})
    return Found(
        tags=read_tags(cloud, project),
        policy=json.loads(policy) if policy else {},
        lifecycle=_read(cloud, project, "get_bucket_lifecycle_configuration"),
        encryption={
            **rule.get("ApplyServerSideEncryptionByDefault", {}),
            **({"BucketKeyEnabled": True} if rule.get("BucketKeyEnabled") else {}),
        },
        versioning=_read(cloud, project, "get_bucket_versioning"),
        public_access=_read(cloud, project, "get_public_access_block").get(
            "PublicAccessBlockConfiguration", {}
        ),
        ownership=next((one["ObjectOwnership"] for one in ownership.get("Rules", ())), ""),
        acceleration=_read(cloud, project, "get_bucket_accelerate_configuration").get("Status", ""),
        object_lock=read_object_lock(cloud, project),
        replication=_read(cloud, project, "get_bucket_replication").get("ReplicationConfiguration", {}),
    )


def read_object_lock(cloud: Cloud, project: Project) -> Document:
    """Return the bucket's Object Lock: ObjectLockEnabled, and Rule where a default retention is set."""
    reply = _read(cloud, project, "get_object_lock_configuration")
    return dict(reply.get("ObjectLockConfiguration", {}))


def _read(cloud: Cloud, project: Project, operation: str) -> Document:
    try:
        reply = cloud.call("s3", operation, Bucket=project.bucket)
    except (ResourceNotFound, Unsupported):
        return {}
    return {key: value for key, value in reply.items() if key != "ResponseMetadata"}


# --- objects ---
def versions(cloud: Cloud, project: Project, prefix: str, *, delimiter: str = "") -> Iterator[list[Document]]:
    """Yield the versions and delete markers below a prefix, a page at a time, each with Key, VersionId and Size.

    delimiter: with a slash, folders are yielded as rows of their own, with a Key alone.
    """
    request: Document = {"Bucket": project.bucket, "Prefix": prefix, "MaxKeys": PAGE}
    if delimiter:
        request["Delimiter"] = delimiter
    while True:
        reply = cloud.call("s3", "list_object_versions", **request)
        yield [
            *reply.get("Versions", ()),
            *reply.get("DeleteMarkers", ()),
            *({"Key": row["Prefix"]} for row in reply.get("CommonPrefixes", ())),
        ]
        if not reply.get("IsTruncated"):
            return
        request["KeyMarker"] = reply["NextKeyMarker"]
        request.pop("VersionIdMarker", None)
        if reply.get("NextVersionIdMarker"):
            request["VersionIdMarker"] = reply["NextVersionIdMarker"]


def uploads(cloud: Cloud, project: Project, prefix: str) -> Iterator[Document]:
    """Yield the uploads in parts below a prefix that were never finished, with Key and UploadId."""
    request: Document = {"Bucket": project.bucket, "Prefix": prefix}
    while True:
        reply = cloud.call("s3", "list_multipart_uploads", **request)
        yield from reply.get("Uploads", ())
        if not reply.get("IsTruncated"):
            return
        request |= {"KeyMarker": reply["NextKeyMarker"], "UploadIdMarker": reply["NextUploadIdMarker"]}


def content(cloud: Cloud, project: Project, most_others: int = 5) -> Content:
    """Count what is ours in the bucket, and look for what is not."""
    reporter = WaitReporter(cloud)
    objects = count = size = 0
    others = _outside(cloud, project, most_others)
    for prefix in layout.OWN_PREFIXES:
        for page in versions(cloud, project, prefix):
            reporter.explain(f"  counting what is in {project.bucket}: {count:,} versions of objects so far")
            ours = [row for row in page if layout.is_own_key(row["Key"])]
            others += [row["Key"] for row in page if not layout.is_own_key(row["Key"])]
            count += len(ours)
            objects += sum(bool(row.get("IsLatest")) and "Size" in row for row in ours)
            size += sum(row.get("Size", 0) for row in ours)
    return Content(objects, count, size, tuple(dict.fromkeys(others))[:most_others])


def strangers(cloud: Cloud, project: Project, most: int = 5) -> list[str]:
    """Return the first keys below our prefixes that the project did not write."""
    reporter, found = WaitReporter(cloud), list[str]()
    for prefix in layout.OWN_PREFIXES:
        for page in versions(cloud, project, prefix):
            reporter.explain(f"  looking for what is not ours below {prefix} of {project.bucket}")
            found += [row["Key"] for row in page if not layout.is_own_key(row["Key"])]
            if len(set(found)) >= most:
                break
    return list(dict.fromkeys(found))[:most]


def _outside(cloud: Cloud, project: Project, most: int) -> list[str]:
    """Return the first keys and folders of the bucket outside our prefixes."""
    found: list[str] = []
    for page in versions(cloud, project, "", delimiter="/"):
        found += [row["Key"] for row in page if row["Key"] not in layout.OWN_PREFIXES]
        if len(set(found)) >= most:
            break
    return list(dict.fromkeys(found))[:most]
