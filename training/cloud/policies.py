"""Who may do what: the documents of IAM, as they are sent. Pure; docs/permissions.md is written from them.

The instance: one policy for the project, with a role for each run. The role carries the run's name as a tag, and the
policy speaks of that tag, so that a machine reaches its own run and no other's.
People: `daily` is enough to train; `setup` adds what `up` and `down` need.
"""

from __future__ import annotations

from typing import Any

from training import layout
from training.cloud.scope import Scope

Document = dict[str, Any]
_OWN_RUN = f"${{aws:PrincipalTag/{layout.TAG_RUN}}}"
_DESCRIBE = (
    "AvailabilityZones",
    "Fleets",
    "Images",
    "InstanceTypeOfferings",
    "InstanceTypes",
    "Instances",
    "LaunchTemplates",
    "LaunchTemplateVersions",
    "SecurityGroups",
    "SpotPriceHistory",
    "Subnets",
    "Volumes",
    "Vpcs",
)


def instance_trust() -> Document:
    """Let EC2 give the role to a machine."""
    return _policy(
        [
            {
                "Sid": "MachinesOfEc2",
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ]
    )


def instance_policy(scope: Scope) -> Document:
    """Return what a machine may do: read code, keep its run, end its fleet, be reached through SSM."""
    bucket = _bucket(scope)
    own = f"{layout.RUNS}/{_OWN_RUN}/*"
    arn = f"arn:{scope.partition}"
    return _policy(
        [
            _allow("ReadCode", ["s3:GetObject", "s3:GetObjectVersion"], f"{bucket}/{layout.SCRIPTS}/*"),
            _allow(
                "KeepItsRun",
                ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:AbortMultipartUpload"],
                f"{bucket}/{own}",
            ),
            _allow("ListItsRun", ["s3:ListBucket"], bucket, {"StringLike": {"s3:prefix": [own]}}),
            _allow(
                "EndItsFleet",
                ["ec2:DeleteFleets"],
                scope.ec2("fleet"),
                {
                    "StringEquals": {
                        f"aws:ResourceTag/{layout.TAG_PROJECT}": scope.project,
                        f"aws:ResourceTag/{layout.TAG_RUN}": _OWN_RUN,
                    }
                },
            ),
            _allow(
                "ReadKeys",
                ["ssm:GetParameter"],
                f"{arn}:ssm:{scope.region}:{scope.account}:parameter/{scope.project}/*",
            ),
            _allow(
                "SendMetrics",
                ["cloudwatch:PutMetricData"],
                "*",
                {"StringEquals": {"cloudwatch:namespace": scope.project}},
            ),
            _allow("SendLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], f"{_log_group(scope)}:*"),
            _allow(
                "BeReachedBySessionManager",
                [
                    "ssm:UpdateInstanceInformation",
                    "ssmmessages:CreateControlChannel",
                    "ssmmessages:CreateDataChannel",
                    "ssmmessages:OpenControlChannel",
                    "ssmmessages:OpenDataChannel",
                ],
                "*",
            ),
        ]
    )


def daily_policy(scope: Scope) -> Document:
    """Return what a person needs to train, watch, stop and fetch."""
    return _policy([*_looking(scope), *_launching(scope), *_run_roles(scope), *_reading(scope)])


def setup_policy(scope: Scope) -> Document:
    """Return what `up` and `down` need beside `daily_policy`."""
    arn = f"arn:{scope.partition}"
    group, owned = f"{arn}:ec2:{scope.region}:{scope.account}:security-group/*", _owned(scope)
    return _policy(
        [
            _allow(
                "MakeBucket",
                [
                    "s3:CreateBucket",
                    "s3:DeleteBucket",
                    "s3:PutBucketVersioning",
                    "s3:PutBucketPublicAccessBlock",
                    "s3:PutBucketOwnershipControls",
                    "s3:PutEncryptionConfiguration",
                    "s3:PutLifecycleConfiguration",
                    "s3:PutBucketPolicy",
                    "s3:PutBucketTagging",
                    "s3:PutAccelerateConfiguration",
                ],
                _bucket(scope),
            ),
            _allow(
                "MakeInstancePolicy",
                [
                    "iam:CreatePolicy",
                    "iam:TagPolicy",
                    "iam:GetPolicyVersion",
                    "iam:CreatePolicyVersion",
                    "iam:DeletePolicyVersion",
                    "iam:ListPolicyVersions",
                    "iam:DeletePolicy",
                ],
                scope.policy_arn,
            ),
            _allow("MakeSecurityGroup", ["ec2:CreateSecurityGroup"], group, _asked(scope)),
            _allow("InNetwork", ["ec2:CreateSecurityGroup"], scope.ec2("vpc")),
            _allow(
                "KeepSecurityGroup",
                [
                    "ec2:AuthorizeSecurityGroupIngress",
                    "ec2:RevokeSecurityGroupIngress",
                    "ec2:DeleteSecurityGroup",
                ],
                group,
                owned,
            ),
            _allow(
                "TagSecurityGroup",
                ["ec2:CreateTags"],
                group,
                {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}},
            ),
            _allow(
                "MakeLogGroup",
                ["logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:TagResource", "logs:DeleteLogGroup"],
                [_log_group(scope), f"{_log_group(scope)}:*"],
            ),
            _allow(
                "MakeServiceRoles",
                ["iam:CreateServiceLinkedRole"],
                f"{arn}:iam::{scope.account}:role/aws-service-role/*",
                {"StringEquals": {"iam:AWSServiceName": ["ec2fleet.amazonaws.com", "spot.amazonaws.com"]}},
            ),
        ]
    )


def bucket_policy(scope: Scope) -> Document:
    """Refuse whoever comes without TLS."""
    bucket = _bucket(scope)
    return _policy(
        [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [bucket, f"{bucket}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ]
    )


def _looking(scope: Scope) -> list[Document]:
    return [
        _allow("LookAround", [f"ec2:Describe{what}" for what in _DESCRIBE], "*"),
        _allow(
            "LookAtFleets", ["ec2:DescribeFleetHistory", "ec2:DescribeFleetInstances"], scope.ec2("fleet")
        ),
        _allow("LookAtQuotasAndPrices", ["servicequotas:GetServiceQuota", "pricing:GetProducts"], "*"),
        _allow(
            "AskWhatOneMayDo",
            ["iam:SimulatePrincipalPolicy"],
            f"arn:{scope.partition}:iam::{scope.account}:user/${{aws:username}}",
        ),
        _allow("LookAtLogs", ["logs:DescribeLogGroups"], "*"),
        _allow("ReadLogs", ["logs:FilterLogEvents"], f"{_log_group(scope)}:*"),
    ]


def _launching(scope: Scope) -> list[Document]:
    """Return the rights to start machines that carry the project's tag, and to end those."""
    image = f"arn:{scope.partition}:ec2:{scope.region}::image/*"
    snapshot = f"arn:{scope.partition}:ec2:{scope.region}::snapshot/*"
    used = [
        scope.ec2(kind)
        for kind in ("key-pair", "launch-template", "network-interface", "security-group", "subnet")
    ]
    started = [scope.ec2(kind) for kind in ("fleet", "instance", "volume")]
    creations = {
        "StringEquals": {"ec2:CreateAction": ["CreateFleet", "CreateLaunchTemplate", "RunInstances"]}
    }
    return [
        _allow("StartTagged", ["ec2:CreateFleet", "ec2:RunInstances"], started, _asked(scope)),
        _allow("StartFrom", ["ec2:CreateFleet", "ec2:RunInstances"], [image, snapshot, *used]),
        _allow("MakeTemplate", ["ec2:CreateLaunchTemplate"], scope.ec2("launch-template"), _asked(scope)),
        _allow("TagAtCreation", ["ec2:CreateTags"], [*started, scope.ec2("launch-template")], creations),
        _allow(
            "EndOwn",
            ["ec2:DeleteFleets", "ec2:TerminateInstances", "ec2:DeleteLaunchTemplate", "ec2:DeleteVolume"],
            [*started, scope.ec2("launch-template")],
            _owned(scope),
        ),
        _allow(
            "ReachOwn",
            ["ssm:StartSession"],
            scope.ec2("instance"),
            {"StringEquals": {f"ssm:resourceTag/{layout.TAG_PROJECT}": scope.project}},
        ),
        _allow(
            "ReachThrough",
            ["ssm:StartSession"],
            [
                f"arn:{scope.partition}:ssm:{scope.region}::document/AWS-StartPortForwardingSession",
                f"arn:{scope.partition}:ssm:{scope.region}:{scope.account}:document/SSM-SessionManagerRunShell",
            ],
        ),
    ]


def _run_roles(scope: Scope) -> list[Document]:
    """Return the rights to give each run its role: with the project's one policy attached, and no other."""
    iam = f"arn:{scope.partition}:iam::{scope.account}"
    roles, profiles = f"{iam}:role{scope.iam_path}*", f"{iam}:instance-profile{scope.iam_path}*"
    return [
        _allow("MakeRunRole", ["iam:CreateRole", "iam:TagRole"], roles, _asked(scope)),
        _allow(
            "GiveItThePolicy",
            ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
            roles,
            {"ArnEquals": {"iam:PolicyARN": scope.policy_arn}},
        ),
        _allow("EndRunRole", ["iam:GetRole", "iam:DeleteRole", "iam:ListAttachedRolePolicies"], roles),
        _allow(
            "KeepRunProfile",
            [
                "iam:CreateInstanceProfile",
                "iam:TagInstanceProfile",
                "iam:GetInstanceProfile",
                "iam:AddRoleToInstanceProfile",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:DeleteInstanceProfile",
            ],
            profiles,
        ),
        # Neither list can be limited to a path.
        _allow("FindRolesAndProfiles", ["iam:ListInstanceProfiles", "iam:ListRoles"], "*"),
        _allow("SeePolicy", ["iam:GetPolicy"], scope.policy_arn),
        _allow(
            "HandOverRunRole",
            ["iam:PassRole"],
            roles,
            {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
    ]


def _reading(scope: Scope) -> list[Document]:
    bucket = _bucket(scope)
    return [
        _allow(
            "SeeBucket",
            [
                "s3:ListBucket",
                "s3:ListBucketVersions",
                "s3:GetBucketLocation",
                "s3:GetBucketVersioning",
                "s3:ListBucketMultipartUploads",
            ],
            bucket,
        ),
        _allow(
            "KeepData",
            [
                "s3:GetObject",
                "s3:GetObjectVersion",
                "s3:PutObject",
                "s3:AbortMultipartUpload",
                "s3:DeleteObject",
                "s3:DeleteObjectVersion",
            ],
            f"{bucket}/*",
        ),
    ]


def _owned(scope: Scope) -> Document:
    return {"StringEquals": {f"aws:ResourceTag/{layout.TAG_PROJECT}": scope.project}}


def _asked(scope: Scope) -> Document:
    return {"StringEquals": {f"aws:RequestTag/{layout.TAG_PROJECT}": scope.project}}


def _bucket(scope: Scope) -> str:
    return f"arn:{scope.partition}:s3:::{scope.bucket}"


def _log_group(scope: Scope) -> str:
    name = layout.log_group_name(scope.project)
    return f"arn:{scope.partition}:logs:{scope.region}:{scope.account}:log-group:{name}"


def _allow(
    sid: str, actions: list[str], resource: str | list[str], condition: Document | None = None
) -> Document:
    statement: Document = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def _policy(statements: list[Document]) -> Document:
    return {"Version": "2012-10-17", "Statement": statements}
