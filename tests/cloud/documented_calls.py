"""Calls that other programs make for the product: no test sees them, so each has the page that says so.

The CLI's and its plugin's sessions, the two agents on the image, Packer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.cloud.call_shapes import PROJECT, Call

GUIDE = "https://docs.aws.amazon.com/systems-manager/latest/userguide"
# What Session Manager tags a session with: the caller's aws:userid.
ROLE_ID = "AROAEXAMPLE:kim@example.org"


class Documented(NamedTuple):
    """A call, the page that says that it is made, and the context that only this program's call has."""

    call: Call
    source: str
    context: tuple[tuple[str, str], ...] = ()
    as_role: bool = False  # by a session of a role instead of a user


def _one(
    by: str,
    call: str,
    source: str,
    *,
    as_role: bool = False,
    context: dict[str, str] | None = None,
    **about: Any,
) -> Documented:
    service, _, operation = call.partition(":")
    given = Call(by, service, operation, json.dumps(about, sort_keys=True))
    return Documented(given, source, tuple(sorted((context or {}).items())), as_role)


def sessions() -> Iterator[Documented]:
    """Yield what `aws ssm start-session`, which `ssh` and `tensorboard` run, and its plugin ask for."""
    start = f"{GUIDE}/getting-started-restrict-access-quickstart.html"
    own = f"{GUIDE}/getting-started-restrict-access-examples.html"
    for document in ("AWS-StartPortForwardingSession", "SSM-SessionManagerRunShell"):
        yield _one("daily", "ssm:StartSession", start, Document=document)
    yield _one("daily", "ssmmessages:OpenDataChannel", start)
    for operation in ("TerminateSession", "ResumeSession"):
        yield _one("daily", f"ssm:{operation}", own, Session="kim-0a1b2c3d", context={"aws:username": "kim"})
        tag = {"ssm:resourceTag/aws:ssmmessages:session-id": ROLE_ID, "aws:userid": ROLE_ID}
        yield _one(
            "daily", f"ssm:{operation}", own, as_role=True, Session="kim@example.org-0a1b", context=tag
        )


def agents() -> Iterator[Documented]:
    """Yield what the agents of Systems Manager and, where it is switched on, of CloudWatch ask for on a machine."""
    page = f"{GUIDE}/getting-started-create-iam-instance-profile.html"
    yield _one("instance", "ssm:UpdateInstanceInformation", page)
    for channel in ("CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"):
        yield _one("instance", f"ssmmessages:{channel}", page)
    page = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/create-iam-roles-for-cloudwatch-agent.html"
    for operation in ("CreateLogStream", "PutLogEvents"):
        yield _one("instance", f"logs:{operation}", page)


PLUGIN = "https://github.com/hashicorp/packer-plugin-amazon/blob/v1.8.2"
# run_tags, run_volume_tags, spot_tags and fleet_tags of packer/source.pkr.hcl; of tags only this one is compared.
TAGS = {"Project": PROJECT}
STEPS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "common/regions.go": [("DescribeRegions", {})],
    "common/step_pre_validate.go": [("DescribeImages", {})],
    "common/step_source_ami_info.go": [("DescribeImages", {})],
    "common/step_network_info.go": [("DescribeSubnets", {})],  # where subnet_id is set
    "common/step_key_pair.go": [
        ("CreateKeyPair", {"TagSpecifications": {"key-pair": TAGS}}),
        ("DeleteKeyPair", {}),
    ],
    "common/step_security_group.go": [
        ("CreateSecurityGroup", {"TagSpecifications": {"security-group": TAGS}}),
        ("DescribeSecurityGroups", {}),
        ("AuthorizeSecurityGroupIngress", {}),
        ("DeleteSecurityGroup", {}),
    ],
    "common/step_cleanup_volumes.go": [("DescribeVolumes", {}), ("DeleteVolume", {})],
    "common/step_run_source_instance.go": [  # on demand
        (
            "RunInstances",
            {
                "TagSpecifications": {"instance": TAGS, "network-interface": TAGS, "volume": TAGS},
                "KeyName": True,
            },
        ),
        ("DescribeInstances", {}),
        ("TerminateInstances", {}),
    ],
    "common/step_run_spot_instance.go": [
        (
            "CreateLaunchTemplate",
            {
                "TagSpecifications": {"launch-template": TAGS},
                "LaunchTemplateData": {
                    "TagSpecifications": {"instance": TAGS, "network-interface": TAGS, "volume": TAGS},
                    "KeyName": True,
                    "InstanceMarketOptions": True,
                },
            },
        ),
        (
            "CreateFleet",
            {
                "TagSpecifications": {"fleet": TAGS},
                "LaunchTemplateConfigs": [],
                "Type": "instant",
                "market": "spot",
            },
        ),
        ("DescribeInstances", {}),
        ("CreateTags", {"Resources": ["spot-instances-request"], "Tags": TAGS}),
        ("CreateTags", {"Resources": ["instance"], "Tags": TAGS}),
        ("CreateTags", {"Resources": ["volume"], "Tags": TAGS}),
        ("TerminateInstances", {}),
        ("DeleteLaunchTemplate", {}),
    ],
    "common/step_stop_ebs_instance.go": [("StopInstances", {}), ("DescribeInstances", {})],  # on demand
    "builder/ebs/step_create_ami.go": [
        ("CreateImage", {"TagSpecifications": {"image": TAGS, "snapshot": TAGS}}),
        ("DescribeImages", {}),
        ("DeregisterImage", {}),  # after a failure
        ("DeleteSnapshot", {}),
    ],
    "common/step_modify_ami_attributes.go": [("ModifyImageAttribute", {})],
    "common/step_create_tags.go": [
        ("DescribeImages", {}),
        ("CreateTags", {"Resources": ["image", "snapshot"], "Tags": TAGS}),
    ],
}


def packer() -> Iterator[Documented]:
    """Yield what Packer's amazon plugin 1.8.2 asks for with packer/*.hcl, read from its source, step by step.

    The plugin cannot be run here. tests/image/test_packer_calls.py runs Debian's Packer 1.6.6, whose operations are the
    same but for what it names; its requests tag nothing at creation, so of tags the source speaks alone.
    """
    for path, calls in STEPS.items():
        for operation, about in calls:
            yield _one("bake", f"ec2:{operation}", f"{PLUGIN}/{path}", **about)
    # EC2 makes it with the caller's rights: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
    page = (
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html"
    )
    yield _one("bake", "iam:CreateServiceLinkedRole", page, AWSServiceName="spot.amazonaws.com")


def everything() -> list[Documented]:
    """Return all of them."""
    return [*sessions(), *agents(), *packer()]
