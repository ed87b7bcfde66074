"""The rights of people and machines: IAM documents, as they are sent. Pure; docs/permissions.md is made from them.

The instance: one policy for the project, with a role for each run. The role carries the run's name as a tag, and the
policy refers to that tag, so that a machine reaches its own run and no other's.
People: `daily` is enough to train; `setup` adds what `up` and `down` need.

tests/cloud/test_recorded_calls.py asks an IAM simulator for every call that the tests have seen, and drops each action
of each statement: the rights here are enough, and all of them are needed.
"""

from __future__ import annotations

from ... import layout
from . import iam_bucket, launch_rights
from .iam_statements import Document, allow, owned, policy, requested
from .project import Project

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


def instance_policy(project: Project) -> Document:
    """Return what a machine may do: read code, keep its run, delete its fleet, be reached through SSM."""
    bucket = iam_bucket.arn(project)
    # One role for all runs carries no run's name: it reaches them all.
    own = f"{layout.RUNS}/{'' if project.machine_role else f'{_OWN_RUN}/'}*"
    own_fleet = owned(project)
    if not project.machine_role:
        own_fleet["StringEquals"][f"aws:ResourceTag/{layout.TAG_RUN}"] = _OWN_RUN
    return policy(
        [
            allow("ReadCode", ["s3:GetObject"], f"{bucket}/{layout.SCRIPTS}/*"),
            allow(
                "ReadWriteRun",
                ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                f"{bucket}/{own}",
            ),
            *iam_bucket.use_key(project),
            allow("ListRun", ["s3:ListBucket"], bucket, {"StringLike": {"s3:prefix": [own]}}),
            allow("DeleteOwnFleet", ["ec2:DeleteFleets"], project.ec2("fleet"), own_fleet),
            # From it, a machine that cannot reach the bucket learns how many ended like it before.
            allow("ReadOwnFleetHistory", ["ec2:DescribeFleetHistory"], project.ec2("fleet"), own_fleet),
            # Encrypted with the key aws/ssm, which lets every principal of the account decrypt: no kms:Decrypt.
            # https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-restrict-decryption.html
            allow("ReadWandbKey", ["ssm:GetParameter"], _parameter(project)),
            allow(
                "PutMetrics",
                ["cloudwatch:PutMetricData"],
                "*",
                {"StringEquals": {"cloudwatch:namespace": project.name}},
            ),
            allow("PutLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], f"{_log_group(project)}:*"),
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


def daily_policy(project: Project) -> Document:
    """Return what a person needs to train, watch, stop and fetch."""
    return policy(
        [
            *_looking(project),
            *launch_rights.launching(project),
            *launch_rights.sessions(project),
            *launch_rights.run_roles(project),
            *iam_bucket.read_and_write(project),
        ]
    )


def setup_policy(project: Project) -> Document:
    """Return the rights that `up` and `down` need besides `daily_policy`."""
    arn = f"arn:{project.partition}"
    group = project.ec2("security-group")
    ec2 = f"{arn}:ec2:{project.region}:"  # images and snapshots belong to no account in an ARN
    return policy(
        [
            *iam_bucket.manage(project),
            *_instance_policy_rights(project),
            allow("CreateSecurityGroup", ["ec2:CreateSecurityGroup"], group, requested(project)),
            allow("CreateSgInVpc", ["ec2:CreateSecurityGroup"], project.ec2("vpc")),
            allow(
                "ManageSecurityGroup",
                [
                    "ec2:AuthorizeSecurityGroupEgress",
                    "ec2:AuthorizeSecurityGroupIngress",
                    "ec2:RevokeSecurityGroupIngress",
                    "ec2:DeleteSecurityGroup",
                ],
                group,
                owned(project),
            ),
            allow(
                "TagSecurityGroup",
                ["ec2:CreateTags"],
                group,
                {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}},
            ),
            allow("RemoveImages", ["ec2:DeregisterImage"], f"{ec2}:image/*", owned(project)),
            allow("RemoveSnapshots", ["ec2:DeleteSnapshot"], f"{ec2}:snapshot/*", owned(project)),
            allow(
                "DescribeLogsAndTemplates",
                ["logs:DescribeLogGroups", "ec2:DescribeLaunchTemplateVersions"],
                "*",
            ),
            allow(
                "ManageLogGroup",
                [
                    "logs:CreateLogGroup",
                    "logs:PutRetentionPolicy",
                    "logs:TagResource",
                    "logs:ListTagsForResource",
                    "logs:DeleteLogGroup",
                ],
                [_log_group(project), f"{_log_group(project)}:*"],
            ),
            allow(
                "CreateServiceRoles",
                ["iam:CreateServiceLinkedRole"],
                f"{arn}:iam::{project.account}:role/aws-service-role/*",
                {"StringEquals": {"iam:AWSServiceName": ["ec2fleet.amazonaws.com", "spot.amazonaws.com"]}},
            ),
        ]
    )


def _instance_policy_rights(project: Project) -> list[Document]:
    if project.machine_role:  # the machines' rights are what its owner gave it
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
                "iam:DeletePolicy",
            ],
            project.policy_arn,
        ),
    ]


def _looking(project: Project) -> list[Document]:
    iam = f"arn:{project.partition}:iam::{project.account}"
    kind, _, name = project.caller.rpartition(":")[2].partition("/")
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
            f"arn:{project.partition}:kms:{project.region}:{project.account}:key/*",
        ),
        allow("ReadFleetHistory", ["ec2:DescribeFleetHistory"], project.ec2("fleet")),
        me,
        allow("ReadLogs", ["logs:FilterLogEvents"], f"{_log_group(project)}:*"),
    ]


def _log_group(project: Project) -> str:
    name = layout.log_group_name(project.name)
    return f"arn:{project.partition}:logs:{project.region}:{project.account}:log-group:{name}"


def _parameter(project: Project) -> str:
    name = layout.wandb_parameter_name(project.name)
    return f"arn:{project.partition}:ssm:{project.region}:{project.account}:parameter{name}"
