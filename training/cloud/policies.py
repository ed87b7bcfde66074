"""Who may do what: the documents of IAM, as they are sent. Pure; docs/permissions.md is written from them.

The instance: one policy for the project, with a role for each run. The role carries the run's name as a tag, and the
policy speaks of that tag, so that a machine reaches its own run and no other's.
People: `daily` is enough to train; `setup` adds what `up` and `down` need.

tests/cloud/test_recorded_calls.py asks an IAM simulator for every call that the tests have seen, and drops each action
of each statement: what is here is enough, and all of it is needed.
"""

from __future__ import annotations

from training import layout
from training.cloud.aws import iam_bucket
from training.cloud.aws.iam_statements import Document, allow, owned, policy, requested
from training.cloud.scope import Scope

_OWN_RUN = f"${{aws:PrincipalTag/{layout.TAG_RUN}}}"
_DESCRIBE = (
    "AvailabilityZones",
    "Fleets",
    "Images",
    "InstanceTypeOfferings",
    "InstanceTypes",
    "Instances",
    "KeyPairs",
    "LaunchTemplates",
    "Regions",
    "RouteTables",
    "SecurityGroups",
    "Snapshots",
    "SpotPriceHistory",
    "Subnets",
    "Volumes",
    "VpcEndpoints",
    "Vpcs",
)


def instance_trust() -> Document:
    """Let EC2 give the role to a machine."""
    return policy(
        [
            {
                "Sid": "Ec2Instances",
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ]
    )


def instance_policy(scope: Scope) -> Document:
    """Return what a machine may do: read code, keep its run, delete its fleet, be reached through SSM."""
    bucket = iam_bucket.arn(scope)
    # One role for all runs carries no run's name: it reaches them all.
    own = f"{layout.RUNS}/{'' if scope.machine_role else f'{_OWN_RUN}/'}*"
    own_fleet = owned(scope)
    if not scope.machine_role:
        own_fleet["StringEquals"][f"aws:ResourceTag/{layout.TAG_RUN}"] = _OWN_RUN
    return policy(
        [
            allow("ReadCode", ["s3:GetObject"], f"{bucket}/{layout.SCRIPTS}/*"),
            allow(
                "ReadWriteRun",
                ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                f"{bucket}/{own}",
            ),
            *iam_bucket.use_key(scope),
            allow("ListRun", ["s3:ListBucket"], bucket, {"StringLike": {"s3:prefix": [own]}}),
            allow("DeleteOwnFleet", ["ec2:DeleteFleets"], scope.ec2("fleet"), own_fleet),
            # Encrypted with the key aws/ssm, which lets every principal of the account decrypt: no kms:Decrypt.
            # https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-restrict-decryption.html
            allow("ReadWandbKey", ["ssm:GetParameter"], _parameter(scope)),
            allow(
                "PutMetrics",
                ["cloudwatch:PutMetricData"],
                "*",
                {"StringEquals": {"cloudwatch:namespace": scope.project}},
            ),
            allow("PutLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], f"{_log_group(scope)}:*"),
            allow(
                "SessionManager",
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
    return policy(
        [
            *_looking(scope),
            *_launching(scope),
            *_sessions(scope),
            *_run_roles(scope),
            *iam_bucket.read_and_write(scope),
        ]
    )


def setup_policy(scope: Scope) -> Document:
    """Return what `up` and `down` need beside `daily_policy`."""
    arn = f"arn:{scope.partition}"
    group = scope.ec2("security-group")
    return policy(
        [
            *iam_bucket.manage(scope),
            *_instance_policy_rights(scope),
            allow("CreateSecurityGroup", ["ec2:CreateSecurityGroup"], group, requested(scope)),
            allow("CreateSgInVpc", ["ec2:CreateSecurityGroup"], scope.ec2("vpc")),
            allow(
                "ManageSecurityGroup",
                [
                    "ec2:AuthorizeSecurityGroupEgress",
                    "ec2:AuthorizeSecurityGroupIngress",
                    "ec2:RevokeSecurityGroupIngress",
                    "ec2:DeleteSecurityGroup",
                ],
                group,
                owned(scope),
            ),
            allow(
                "TagSecurityGroup",
                ["ec2:CreateTags"],
                group,
                {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}},
            ),
            allow("ListLogGroups", ["logs:DescribeLogGroups"], "*"),
            allow(
                "ManageLogGroup",
                [
                    "logs:CreateLogGroup",
                    "logs:PutRetentionPolicy",
                    "logs:TagResource",
                    "logs:ListTagsForResource",
                    "logs:DeleteLogGroup",
                ],
                [_log_group(scope), f"{_log_group(scope)}:*"],
            ),
            allow(
                "CreateServiceRoles",
                ["iam:CreateServiceLinkedRole"],
                f"{arn}:iam::{scope.account}:role/aws-service-role/*",
                {"StringEquals": {"iam:AWSServiceName": ["ec2fleet.amazonaws.com", "spot.amazonaws.com"]}},
            ),
        ]
    )


def _instance_policy_rights(scope: Scope) -> list[Document]:
    if scope.machine_role:  # the machines' rights are what its owner gave it
        return []
    return [
        allow(
            "ManageInstancePolicy",
            [
                "iam:CreatePolicy",
                "iam:TagPolicy",
                "iam:CreatePolicyVersion",
                "iam:DeletePolicyVersion",
                "iam:ListPolicyVersions",
                "iam:GetPolicyVersion",
                "iam:DeletePolicy",
            ],
            scope.policy_arn,
        ),
    ]


def _looking(scope: Scope) -> list[Document]:
    iam = f"arn:{scope.partition}:iam::{scope.account}"
    kind, _, name = scope.caller.rpartition(":")[2].partition("/")
    me = allow("SimulatePolicy", ["iam:SimulatePrincipalPolicy"], f"{iam}:user/*${{aws:username}}")
    if kind == "assumed-role":
        # IAM has no variable for the name of a role, and only GetRole says its path.
        role = f"{iam}:role/*{name.partition('/')[0]}"
        me = allow("SimulatePolicy", ["iam:GetRole", "iam:SimulatePrincipalPolicy"], role)
    return [
        allow(
            "DescribeEc2",
            [
                *(f"ec2:Describe{what}" for what in _DESCRIBE),
                "ec2:GetEbsDefaultKmsKeyId",
                "servicequotas:GetServiceQuota",
                "pricing:GetProducts",
                # Neither list can be limited to a path.
                "iam:ListInstanceProfiles",
                "iam:ListRoles",
                # Needs the token that StartSession gives. AWS's guide names session/… as its resource, AWS's reference
                # of actions says that it has none.
                "ssmmessages:OpenDataChannel",
            ],
            "*",
        ),
        allow(
            "ReadDiskKey",
            ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants"],
            f"arn:{scope.partition}:kms:{scope.region}:{scope.account}:key/*",
        ),
        allow("ReadFleetHistory", ["ec2:DescribeFleetHistory"], scope.ec2("fleet")),
        me,
        allow("ReadLogs", ["logs:FilterLogEvents"], f"{_log_group(scope)}:*"),
    ]


def _launching(scope: Scope) -> list[Document]:
    """Return the rights to start machines that carry the project's tag, and to end those.

    CreateFleet is asked about the fleet, its instances, and what the request itself names. What the launch template
    names is asked as RunInstances, with the template's tags. So the tag is demanded of the fleet in the one, of
    instance and volume in the other.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html (CreateFleet)
    """
    image = f"arn:{scope.partition}:ec2:{scope.region}::image/*"
    snapshot = f"arn:{scope.partition}:ec2:{scope.region}::snapshot/*"
    fleet, instance, template, volume = (
        scope.ec2(kind) for kind in ("fleet", "instance", "launch-template", "volume")
    )
    # Each of these actions has a resource type of its own; IAM allows no wildcard as a type before a slash.
    anything = f"arn:{scope.partition}:ec2:{scope.region}:*:*"
    creations = {
        "StringEquals": {"ec2:CreateAction": ["CreateFleet", "CreateLaunchTemplate", "RunInstances"]}
    }
    return [
        allow("CreateFleet", ["ec2:CreateFleet"], fleet, requested(scope)),
        allow("CreateFleetInstances", ["ec2:CreateFleet"], [instance, volume]),
        allow("RunTagged", ["ec2:RunInstances"], [instance, volume], requested(scope)),
        allow(
            "UseOwnForLaunch",
            ["ec2:CreateFleet", "ec2:RunInstances"],
            [image, template, scope.ec2("security-group")],
            owned(scope),
        ),
        allow(
            "UseForLaunch",
            ["ec2:CreateFleet", "ec2:RunInstances"],
            [
                snapshot,
                *(
                    scope.ec2(kind)
                    for kind in ("key-pair", "network-interface", "spot-instances-request", "subnet")
                ),
            ],
        ),
        allow("CreateTemplate", ["ec2:CreateLaunchTemplate"], template, requested(scope)),
        allow("TagOnCreate", ["ec2:CreateTags"], anything, creations),
        allow(
            "DeleteOwnResources",
            ["ec2:DeleteFleets", "ec2:TerminateInstances", "ec2:DeleteLaunchTemplate", "ec2:DeleteVolume"],
            anything,
            owned(scope),
        ),
        *([_use_kms_key(scope)] if scope.kms_key else []),
    ]


def _use_kms_key(scope: Scope) -> Document:
    """Let EC2 encrypt a disk with the key of the settings, and with it alone.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
    """
    keys, key = f"arn:{scope.partition}:kms:{scope.region}:{scope.account}:key/", scope.kms_key
    condition: Document = {"StringEquals": {"kms:ViaService": f"ec2.{scope.region}.amazonaws.com"}}
    alias = key.rpartition(":")[2] if "alias/" in key else ""
    if alias:
        condition["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": alias}
    actions = ["CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt*"]
    resource = f"{keys}*" if alias else key if key.startswith("arn:") else f"{keys}{key}"
    return allow("UseKmsKey", [f"kms:{action}" for action in actions], resource, condition)


def _sessions(scope: Scope) -> list[Document]:
    """Return the rights to open a session on a machine of the project, and to end or resume one's own.

    A session's id begins with the name of an IAM user, or of a role's session. The latter has no variable, so there
    the tag that Session Manager puts on each session says whose it is.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-restrict-access-examples.html
    """
    ssm = f"arn:{scope.partition}:ssm:{scope.region}"
    session, own = f"{ssm}:{scope.account}:session/", ["ssm:TerminateSession", "ssm:ResumeSession"]
    return [
        allow(
            "StartSession",
            ["ssm:StartSession"],
            scope.ec2("instance"),
            {"StringEquals": {f"ssm:resourceTag/{layout.TAG_PROJECT}": scope.project}},
        ),
        allow(
            "UseSessionDocuments",
            ["ssm:StartSession"],
            [
                f"{ssm}::document/AWS-StartPortForwardingSession",
                f"{ssm}:{scope.account}:document/SSM-SessionManagerRunShell",
            ],
        ),
        allow("EndSessionOfUser", own, f"{session}${{aws:username}}-*"),
        allow(
            "EndSessionOfRole",
            own,
            f"{session}*",
            {"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}*"}},
        ),
    ]


def _run_roles(scope: Scope) -> list[Document]:
    """Return the rights to give each run its role: with the project's one policy attached, and no other.

    With an existing instance profile in the settings: the right to hand over its role, and none to make one.
    """
    iam = f"arn:{scope.partition}:iam::{scope.account}"
    to_ec2 = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    if scope.machine_role:
        return [
            allow("ReadInstanceProfile", ["iam:GetInstanceProfile"], f"{iam}:instance-profile/*"),
            allow("PassMachineRole", ["iam:PassRole"], scope.machine_role, to_ec2),
        ]
    roles, profiles = f"{iam}:role{scope.iam_path}*", f"{iam}:instance-profile{scope.iam_path}*"
    return [
        *_create_run_role(scope, roles, profiles),
        allow(
            "AttachInstancePolicy",
            ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
            roles,
            {"ArnEquals": {"iam:PolicyARN": scope.policy_arn}},
        ),
        allow(
            "ManageRunRole",
            [
                "iam:GetRole",
                "iam:DeleteRole",
                "iam:GetInstanceProfile",
                "iam:AddRoleToInstanceProfile",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:DeleteInstanceProfile",
            ],
            [roles, profiles],
        ),
        allow("ReadInstancePolicy", ["iam:GetPolicy"], scope.policy_arn),
        allow("PassRunRole", ["iam:PassRole"], roles, to_ec2),
    ]


def _create_run_role(scope: Scope, roles: str, profiles: str) -> list[Document]:
    create, tags = ["iam:CreateRole"], ["iam:TagRole", "iam:CreateInstanceProfile", "iam:TagInstanceProfile"]
    if not scope.permissions_boundary:
        return [allow("CreateRunRole", [*create, *tags], [roles, profiles], requested(scope))]
    bounded = requested(scope)
    bounded["StringEquals"]["iam:PermissionsBoundary"] = scope.permissions_boundary
    return [
        allow("CreateRunRole", create, roles, bounded),
        allow("CreateRunProfile", tags, [roles, profiles], requested(scope)),
    ]


def _log_group(scope: Scope) -> str:
    name = layout.log_group_name(scope.project)
    return f"arn:{scope.partition}:logs:{scope.region}:{scope.account}:log-group:{name}"


def _parameter(scope: Scope) -> str:
    name = layout.wandb_parameter_name(scope.project)
    return f"arn:{scope.partition}:ssm:{scope.region}:{scope.account}:parameter{name}"
