"""The rights of a person who bakes images: those of `make ami`, of Packer and of packer/ami.py. Pure.

Packer's amazon plugin (1.8.2) tags what it makes, and packer/source.pkr.hcl gives it the project's tags for all of it,
so that nothing else can be touched. The plugin's page lists more actions:
https://developer.hashicorp.com/packer/integrations/hashicorp/amazon#iam-task-or-instance-role
Those of other builders, of copies and of Windows are left out; tests/cloud/test_bake_policy.py gives each its reason.
"""

from __future__ import annotations

from ... import layout
from .iam_statements import Document, allow, owned, policy, requested
from .project import Project

_DESCRIBE = (
    "Images",
    "Instances",
    "LaunchTemplateVersions",
    "Regions",
    "RouteTables",
    "SecurityGroups",
    "Snapshots",
    "SpotPriceHistory",
    "Subnets",
    "Volumes",
    "VpcEndpoints",
)
_CREATIONS = (
    "CreateFleet",
    "CreateImage",
    "CreateKeyPair",
    "CreateLaunchTemplate",
    "CreateSecurityGroup",
    "RunInstances",
)


def bake_policy(project: Project) -> Document:
    """Return the rights for `make ami`; none of `daily_policy` or `setup_policy` are needed in addition."""
    arn = f"arn:{project.partition}"
    anything = f"{arn}:ec2:{project.region}:*:*"
    # A training machine carries the tag Run, the builder of an image does not.
    no_run = {**owned(project), "Null": {f"aws:ResourceTag/{layout.TAG_RUN}": "true"}}
    return policy(
        [
            allow("DescribeEc2", [f"ec2:Describe{what}" for what in _DESCRIBE], "*"),
            # The condition leaves of each action the resources that it makes: the others cannot be given tags by it.
            allow("CreateTagged", [f"ec2:{action}" for action in _CREATIONS], anything, requested(project)),
            allow(
                "TagOnCreate",
                ["ec2:CreateTags"],
                anything,
                {"StringEquals": {"ec2:CreateAction": list(_CREATIONS)}},
            ),
            allow(
                "TagSpotRequest",
                ["ec2:CreateTags"],
                project.ec2("spot-instances-request"),
                requested(project),
            ),
            allow(
                "ManageBuilder",
                [
                    "ec2:AuthorizeSecurityGroupIngress",
                    "ec2:CreateFleet",
                    "ec2:CreateImage",
                    "ec2:CreateTags",
                    "ec2:DeleteKeyPair",
                    "ec2:DeleteLaunchTemplate",
                    "ec2:DeleteSecurityGroup",
                    "ec2:DeleteSnapshot",
                    "ec2:DeleteVolume",
                    "ec2:DeregisterImage",
                    "ec2:ModifyImageAttribute",
                    "ec2:RunInstances",
                    "ec2:StopInstances",
                    "ec2:TerminateInstances",
                ],
                anything,
                no_run,
            ),
            allow(
                "CreateFleetInstances", ["ec2:CreateFleet"], [project.ec2("instance"), project.ec2("volume")]
            ),
            allow(
                "UseForLaunch",
                ["ec2:RunInstances"],
                [
                    f"{arn}:ec2:{project.region}::image/*",
                    f"{arn}:ec2:{project.region}::snapshot/*",
                    project.ec2("spot-instances-request"),
                    project.ec2("subnet"),
                ],
            ),
            allow("CreateSgInVpc", ["ec2:CreateSecurityGroup"], project.ec2("vpc")),
            # The first spot machine of an account needs it, where `up` has not made it yet.
            allow(
                "CreateSpotRole",
                ["iam:CreateServiceLinkedRole"],
                f"{arn}:iam::{project.account}:role/aws-service-role/*",
                {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
            ),
        ]
    )
