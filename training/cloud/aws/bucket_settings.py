"""The settings that `up` puts on the bucket and `down` removes, next to those that someone else has made. Pure.

A bucket that `up` made gets all of them. In a bucket of someone else three things are added and nothing is changed: a
lifecycle rule for each of our prefixes, a statement of the bucket policy for our prefixes, one tag.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from ... import layout
from . import iam_bucket, project_resources
from .bucket import Document, Found, Use
from .project import Project

# Storage classes whose objects cannot be read until someone restores them.
ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}


class Change(NamedTuple):
    """One setting: as it is, as it will be, and the request that makes it so; without a request it stays."""

    what: str
    operation: str
    request: Document
    before: str
    after: str


def changes(project: Project, found: Found, use: Use, *, accelerate: bool) -> list[Change]:
    """Return each setting of a bucket that exists, with what `up` does about it; our tag comes first."""
    wanted = project_resources.bucket_settings(project, accelerate=accelerate, shared=use != "created")
    plans = {
        "put_bucket_tagging": _tagging,
        "put_bucket_lifecycle_configuration": _lifecycle,
        "put_bucket_policy": _policy,
        "put_public_access_block": _public_access,
        "put_bucket_ownership_controls": _ownership,
        "put_bucket_versioning": _versioning,
        "put_bucket_encryption": _encryption,
        "put_bucket_accelerate_configuration": _acceleration,
    }
    return [
        plan(found, operation, wanted[operation]) for operation, plan in plans.items() if operation in wanted
    ]


def without_ours(project: Project, found: Found) -> list[Change]:
    """Return the changes that take our rules, our statement and our tag away, and leave all else; our tag goes last."""
    name = {"Bucket": project.bucket}
    ids = {rule["ID"] for rule in project_resources.lifecycle(project)["Rules"]}
    rules = [rule for rule in found.lifecycle.get("Rules", ()) if rule.get("ID") not in ids]
    statements = [one for one in _statements(found.policy) if one.get("Sid") != iam_bucket.TLS_SID]
    tags = {key: value for key, value in found.tags.items() if key != layout.TAG_BUCKET}
    changed = []
    if len(rules) < len(found.lifecycle.get("Rules", ())):
        left = {**found.lifecycle, "Rules": rules}
        request = _lifecycle_request(name, left) if rules else name
        operation = "put_bucket_lifecycle_configuration" if rules else "delete_bucket_lifecycle"
        changed.append(Change("lifecycle", operation, request, _of_rules(found.lifecycle), _of_rules(left)))
    if len(statements) < len(_statements(found.policy)):
        left = {**found.policy, "Statement": statements}
        request = {**name, "Policy": left} if statements else name
        operation = "put_bucket_policy" if statements else "delete_bucket_policy"
        changed.append(Change("policy", operation, request, _of_policy(found.policy), _of_policy(left)))
    if len(tags) < len(found.tags):
        request = {**name, "Tagging": {"TagSet": _tag_set(tags)}} if tags else name
        operation = "put_bucket_tagging" if tags else "delete_bucket_tagging"
        changed.append(Change("tagging", operation, request, _of_tags(found.tags), _of_tags(tags)))
    return changed


# --- what is merged: ours is added, the rest stays ---
def _tagging(found: Found, operation: str, wanted: Document) -> Change:
    ours = {pair["Key"]: pair["Value"] for pair in wanted["Tagging"]["TagSet"]}
    tags = {**found.tags, **ours}
    request = {**wanted, "Tagging": {"TagSet": _tag_set(tags)}} if tags != found.tags else {}
    return Change("tagging", operation, request, _of_tags(found.tags), _of_tags(tags))


def _lifecycle(found: Found, operation: str, wanted: Document) -> Change:
    ours = wanted["LifecycleConfiguration"]["Rules"]
    rules = found.lifecycle.get("Rules", [])
    theirs = [rule for rule in rules if rule.get("ID") not in {one["ID"] for one in ours}]
    before = _of_rules(found.lifecycle)
    if all(any(contains(rule, one) for rule in rules) for one in ours) or all(
        any(contains(rule, _older_form(one)) for rule in rules) for one in ours
    ):
        return Change("lifecycle", operation, {}, before, before)
    merged = {**found.lifecycle, "Rules": _together(theirs, ours)}
    rewritten = not all(rule in merged["Rules"] for rule in theirs)
    how = " (all with Filter, as S3 asks for where prefixes overlap)" if rewritten else ""
    request = _lifecycle_request({"Bucket": wanted["Bucket"]}, merged)
    return Change("lifecycle", operation, request, before, _of_rules(merged) + how)


def _together(theirs: list[Document], ours: list[Document]) -> list[Document]:
    """Return all rules in one form: S3 takes rules with a Filter, or of the older form with a Prefix, never both.

    Ours are written as theirs are. Only in the older form S3 refuses prefixes that overlap in the same action; theirs
    are then written with a Filter, which means the same.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-filters.html
    """
    if not any("Prefix" in rule for rule in theirs):
        return [*copy.deepcopy(theirs), *ours]
    if any(_collide(rule, one) for rule in theirs for one in ours):
        return [*(_newer_form(rule) for rule in theirs), *ours]
    return [*copy.deepcopy(theirs), *(_older_form(rule) for rule in ours)]


def _collide(theirs: Document, ours: Document) -> bool:
    one, other = prefix_of(theirs), prefix_of(ours)
    within = one.startswith(other) or other.startswith(one)
    return within and bool(theirs.keys() & ours.keys() - {"ID", "Status", "Filter", "Prefix"})


def _policy(found: Found, operation: str, wanted: Document) -> Change:
    (ours,) = wanted["Policy"]["Statement"]
    statements = _statements(found.policy)
    theirs = [one for one in statements if one.get("Sid") != ours["Sid"]]
    there = any(contains(one, ours) for one in statements) or any(_covers(one, ours) for one in theirs)
    merged = found.policy if there else {**(found.policy or wanted["Policy"]), "Statement": [*theirs, ours]}
    request = {} if there else {**wanted, "Policy": merged}
    return Change("policy", operation, request, _of_policy(found.policy), _of_policy(merged))


# --- what is set on a bucket that `up` made, unless it is as strict already ---
def _public_access(found: Found, operation: str, wanted: Document) -> Change:
    config = wanted["PublicAccessBlockConfiguration"]
    return _whole(
        "public access block", operation, wanted, contains(found.public_access, config), found.public_access
    )


def _ownership(found: Found, operation: str, wanted: Document) -> Change:
    config = wanted["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
    return Change(
        "ownership controls",
        operation,
        {} if found.ownership == config else wanted,
        found.ownership or "none",
        config,
    )


def _versioning(found: Found, operation: str, wanted: Document) -> Change:
    status = found.versioning.get("Status", "")
    return Change(
        "versioning", operation, {} if status == "Enabled" else wanted, status or "never on", "Enabled"
    )


def _encryption(found: Found, operation: str, wanted: Document) -> Change:
    rule = wanted["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    algorithm = found.encryption.get("SSEAlgorithm", "")
    strong = algorithm.startswith("aws:kms") or algorithm == rule["SSEAlgorithm"]
    after = of_encryption(found.encryption if strong else rule)
    return Change("encryption", operation, {} if strong else wanted, of_encryption(found.encryption), after)


def _acceleration(found: Found, operation: str, wanted: Document) -> Change:
    on = found.acceleration == "Enabled"
    return Change(
        "acceleration", operation, {} if on else wanted, found.acceleration or "never on", "Enabled"
    )


def _whole(what: str, operation: str, wanted: Document, there: bool, before: Document) -> Change:  # noqa: FBT001 - a name would say no more
    (after,) = (value for key, value in wanted.items() if key != "Bucket")
    return Change(what, operation, {} if there else wanted, of_switches(before), of_switches(after))


# --- for people ---
def of_encryption(encryption: Document) -> str:
    """Return a default encryption in words."""
    algorithm = encryption.get("SSEAlgorithm", "none")
    key = encryption.get("KMSMasterKeyID", "")
    bucket_key = ", bucket key on" if encryption.get("BucketKeyEnabled") else ""
    return f"{algorithm}{f' with key {key}' if key else ''}{bucket_key}"


def of_switches(switches: Document) -> str:
    """Return a public access block in words."""
    on = sorted(key for key, value in switches.items() if value is True)
    return ", ".join(on) or "none"


def _of_rules(lifecycle: Document) -> str:
    rules = [f"{rule.get('ID', 'without ID')} ({of_rule(rule)})" for rule in lifecycle.get("Rules", ())]
    return "; ".join(rules) or "no rule"


def of_rule(rule: Document) -> str:
    """Return what a lifecycle rule does, and to what, in words."""
    parts = []
    expiration = rule.get("Expiration", {})
    if expiration.get("Days"):
        parts.append(f"deletes after {expiration['Days']} days")
    if expiration.get("Date"):
        parts.append(f"deletes on {str(expiration['Date'])[:10]}")
    parts += [
        f"moves to {one.get('StorageClass')} after {one.get('Days', one.get('Date'))} days"
        for one in rule.get("Transitions", ())
    ]
    if rule.get("NoncurrentVersionExpiration"):
        parts.append(f"old versions {rule['NoncurrentVersionExpiration'].get('NoncurrentDays', '?')} days")
    if rule.get("AbortIncompleteMultipartUpload"):
        parts.append(
            f"broken uploads {rule['AbortIncompleteMultipartUpload'].get('DaysAfterInitiation', '?')} days"
        )
    off = "" if rule.get("Status") == "Enabled" else "off, "
    return f"{off}{prefix_of(rule) or 'all objects'}: {', '.join(parts) or 'other actions'}"


def _of_policy(policy: Document) -> str:
    names = [str(one.get("Sid") or f"{one.get('Effect')} without a Sid") for one in _statements(policy)]
    return ", ".join(names) or "no statement"


def _of_tags(tags: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items())) or "no tag"


# --- parts ---
def prefix_of(rule: Document) -> str:
    """Return the prefix that a rule of a lifecycle or a replication is limited to, empty for none."""
    within = rule.get("Filter") or {}
    return str(rule.get("Prefix") or within.get("Prefix") or (within.get("And") or {}).get("Prefix") or "")


def contains(found: object, wanted: object) -> bool:
    """Tell whether an answer has the wanted settings; it may have more, and lists in any order."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and contains(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and all(any(contains(have, one) for have in found) for one in wanted)
    return found == wanted


def _covers(theirs: Document, ours: Document) -> bool:
    """Tell whether someone else's statement refuses plain http for all resources that ours names."""
    resources = theirs.get("Resource", [])
    resources = [resources] if isinstance(resources, str) else resources
    bucket = ours["Resource"][0].partition("/")[0]
    same = all(theirs.get(key) in (ours[key], [ours[key]]) for key in ("Effect", "Action"))
    everybody = theirs.get("Principal") in ("*", {"AWS": "*"})
    return same and everybody and theirs.get("Condition") == ours["Condition"] and f"{bucket}/*" in resources


def _statements(policy: Document) -> list[Document]:
    found: Any = policy.get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def _newer_form(rule: Document) -> Document:
    return {
        **{key: value for key, value in rule.items() if key != "Prefix"},
        "Filter": {"Prefix": prefix_of(rule)},
    }


def _older_form(rule: Document) -> Document:
    return {**{key: value for key, value in rule.items() if key != "Filter"}, "Prefix": prefix_of(rule)}


def _lifecycle_request(name: Document, lifecycle: Document) -> Document:
    request = {**name, "LifecycleConfiguration": {"Rules": lifecycle["Rules"]}}
    smallest = lifecycle.get("TransitionDefaultMinimumObjectSize")  # S3 sets it back where it is not sent
    return {**request, "TransitionDefaultMinimumObjectSize": smallest} if smallest else request


def _tag_set(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
