"""The project's resources on AWS, as the requests that create them. Pure; `up --dry-run` prints them."""

from __future__ import annotations

import json
from typing import Any

from ... import layout
from ...errors import UsageError
from . import iam_bucket, iam_policies
from .ownership import as_mapping
from .project import Project

Request = dict[str, Any]
LOG_DAYS = 30
# Old versions outlive an accident by a month; parts of uploads that broke off, by two days.
OLD_VERSION_DAYS = 30
BROKEN_UPLOAD_DAYS = 2
SSH_PORT, TENSORBOARD_PORT = 22, 6006
SERVICE_ROLES = ("ec2fleet.amazonaws.com", "spot.amazonaws.com")


def create_bucket(project: Project) -> Request:
    """Return the request that makes the bucket, with its tags; us-east-1 must not be named in it."""
    configuration: Request = {"Tags": bucket_tags(project)}
    if project.region != "us-east-1":
        configuration["LocationConstraint"] = project.region
    return {
        "Bucket": project.bucket,
        "ObjectOwnership": "BucketOwnerEnforced",
        "CreateBucketConfiguration": configuration,
    }


def bucket_tags(project: Project, *, shared: bool = False) -> list[dict[str, str]]:
    """Return the tags of the bucket; someone else's gets only the tag that says that we may use it."""
    mark = {"Key": layout.TAG_BUCKET, "Value": layout.bucket_mark(project.name, created=not shared)}
    return [mark] if shared else [*project.tags(), mark]


def bucket_settings(project: Project, *, accelerate: bool, shared: bool = False) -> dict[str, Request]:
    """Return operation → request for all settings of the bucket; each may be sent again.

    shared: the bucket is someone else's, and only the settings that our prefixes need are made.
    """
    name = {"Bucket": project.bucket}
    settings: dict[str, Request] = {
        "put_bucket_tagging": {**name, "Tagging": {"TagSet": bucket_tags(project, shared=shared)}},
        **({} if shared else _settings_of_own_bucket(project, accelerate=accelerate)),
        "put_bucket_lifecycle_configuration": {**name, "LifecycleConfiguration": lifecycle(project)},
    }
    if not project.plain_http:
        settings["put_bucket_policy"] = {**name, "Policy": iam_bucket.bucket_policy(project, shared=shared)}
    return settings


def _settings_of_own_bucket(project: Project, *, accelerate: bool) -> dict[str, Request]:
    name = {"Bucket": project.bucket}
    settings: dict[str, Request] = {
        "put_public_access_block": {
            **name,
            "PublicAccessBlockConfiguration": dict.fromkeys(
                ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
            ),
        },
        "put_bucket_ownership_controls": {
            **name,
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        },
        "put_bucket_versioning": {**name, "VersioningConfiguration": {"Status": "Enabled"}},
        "put_bucket_encryption": {
            **name,
            "ServerSideEncryptionConfiguration": {
                "Rules": [
                    {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                    if not project.bucket_key
                    else {
                        "ApplyServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": project.bucket_key,
                        },
                        "BucketKeyEnabled": True,  # one request to KMS for many objects
                    }
                ]
            },
        },
    }
    if accelerate:
        settings["put_bucket_accelerate_configuration"] = {
            **name,
            "AccelerateConfiguration": {"Status": "Enabled"},
        }
    return settings


def lifecycle(project: Project) -> Request:
    """Return the rules for our prefixes: they delete unused data. An age rule would delete live replay segments."""
    return {
        "Rules": [
            {
                "ID": layout.lifecycle_rule_id(project.name, prefix),
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSION_DAYS},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": BROKEN_UPLOAD_DAYS},
            }
            for prefix in layout.OWN_PREFIXES
        ]
    }


def create_policy(project: Project) -> Request:
    """Return the request that makes the policy of the instances."""
    return {
        "PolicyName": layout.instance_policy_name(project.name, project.region),
        "Path": project.iam_path,
        "Description": "What a training machine of the project may do",
        "PolicyDocument": iam_policies.instance_policy(project),
        "Tags": project.tags(),
    }


def create_security_group(project: Project, vpc_id: str) -> Request:
    """Return the request that makes the security group, closed."""
    return {
        "GroupName": layout.security_group_name(project.name),
        "Description": "Training machines: nothing comes in unless open_ports_to says so",
        "VpcId": vpc_id,
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": project.tags()}],
    }


def ingress(address: str | None) -> list[Request]:
    """Return the rules that let one IPv4 address reach SSH and TensorBoard; none for None.

    Raises UsageError for anything but one address: never the whole world.
    """
    if address is None:
        return []
    parts = address.split(".")
    if (
        len(parts) != 4
        or not all(part.isdigit() and int(part) < 256 for part in parts)
        or address.startswith("0.")
    ):
        raise UsageError(
            f"aws.open_ports_to = {address!r} is not one IPv4 address",
            next_step="Write none, my-ip or e.g. 203.0.113.7",
        )
    return [
        {
            "IpProtocol": "tcp",
            "FromPort": port,
            "ToPort": port,
            "IpRanges": [{"CidrIp": f"{address}/32", "Description": what}],
        }
        for port, what in ((SSH_PORT, "SSH"), (TENSORBOARD_PORT, "TensorBoard"))
    ]


def create_log_group(project: Project) -> Request:
    """Return the request that makes the log group; it costs nothing while it is empty."""
    return {"logGroupName": layout.log_group_name(project.name), "tags": as_mapping(project.tags())}


def create_role(project: Project, run: str) -> Request:
    """Return the request that makes a run's role; the tag Run is what the policy goes by."""
    return {
        "RoleName": layout.run_role_name(project.name, project.region, run),
        "Path": project.iam_path,
        "Description": f"Machines of the run {run}",
        "AssumeRolePolicyDocument": iam_policies.instance_trust(),
        "Tags": project.tags({layout.TAG_RUN: run}),
        **({"PermissionsBoundary": project.permissions_boundary} if project.permissions_boundary else {}),
    }


def create_instance_profile(project: Project, run: str) -> Request:
    """Return the request that makes the instance profile around a run's role."""
    return {
        "InstanceProfileName": layout.run_role_name(project.name, project.region, run),
        "Path": project.iam_path,
        "Tags": project.tags({layout.TAG_RUN: run}),
    }


def sent(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request as the API takes it: policies are text there."""
    return {
        key: json.dumps(value) if key in {"Policy", "PolicyDocument", "AssumeRolePolicyDocument"} else value
        for key, value in request.items()
    }
