"""What the policy of `make ami` allows and denies, and why it leaves out what Packer's page lists."""

from __future__ import annotations

from tests.cloud import documented_calls
from tests.cloud.golden import SCOPE
from tests.cloud.iam_simulator import Iam, Question
from training.cloud.aws.bake_policy import bake_policy

USER = f"arn:aws:iam::{SCOPE.account}:user/kim"
EC2 = f"arn:aws:ec2:{SCOPE.region}:{SCOPE.account}"
PUBLIC = f"arn:aws:ec2:{SCOPE.region}:"
OURS, OF_A_RUN = {"aws:ResourceTag/Project": "f1tenth"}, {"aws:ResourceTag/Run": "race"}
THEIRS = {"aws:ResourceTag/Project": "other"}
TAGGED = {"aws:RequestTag/Project": "f1tenth"}
# https://github.com/hashicorp/packer-plugin-amazon/blob/v1.8.2/docs/README.md, "IAM Task or Instance Role".
PAGE = {
    "AttachVolume", "AuthorizeSecurityGroupIngress", "CopyImage", "CreateImage", "CreateKeyPair",
    "CreateSecurityGroup", "CreateSnapshot", "CreateTags", "CreateVolume", "DeleteKeyPair", "DeleteSecurityGroup",
    "DeleteSnapshot", "DeleteVolume", "DeregisterImage", "DescribeImageAttribute", "DescribeImages",
    "DescribeInstances", "DescribeInstanceStatus", "DescribeRegions", "DescribeSecurityGroups", "DescribeSnapshots",
    "DescribeSubnets", "DescribeTags", "DescribeVolumes", "DetachVolume", "GetPasswordData", "ModifyImageAttribute",
    "ModifyInstanceAttribute", "ModifySnapshotAttribute", "RegisterImage", "RunInstances", "StopInstances",
    "TerminateInstances",
    # for a spot machine, its price, a network without a subnet
    "CreateLaunchTemplate", "DeleteLaunchTemplate", "CreateFleet", "DescribeSpotPriceHistory", "DescribeVpcs",
    "DescribeInstanceTypeOfferings",
}  # fmt: skip
LEFT_OUT = {
    "AttachVolume": "amazon-chroot and amazon-ebssurrogate",
    "DetachVolume": "amazon-chroot",
    "CreateVolume": "amazon-chroot",
    "CreateSnapshot": "amazon-chroot and amazon-ebssurrogate",
    "RegisterImage": "amazon-chroot, amazon-ebssurrogate and amazon-instance",
    "CopyImage": "ami_regions and encrypt_boot",
    "DescribeImageAttribute": "called nowhere in 1.8.2",
    "DescribeInstanceStatus": "called nowhere in 1.8.2",
    "DescribeTags": "called nowhere in 1.8.2",
    "GetPasswordData": "the communicator winrm",  # pragma: allowlist secret
    "ModifyInstanceAttribute": "ena_support and sriov_support",
    "ModifySnapshotAttribute": "snapshot_users and snapshot_groups",
    "DescribeVpcs": "vpc_id, vpc_filter, and associate_public_ip_address without a subnet",
    "DescribeInstanceTypeOfferings": "associate_public_ip_address without a subnet",
}
CASES: list[tuple[bool, str, str, dict[str, str]]] = [
    (True, "ec2:RunInstances", f"{EC2}:instance/x", TAGGED),
    (False, "ec2:RunInstances", f"{EC2}:instance/x", {}),
    (False, "ec2:RunInstances", f"{EC2}:volume/x", {}),
    (True, "ec2:RunInstances", f"{PUBLIC}:image/ami-1", {}),
    (False, "ec2:RunInstances", f"{EC2}:security-group/sg-1", THEIRS),
    (False, "ec2:CreateFleet", f"{EC2}:fleet/x", {}),
    (False, "ec2:CreateFleet", f"{EC2}:launch-template/lt-1", THEIRS),
    (True, "ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS),
    (False, "ec2:TerminateInstances", f"{EC2}:instance/i-1", {**OURS, **OF_A_RUN}),
    (False, "ec2:TerminateInstances", f"{EC2}:instance/i-1", THEIRS),
    (False, "ec2:StopInstances", f"{EC2}:instance/i-1", {}),
    (False, "ec2:DeleteVolume", f"{EC2}:volume/vol-1", {**OURS, **OF_A_RUN}),
    (True, "ec2:DeregisterImage", f"{PUBLIC}:image/ami-1", OURS),
    (False, "ec2:DeregisterImage", f"{PUBLIC}:image/ami-1", THEIRS),
    (False, "ec2:DeleteSnapshot", f"{PUBLIC}:snapshot/snap-1", {}),
    (False, "ec2:ModifyImageAttribute", f"{PUBLIC}:image/ami-1", {}),
    (False, "ec2:CreateImage", f"{EC2}:instance/i-1", THEIRS),
    (False, "ec2:CreateTags", f"{EC2}:instance/i-1", TAGGED),
    (False, "ec2:AuthorizeSecurityGroupIngress", f"{EC2}:security-group/sg-1", {}),
    (False, "ec2:DeleteFleets", f"{EC2}:fleet/fleet-1", OURS),
    (False, "iam:PassRole", f"arn:aws:iam::{SCOPE.account}:role/x", {"iam:PassedToService": "ec2.amazonaws.com"}),
    (False, "iam:CreateServiceLinkedRole", f"arn:aws:iam::{SCOPE.account}:role/aws-service-role/eks.amazonaws.com/x",
     {"iam:AWSServiceName": "eks.amazonaws.com"}),
    (False, "s3:GetObject", f"arn:aws:s3:::{SCOPE.bucket}/runs/race/x", {}),
]  # fmt: skip


def granted() -> set[str]:
    return {action for statement in bake_policy(SCOPE)["Statement"] for action in statement["Action"]}


def test_who_bakes_reaches_images_and_their_builder_and_nothing_else(iam: Iam) -> None:
    policy = bake_policy(SCOPE)
    asked = [
        (USER, [policy], Question(action, resource, tuple(context.items())))
        for _, action, resource, context in CASES
    ]
    answers = iam.decide(asked, SCOPE.account)
    wrong = [
        f"{question}: {answer}"
        for (allowed, *_), (_, _, question), answer in zip(CASES, asked, answers, strict=True)
        if (answer == "Allowed") != allowed
    ]
    assert wrong == []


def test_what_packers_page_lists_is_granted_or_left_out_for_a_reason() -> None:
    assert {f"ec2:{action}" for action in PAGE - set(LEFT_OUT)} <= granted()
    assert not granted() & {f"ec2:{action}" for action in LEFT_OUT}
    assert set(LEFT_OUT) <= PAGE


def test_what_is_left_out_is_in_no_step_that_was_read() -> None:
    read = {call.call.operation for call in documented_calls.packer()}
    assert not read & set(LEFT_OUT)
