"""Settings of an existing bucket that do not fit our runs: some are refused, of others the user is informed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ... import layout
from ...errors import UsageError
from .bucket import Document, Found, Use
from .bucket_settings import (
    ARCHIVES,
    of_encryption,
    of_rule,
    of_switches,
    prefix_of,
)
from .project import Project

# Keys of AWS itself, which every principal of the account may use through S3.
AWS_OWN_KEY = "alias/aws/s3"


def refusal(
    project: Project, found: Found, use: Use, *, accelerate: bool, allowed: bool = False
) -> UsageError | None:
    """Return why the bucket cannot be used as it is; None where it can.

    allowed: the user has said that someone else's bucket may be used.
    """
    if use == "other":
        return UsageError(
            f"bucket {project.bucket} is used by another project: it is tagged "
            f"{layout.TAG_BUCKET}={found.tags[layout.TAG_BUCKET]}",
            next_step="Choose another aws.s3_bucket_name, or leave it out: each project needs a bucket of its own.",
        )
    problem = _key_problem(project, found)
    if problem is not None:
        return problem
    if use != "created" and accelerate and found.acceleration != "Enabled":
        return UsageError(
            f"aws.s3_transfer_acceleration is set, and bucket {project.bucket} has no transfer acceleration",
            next_step="Set aws.s3_transfer_acceleration=false. Or switch it on, for everything in that bucket: "
            f"aws s3api put-bucket-accelerate-configuration --bucket {project.bucket} "
            "--accelerate-configuration Status=Enabled",
        )
    if use == "unmarked" and not allowed:
        return UsageError(
            f"bucket {project.bucket} exists and is not tagged as this project's ({layout.TAG_BUCKET}="
            f"{layout.bucket_mark(project.name, created=True)})",
            next_step="To use it together with its present content, after a look at the changes: "
            "./launch.py up --use-existing-bucket. Or choose another aws.s3_bucket_name.",
        )
    return None


def keys_in_the_way(project: Project, keys: list[str]) -> UsageError:
    """Return the refusal for someone else's objects below our prefixes."""
    return UsageError(
        f"bucket {project.bucket} holds objects below {' or '.join(layout.OWN_PREFIXES)} that are not of this project: "
        f"{', '.join(keys)}",
        next_step="Choose another aws.s3_bucket_name, or move them: runs and code are kept below these prefixes.",
    )


def notes(project: Project, found: Found) -> list[str]:
    """Return what a user should know before runs are kept in someone else's bucket."""
    return [_unchanged(found), *_warnings(project, found)]


def _unchanged(found: Found) -> str:
    versioning, blocked = found.versioning.get("Status", "never on"), of_switches(found.public_access)
    return (
        f"unchanged: encryption {of_encryption(found.encryption)}, versioning {versioning}, "
        f"public access block {blocked}, ownership {found.ownership or 'none'}"
    )


def _warnings(project: Project, found: Found) -> Iterator[str]:
    for rule in found.lifecycle.get("Rules", ()):
        harm = _harm(rule)
        if harm:
            name = rule.get("ID", "without ID")
            yield f"WARNING: lifecycle rule {name} ({of_rule(rule)}) {harm}: limit it to other prefixes"
    if found.versioning.get("Status") != "Enabled":
        yield "versioning is off: a run that is overwritten or deleted by mistake does not come back"
    if not all(found.public_access.get(key) for key in ("BlockPublicPolicy", "RestrictPublicBuckets")):
        yield "the bucket does not block public access: see that its policy makes nothing public"
    retention = found.object_lock.get("Rule", {}).get("DefaultRetention", {})
    if retention:
        yield f"Object Lock keeps each version {of_retention(retention)}: `down --data` cannot delete runs before"
    for rule in found.replication.get("Rules", ()):
        if rule.get("Status") == "Enabled" and _overlaps(prefix_of(rule)):
            where = rule.get("Destination", {}).get("Bucket", "another bucket")
            yield f"runs are replicated to {where}: those copies stay when runs are deleted"
    if project.bucket_key and not found.encryption.get("SSEAlgorithm", "").startswith("aws:kms"):
        yield f"aws.s3_kms_key_arn is set, but the bucket encrypts with {of_encryption(found.encryption)}"


def of_retention(retention: Document) -> str:
    """Return a default retention in words."""
    years, days = retention.get("Years"), retention.get("Days")
    return f"{years} years" if years else f"{days} days"


def _harm(rule: Document) -> str:
    """Return what a rule does to our live objects, empty for nothing: they carry no tags."""
    within = rule.get("Filter") or {}
    by_tag = within.get("Tag") or (within.get("And") or {}).get("Tags")
    if rule.get("Status") != "Enabled" or by_tag or not _overlaps(prefix_of(rule)):
        return ""
    expiration = rule.get("Expiration") or {}
    if expiration.get("Days") or expiration.get("Date"):
        return "deletes runs, also while they train"
    if any(one.get("StorageClass") in ARCHIVES for one in rule.get("Transitions", ())):
        return "archives runs: they can then neither be continued nor fetched"
    return ""


def _overlaps(prefix: str) -> bool:
    return any(own.startswith(prefix) or prefix.startswith(own) for own in layout.OWN_PREFIXES)


def _key_problem(project: Project, found: Found) -> UsageError | None:
    """Return why runs may not use the key of the bucket, None where they may."""
    key = str(found.encryption.get("KMSMasterKeyID", ""))
    if not key or key.endswith(AWS_OWN_KEY):
        return None
    by_alias = "alias/" in key
    if project.bucket_key and (
        by_alias or project.bucket_key == key or project.bucket_key.endswith(f"/{key}")
    ):
        return None
    known = key if key.startswith("arn:") and not by_alias else ""
    ask = "" if known else f" (aws kms describe-key --key-id {key} tells it)"
    return UsageError(
        f"bucket {project.bucket} encrypts with the KMS key {key}, and aws.s3_kms_key_arn is "
        f"{project.bucket_key or 'not set'}: machines could not write to it",
        next_step=f"Set aws.s3_kms_key_arn={known or 'the ARN of that key'}{ask}: people and machines of the "
        "project are then allowed its use through S3. Or choose another aws.s3_bucket_name.",
    )
