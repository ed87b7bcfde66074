"""`down --data`: delete our objects from the bucket; delete the bucket if we created it and nothing else is in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from ... import layout
from ..aws import bucket, bucket_notes, bucket_settings, project_resources
from ..aws.aws_errors import FAULTS, THROTTLED, AccessDenied, CloudError, ResourceNotFound
from ..aws.bucket import Content, Document, Use
from ..aws.client import Cloud
from ..aws.project import Project
from ..console.wait_notices import WaitReporter
from .leaks import unless_absent

# Passes over the prefixes: a later one deletes objects written meanwhile, and those S3 was too busy to delete.
PASSES = 4
MOST_NAMED = 10

Refused = dict[tuple[str, str], str]  # key and version → the reason in S3's words


class Removal(NamedTuple):
    """The content of the bucket as `down` finds it, and what `down` does about it."""

    use: Use
    content: Content
    data: bool  # whether the user has asked for the data to go

    @property
    def deletes_objects(self) -> bool:
        """Tell whether our objects are deleted."""
        return self.data and self.use in {"created", "shared"}

    @property
    def deletes_bucket(self) -> bool:
        """Tell whether the bucket is deleted: we created it, and it holds nothing of anyone else."""
        return self.data and self.use == "created" and not self.content.others

    def to_json_dict(self, project: Project) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "deleted_bucket": project.bucket if self.deletes_bucket else None,
            "kept_bucket": None if self.deletes_bucket else project.bucket,
            "deleted_objects": self.content.objects if self.deletes_objects else 0,
            "other_objects": list(self.content.others),
        }


def plan(cloud: Cloud, project: Project, *, data: bool) -> Removal:
    """Look at the bucket, which exists; one that is not ours is not counted."""
    use = bucket.use_of(project, bucket.read_tags(cloud, project))
    ours = use in {"created", "shared"}
    found = bucket.content(cloud, project) if ours else Content(0, 0, 0, ())
    return Removal(use, found, data)


def describe(cloud: Cloud, project: Project, removal: Removal) -> list[str]:
    """Return what happens to the bucket, for people."""
    use, content, data = removal
    if use not in {"created", "shared"}:
        return [f"  left    bucket {project.bucket}: it is not tagged as the project's"]
    size = f"{content.objects} objects, {content.size / 1e9:.3f} GB with old versions"
    if not data:
        more = "it" if use == "created" else "them, and leaves the rest of the bucket"
        return [f"  bucket  {project.bucket}, {size}: stays (--data deletes {more})"]
    lines = [f"  bucket  {project.bucket}, {size}: will be DELETED"]
    if not removal.deletes_bucket:
        where = " and ".join(layout.OWN_PREFIXES)
        lines = [
            f"  bucket  {size} in {where} of {project.bucket}: will be DELETED",
            f"  stays   {_stays(project, removal)}",
        ]
    retention = bucket.read_object_lock(cloud, project).get("Rule", {}).get("DefaultRetention", {})
    if retention:
        lines.append(
            f"  note    Object Lock ({retention.get('Mode')}) keeps each version for "
            f"{bucket_notes.of_retention(retention)}: younger ones cannot be deleted yet"
        )
    return lines


def remove(cloud: Cloud, project: Project, removal: Removal, say: Callable[[str], None]) -> None:
    """Delete what is ours in the bucket, then our settings or the bucket.

    Raises CloudError, with keys and reasons, where S3 refuses to delete something; our settings stay then.
    """
    if not removal.deletes_objects:
        return
    emptied = f"{_empty(cloud, project):,} versions of objects"
    others = bucket.content(cloud, project).others
    if removal.use == "created" and not others:
        unless_absent(cloud, "s3", "delete_bucket", Bucket=project.bucket)
        say(f"  gone    bucket {project.bucket} with {emptied}")
        return
    say(f"  gone    {emptied} in bucket {project.bucket}")
    if removal.use == "shared":
        for change in bucket_settings.without_ours(project, bucket.read(cloud, project)):
            cloud.call("s3", change.operation, **project_resources.sent(change.request))
            say(f"  gone    our part of the {change.what} of bucket {project.bucket}")
    say(f"  stays   {_stays(project, removal._replace(content=removal.content._replace(others=others)))}")


def _stays(project: Project, removal: Removal) -> str:
    others = removal.content.others
    held = f"what else is in it ({', '.join(others)})" if others else "nothing else is in it"
    if removal.use == "shared":
        return f"bucket {project.bucket} and {held}, without our lifecycle rules, policy statement and tag"
    return f"bucket {project.bucket} and {held}; move that, and `down --data` deletes the bucket"


# --- objects ---
def _empty(cloud: Cloud, project: Project) -> int:
    """Delete every version of every object of ours and return how many: a versioned bucket keeps all of them."""
    reporter, refused, gone = WaitReporter(cloud), Refused(), 0
    for number in range(PASSES):
        done, busy = _pass(cloud, project, refused, reporter, gone)
        gone += done
        if not done and not busy:
            break
        if busy:
            cloud.say(f"  S3 did not delete {busy:,} versions yet; asking again")
            cloud.clock.sleep(2.0**number)
    else:
        if busy:
            raise CloudError(
                f"{busy:,} versions of objects in {project.bucket} were not deleted: S3 is busy",
                next_step="Again: ./launch.py down --data",
            )
    for prefix in layout.OWN_PREFIXES:
        for upload in bucket.uploads(cloud, project, prefix):
            if layout.is_own_key(upload["Key"]):
                request = {"Bucket": project.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                unless_absent(cloud, "s3", "abort_multipart_upload", **request)
    if refused:
        raise _refusal(cloud, project, refused)
    return gone


def _pass(
    cloud: Cloud, project: Project, refused: Refused, reporter: WaitReporter, before: int
) -> tuple[int, int]:
    """Go through our prefixes once; return how many versions were deleted, and for how many S3 was too busy."""
    gone = busy = 0
    for prefix in layout.OWN_PREFIXES:
        for page in bucket.versions(cloud, project, prefix):
            reporter.explain(f"  emptying {project.bucket}: {before + gone:,} versions of objects are gone")
            rows = [(row["Key"], row["VersionId"]) for row in page if layout.is_own_key(row["Key"])]
            rows = [row for row in rows if row not in refused]
            if not rows:
                continue
            objects = [{"Key": key, "VersionId": version} for key, version in rows]
            answer = cloud.call(
                "s3", "delete_objects", Bucket=project.bucket, Delete={"Objects": objects, "Quiet": True}
            )
            failed = _failed(rows, answer.get("Errors", ()))
            passing = {row for row, (code, _) in failed.items() if code in THROTTLED | FAULTS}
            refused |= {row: f"{code}: {said}" for row, (code, said) in failed.items() if row not in passing}
            busy += len(passing)
            gone += len(rows) - len(failed)
    return gone, busy


def _failed(
    rows: list[tuple[str, str]], errors: list[Document] | tuple[()]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the rows that S3 did not delete, with code and message; an error without a version is of the whole key."""
    found = {}
    for error in errors:
        for row in rows:
            if row[0] == error["Key"] and error.get("VersionId", row[1]) == row[1]:
                found[row] = (str(error.get("Code", "")), str(error.get("Message", "")))
    return found


# --- what S3 refuses ---
def _refusal(cloud: Cloud, project: Project, refused: Refused) -> CloudError:
    """Return the error that says which versions stay, why, and until when."""
    locked = bool(bucket.read_object_lock(cloud, project))
    named = list(refused.items())[:MOST_NAMED]
    lines = [
        f"  {key}: {(_lock_of(cloud, project, key, version) if locked else '') or said}"
        for (key, version), said in named
    ]
    more = f"\n  and {len(refused) - len(named):,} more" if len(refused) > len(named) else ""
    return CloudError(
        f"{len(refused):,} versions of objects in {project.bucket} cannot be deleted now; all else of ours is gone:\n"
        + "\n".join(lines)
        + more,
        next_step="When their retention has ended or what refuses them is lifted: ./launch.py down --data",
    )


def _lock_of(cloud: Cloud, project: Project, key: str, version: str) -> str:
    """Return what Object Lock says of one version, empty where that cannot be read."""
    request: Document = {"Bucket": project.bucket, "Key": key, "VersionId": version}
    parts = []
    try:
        retention = cloud.call("s3", "get_object_retention", **request)["Retention"]
        until: datetime = retention["RetainUntilDate"]
        parts.append(f"Object Lock ({retention['Mode']}) keeps it until {until:%Y-%m-%d %H:%M} UTC")
    except (ResourceNotFound, AccessDenied):
        pass
    try:
        if cloud.call("s3", "get_object_legal_hold", **request).get("LegalHold", {}).get("Status") == "ON":
            parts.append("a legal hold keeps it until it is lifted")
    except (ResourceNotFound, AccessDenied):
        pass
    return ", ".join(parts)
