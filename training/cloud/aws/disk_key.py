"""Whether EC2's own roles may use the key that encrypts a machine's disk.

A fleet starts machines by service-linked roles. These may use AWS's own key for disks, and a customer's key only with
a grant; without it a machine is started and ended within seconds, for as long as the fleet lives.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html
"""

from __future__ import annotations

import json
from typing import Any

from .aws_errors import AccessDenied, CloudError, Unsupported
from .client import Cloud
from .project import Project

AWS_KEY = "alias/aws/ebs"
FLEET_ROLE = "ec2fleet.amazonaws.com/AWSServiceRoleForEC2Fleet"
SPOT_ROLE = "spot.amazonaws.com/AWSServiceRoleForEC2Spot"
# The operations that the documentation's own grant allows.
OPERATIONS = (
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)


def check_disk_key(cloud: Cloud, project: Project, image: dict[str, Any], market: str) -> str:
    """Return what could not be asked about the disk's key, "" where all is well.

    Raises CloudError for a key that is not usable, or that EC2's roles may not use, with the command that lets them.
    """
    try:
        for key in _keys(cloud, image):
            _check_key(cloud, project, key, market)
    except (AccessDenied, Unsupported) as error:
        what = error.action if isinstance(error, AccessDenied) else error.message.partition(": ")[0]
        return f"whether EC2 may use the key of the disk was not asked ({what} is needed for that)"
    return ""


def _check_key(cloud: Cloud, project: Project, key: str, market: str) -> None:
    about = cloud.call("kms", "describe_key", KeyId=key)["KeyMetadata"]
    if about.get("KeyManager") != "CUSTOMER":
        return
    if about.get("KeyState") != "Enabled":
        raise CloudError(
            f"the key of the disk, {key}, is {about.get('KeyState')}",
            next_step=f"Enable it: aws kms enable-key --region {project.region} --key-id {about['Arn']}",
        )
    services = (FLEET_ROLE, SPOT_ROLE) if market == "spot" else (FLEET_ROLE,)
    for service in services:
        role = f"arn:{project.partition}:iam::{project.account}:role/aws-service-role/{service}"
        if not _may_use(cloud, about["Arn"], role):
            raise CloudError(
                f"the key of the disk, {key}, is your own, and EC2's role {service.rpartition('/')[2]} has no "
                "grant for it: no machine would stay",
                next_step=f"Let it: aws kms create-grant --region {project.region} --key-id {about['Arn']} "
                f"--grantee-principal {role} --operations {' '.join(OPERATIONS)}",
            )


def _keys(cloud: Cloud, image: dict[str, Any]) -> list[str]:
    """Return the keys that EC2 needs: of the image's snapshot where it is encrypted, and of the disk.

    The disk's is that of the settings, else the snapshot's, else the account's default.
    """
    disk, keys = root_disk(image), [cloud.aws.kms_key or ""]
    if disk.get("Encrypted"):
        found = cloud.call("ec2", "describe_snapshots", SnapshotIds=[disk["SnapshotId"]])["Snapshots"]
        keys += [str(one.get("KmsKeyId", "")) for one in found]
    elif cloud.aws.kms_key is None:
        keys.append(str(cloud.call("ec2", "get_ebs_default_kms_key_id").get("KmsKeyId", "")))
    return [key for key in dict.fromkeys(keys) if key not in {"", AWS_KEY}]


def root_disk(image: dict[str, Any]) -> dict[str, Any]:
    """Return what an image says of its root disk; empty where it says nothing."""
    root = image.get("RootDeviceName")
    mappings = image.get("BlockDeviceMappings", ())
    return next((dict(one.get("Ebs", {})) for one in mappings if one.get("DeviceName") == root), {})


def _may_use(cloud: Cloud, key_arn: str, role: str) -> bool:
    """Tell whether a grant, or the key's own policy, lets a role use the key."""
    grants = cloud.call("kms", "list_grants", KeyId=key_arn, GranteePrincipal=role)["Grants"]
    if any(set(OPERATIONS) <= set(one.get("Operations", ())) for one in grants):
        return True
    policy = cloud.call("kms", "get_key_policy", KeyId=key_arn).get("Policy", "{}")
    return any(_lets_in(statement, role) for statement in json.loads(policy).get("Statement", ()))


def _lets_in(statement: dict[str, Any], role: str) -> bool:
    """Tell whether a statement of a key's policy may let a role in: it names it, or everybody under some condition."""
    principal = statement.get("Principal", {})
    named = principal.get("AWS", ()) if isinstance(principal, dict) else principal
    return statement.get("Effect") == "Allow" and bool(
        {role, "*"} & {*([named] if isinstance(named, str) else named)}
    )
