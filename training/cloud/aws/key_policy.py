"""The rights of a person to use the KMS keys of an organisation, where the settings name some. Pure.

A document of its own: together with `daily_policy` it would not fit into one managed policy.
"""

from __future__ import annotations

from . import iam_bucket
from .iam_statements import Document, allow, policy
from .project import Project


def is_needed(project: Project) -> bool:
    """Tell whether the settings name a key."""
    return bool(project.kms_key or project.bucket_key)


def key_policy(project: Project) -> Document:
    """Return what a person needs, in addition to `daily_policy`, where a disk or the bucket has a key of its own."""
    return policy([*([_use_disk_key(project)] if project.kms_key else []), *iam_bucket.use_key(project)])


def _use_disk_key(project: Project) -> Document:
    """Let EC2 encrypt a disk with the key of the settings, and with it alone.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
    """
    keys, key = f"arn:{project.partition}:kms:{project.region}:{project.account}:key/", project.kms_key
    condition: Document = {"StringEquals": {"kms:ViaService": f"ec2.{project.region}.amazonaws.com"}}
    alias = key.rpartition(":")[2] if "alias/" in key else ""
    if alias:
        condition["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": alias}
    actions = ["CreateGrant", "Decrypt", "GenerateDataKeyWithoutPlaintext", "ReEncrypt*"]
    resource = f"{keys}*" if alias else key if key.startswith("arn:") else f"{keys}{key}"
    if not resource.startswith(keys):  # of another account: `daily_policy` describes those of this one
        actions.append("DescribeKey")
    return allow("UseDiskKey", [f"kms:{action}" for action in actions], resource, condition)
