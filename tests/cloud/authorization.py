"""What AWS asks IAM when it gets a call: each action, on each resource, with the context that the request carries.

AWS's own rules, with their sources:
- the resource types of an action: IAM's service reference (`Iam.reference`); all required ones are asked, and those
  optional ones that the request names;
- `aws:RequestTag` is there only for the types that this request tags, `aws:ResourceTag` as the resource was tagged when
  it was made: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_tags.html;
- a request that tags what it makes is asked about CreateTags too, with ec2:CreateAction:
  https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html;
- what a launch template names is asked as RunInstances: the reference says so at CreateFleet;
- the role of a profile is asked as PassRole: https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddRoleToInstanceProfile.html
  and https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/permission-to-pass-iam-roles.html.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from tests.cloud.call_shapes import OTHER, Call
from tests.cloud.iam_simulator import Question
from training.cloud.aws.project import Project

Tags = Mapping[str, str]
Reference = Mapping[str, Mapping[str, Collection[str]]]

PREFIXES = {"service-quotas": "servicequotas"}
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
S3_ACTIONS = {
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "DeleteObjects": "DeleteObject",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
}
OF_VERSIONS = {"s3:GetObject", "s3:DeleteObject"}  # another action where the request names a version
# The first is asked of nobody: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
# The second is how a person comes by the role whose policies are ours.
FREE = {"sts:GetCallerIdentity", "sts:AssumeRole"}
# What is not made by the launcher: the role of a person who comes by one, the profile of an organisation.
OTHER_ROLE, OTHER_PROFILE = "/people/Trainers", "/lab"
# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
KEY_ACTIONS = (
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)
BUCKET_KEY_ACTIONS = {
    "GetObject": "Decrypt",
    "PutObject": "GenerateDataKey",
    "CreateMultipartUpload": "GenerateDataKey",
    "UploadPart": "Decrypt",
    "CompleteMultipartUpload": "Decrypt",
}
# Optional types by what names them in a request.
NAMED = {
    "ec2:CreateSecurityGroup": ("vpc",),
    "ec2:DeleteKeyPair": ("key-pair",),
}
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html: tags in a creation need the right to tag.
TAGS_TOO = {
    "iam:CreateRole": "iam:TagRole",
    "iam:CreatePolicy": "iam:TagPolicy",
    "iam:CreateInstanceProfile": "iam:TagInstanceProfile",
    "logs:CreateLogGroup": "logs:TagResource",
    "s3:CreateBucket": "s3:TagResource",
}
# What an action makes has no tags yet, but those of its request.
CREATED = {
    "ec2:CreateFleet": {"fleet", "instance", "volume"},
    "ec2:CreateImage": {"image", "snapshot"},
    "ec2:CreateKeyPair": {"key-pair"},
    "ec2:CreateLaunchTemplate": {"launch-template"},
    "ec2:CreateSecurityGroup": {"security-group"},
    "ec2:RunInstances": {"instance", "volume", "network-interface", "spot-instances-request"},
    "iam:CreateInstanceProfile": {"instance-profile"},
    "iam:CreatePolicy": {"policy"},
    "iam:CreateRole": {"role"},
}


class World(NamedTuple):
    """Where the calls are made: the project, and the tags of what exists there, by resource type."""

    scope: Project
    tags: Mapping[str, Tags]
    reference: Reference


def actions(call: Call) -> list[str]:
    """Return the IAM actions of a call by itself, without what follows from it."""
    operation = call.operation
    if call.service == "s3":
        found = [f"s3:{S3_ACTIONS.get(operation, operation)}"]
        if call.details.get("VersionId") and found[0] in OF_VERSIONS:
            found = [f"{found[0]}Version"]
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html: If-Match reads the object.
        return [*found, "s3:GetObject"] if call.details.get("IfMatch") else found
    action = f"{PREFIXES.get(call.service, call.service)}:{operation}"
    return [] if action in FREE else [action]


def questions(call: Call, world: World, template: Call | None = None) -> Iterator[Question]:
    """Yield what IAM is asked for a call. template: the CreateLaunchTemplate that it launches from, if it does."""
    details = call.details
    for action in actions(call):
        for kind in _types(action, details, world):
            yield from _about(action, kind, details, world)
        if action in TAGS_TOO and details.get("Tags"):
            (kind,) = world.reference[TAGS_TOO[action]]["required"] or world.reference[action]["required"]
            yield from _about(TAGS_TOO[action], kind, details, world)
        yield from _tagging(action, details.get("TagSpecifications", {}), world)
    if launches_from_template(call):
        assert template is not None, f"{call} launches from a template"
        yield from _launch(template.details["LaunchTemplateData"], details.get("market", "on-demand"), world)
    elif call.operation == "RunInstances":
        yield from _launch(details, "spot" if "InstanceMarketOptions" in details else "on-demand", world)
    elif call.operation == "AddRoleToInstanceProfile":
        yield _pass_role(world)


def launches_from_template(call: Call) -> bool:
    """Tell whether what a call launches is in a launch template."""
    return call.operation == "CreateFleet" or "LaunchTemplate" in call.details


def of_bucket_key(call: Call, scope: Project) -> Iterator[Question]:
    """Yield what KMS is asked for a call where the bucket is encrypted with a key of its own.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    name = BUCKET_KEY_ACTIONS.get(call.operation)
    if call.service == "s3" and name and call.details["Key"].endswith("/*"):
        via = (("kms:ViaService", f"s3.{scope.region}.amazonaws.com"),)
        yield Question(f"kms:{name}", scope.bucket_key, via, "key")


def _types(action: str, details: Mapping[str, Any], world: World) -> list[str]:
    """Return the resource types that IAM is asked about: all required ones, and the optional ones that are named."""
    if action == "ec2:RunInstances":
        return []  # all from what it launches
    assert action in world.reference, f"IAM has no action {action}"
    known = world.reference[action]
    types = list(known["required"])
    if action == "ec2:CreateFleet":
        types += [
            "launch-template",
            *({"SubnetId": "subnet", "ImageId": "image"}[one] for one in details["LaunchTemplateConfigs"]),
        ]
    elif action == "ec2:CreateTags":
        types += details["Resources"]
    elif action.startswith("s3:") and not types:
        types = ["object" if "object" in known["optional"] else "bucket"]
    elif action == "ssm:StartSession":
        types += ["document", "instance"]
    elif action == "iam:SimulatePrincipalPolicy":
        types += [details["PolicySourceArn"]]
    else:
        types += NAMED.get(action, ())
    strange = set(types) - {*known["required"], *known["optional"]}
    assert not strange, f"{action} knows no {strange}"
    return types or ["*"]


def _about(action: str, kind: str, details: Mapping[str, Any], world: World) -> Iterator[Question]:
    created = kind in CREATED.get(action, ())
    specified = details.get("TagSpecifications", {}).get(kind) if created else None
    context = {} if created else _resource_tags(world.tags.get(kind, {}))
    if kind in {"role", "policy", "instance-profile"} or action == "ec2:CreateTags":
        specified = details.get("Tags")
    context |= _request_tags(specified or {})
    if action == "s3:ListBucket":
        context |= {
            "s3:prefix": details.get("Prefix", ""),
            **({"s3:delimiter": "/"} if "Delimiter" in details else {}),
        }
    elif action in {"iam:AttachRolePolicy", "iam:DetachRolePolicy"}:
        context["iam:PolicyARN"] = _policy_arn(details["PolicyArn"], world.scope)
    elif action == "iam:CreateRole" and "PermissionsBoundary" in details:
        context["iam:PermissionsBoundary"] = world.scope.permissions_boundary
    elif action == "iam:CreateServiceLinkedRole":
        context["iam:AWSServiceName"] = details["AWSServiceName"]
    elif action == "cloudwatch:PutMetricData":
        context["cloudwatch:namespace"] = details["Namespace"]
    elif action == "ssm:StartSession" and kind == "instance":
        context = {key.replace("aws:ResourceTag", "ssm:resourceTag"): value for key, value in context.items()}
    for arn in _arns(action, kind, details, world.scope):
        yield Question(action, arn, tuple(sorted(context.items())), kind)


def _tagging(action: str, specified: Mapping[str, Tags], world: World) -> Iterator[Question]:
    for kind, tags in specified.items():
        context = {"ec2:CreateAction": action.partition(":")[2], **_request_tags(tags)}
        (arn,) = _arns("ec2:CreateTags", kind, {}, world.scope)
        yield Question("ec2:CreateTags", arn, tuple(sorted(context.items())), kind)


def _launch(launched: Mapping[str, Any], market: str, world: World) -> Iterator[Question]:
    """Yield what is asked as RunInstances for what a template, or RunInstances itself, names."""
    action = "ec2:RunInstances"
    # "EC2-VPC-EBS-Subnet", the scenario of the reference in which a machine of ours is launched.
    types = {*world.reference[action]["required"], "volume", "launch-template"}
    types |= {"key-pair"} if "KeyName" in launched else set()
    types |= {"spot-instances-request"} if market == "spot" else set()
    for kind in sorted(types):
        yield from _about(action, kind, launched, world)
    yield from _tagging(action, launched.get("TagSpecifications", {}), world)
    if "IamInstanceProfile" in launched:
        yield _pass_role(world, launched["IamInstanceProfile"])
    if "KmsKeyId" in launched:
        scope = world.scope
        key = scope.kms_key
        key = key if key.startswith("arn:") else f"arn:aws:kms:{scope.region}:{scope.account}:key/{key}"
        for name in KEY_ACTIONS:
            via = (("kms:ViaService", f"ec2.{scope.region}.amazonaws.com"),)
            yield Question(f"kms:{name}", key, via, "key")


def _pass_role(world: World, profile: str = "") -> Question:
    (role,) = _arns("iam:PassRole", "role", {}, world.scope)
    if profile == OTHER:
        role = world.scope.machine_role
    return Question("iam:PassRole", role, (("iam:PassedToService", "ec2.amazonaws.com"),), "role")


def _resource_tags(tags: Tags) -> dict[str, str]:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def _request_tags(tags: Tags) -> dict[str, str]:
    return {f"aws:RequestTag/{key}": value for key, value in tags.items()}


def variant(call: Call, template: Call | None = None) -> str:
    """Return the settings, or the person, that a call comes from: "" for those of most."""
    details = call.details
    machine = (template or call).details.get("LaunchTemplateData", {})
    if "PermissionsBoundary" in details:
        return "boundary"
    if details.get("PolicySourceArn") == "role" or details.get("RoleName") == OTHER:
        return "role"
    if OTHER in (details.get("InstanceProfileName"), machine.get("IamInstanceProfile")):
        return "profile"
    return "kms" if "KmsKeyId" in machine else ""


def _policy_arn(named: str, scope: Project) -> str:
    return scope.policy_arn if named.startswith("policy/") else named


def _arns(action: str, kind: str, details: Mapping[str, Any], scope: Project) -> list[str]:
    """Return the resources of a type that a call is about, as AWS names them."""
    account, region = scope.account, scope.region
    run = f"{scope.name}.{region}.race"
    others = details.get("RoleName") == OTHER or action == "iam:SimulatePrincipalPolicy"
    role = OTHER_ROLE if others else f"{scope.iam_path}{run}"
    profile = OTHER_PROFILE if details.get("InstanceProfileName") == OTHER else f"{scope.iam_path}{run}"
    bucket = f"arn:aws:s3:::{scope.bucket}"
    group = f"arn:aws:logs:{region}:{account}:log-group:/{scope.name}/training"
    known = {
        "*": ["*"],
        "bucket": [bucket],
        "object": [f"{bucket}/{details.get('Key', 'runs/race/*').replace('*', 'x')}"],
        "role": [f"arn:aws:iam::{account}:role{role}"],
        "instance-profile": [f"arn:aws:iam::{account}:instance-profile{profile}"],
        "policy": [scope.policy_arn],
        "user": [f"arn:aws:iam::{account}:user/kim"],
        "parameter": [f"arn:aws:ssm:{region}:{account}:parameter{details.get('Name', '')}"],
        "log-stream": [f"{group}:log-stream:i-1/cloud-init"],
        "document": [f"arn:aws:ssm:{region}:{account}:document/{details.get('Document', '')}"],
        "key": [f"arn:aws:kms:{region}:{account}:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
        "session": [f"arn:aws:ssm:{region}:{account}:session/{details.get('Session', '')}"],
    }
    if kind == "log-group":
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html: with what is in
        # it for all actions but those of tags.
        return [group if "Tag" in action else f"{group}:log-stream:"]
    if action == "iam:CreateServiceLinkedRole":
        return [
            f"arn:aws:iam::{account}:role/aws-service-role/{details['AWSServiceName']}/AWSServiceRoleForX"
        ]
    if kind in known:
        return known[kind]
    owner = "" if kind in {"image", "snapshot"} else account
    return [f"arn:aws:ec2:{region}:{owner}:{kind}/x"]
