"""`doctor --probe`: ask EC2 itself what it would let the caller do. Each request says DryRun, so nothing is created.

EC2 answers DryRunOperation where it would have allowed the request, UnauthorizedOperation where not. It looks at
the permission after it has looked at the ids, so each request names ids that exist.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html (DryRun)
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from ...errors import TrainingError
from . import inventory, launch_requests, project_resources
from .aws_errors import CloudError
from .client import Cloud
from .launch_requests import Launch
from .project import Project

Verdict = Literal["allowed", "denied", "unknown", "not asked"]
# Canonical's account; its images are where `make ami` begins (packer/source.pkr.hcl).
CANONICAL, UBUNTU = "099720109477", "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"
NAME = "probe"  # of what a request would create
UP, TRAIN, BAKE = "./launch.py up", "a run's first launch: ./launch.py train", "the first image: make ami"


class Probe(NamedTuple):
    """One request, or what has to exist before it can be asked."""

    part: Literal["up and down", "train", "make ami"]  # whose permission it is
    operation: str  # as botocore names its methods
    request: dict[str, Any] | None
    needs: str = ""


class Answer(NamedTuple):
    """EC2's answer."""

    part: str
    action: str  # ec2:CreateFleet
    verdict: Verdict
    detail: str


class Existing(NamedTuple):
    """Ids to ask with; empty where there is none."""

    vpc: str
    subnet: str
    group: str  # the project's security group
    image: str  # the project's newest
    snapshot: str  # of that image
    base_image: str  # the newest Ubuntu 22.04
    template: str
    fleet: str
    instance: str
    volume: str


def ask_all(cloud: Cloud, project: Project) -> Iterator[Answer]:
    """Yield EC2's answer to each request; a request that cannot be made yet says what must come before it."""
    for probe in requests(cloud, project, read_existing(cloud, project)):
        yield ask(cloud, probe)


def ask(cloud: Cloud, probe: Probe) -> Answer:
    """Send one dry run. An answer that is neither of the two is unknown, never allowed, and given as it is."""
    action = "ec2:" + "".join(part.capitalize() for part in probe.operation.split("_"))
    if probe.request is None:
        return Answer(probe.part, action, "not asked", f"not to be asked before {probe.needs}")
    try:
        cloud.call("ec2", probe.operation, **probe.request, DryRun=True)
    except CloudError as error:
        if error.code == "DryRunOperation":
            return Answer(probe.part, action, "allowed", "")
        verdict: Verdict = "denied" if error.code == "UnauthorizedOperation" else "unknown"
        return Answer(probe.part, action, verdict, error.message)
    except TrainingError as error:
        return Answer(probe.part, action, "unknown", error.message)
    return Answer(probe.part, action, "unknown", "EC2 did not say that this was a dry run")


def read_existing(cloud: Cloud, project: Project) -> Existing:
    """Look up what there is to ask with."""
    vpc = inventory.vpc_id(cloud)
    group = inventory.security_group(cloud, project, vpc) or {}
    image = next(iter(inventory.images(cloud, project)), {})
    disks = [one["Ebs"] for one in image.get("BlockDeviceMappings", ()) if "Ebs" in one]
    return Existing(
        vpc=vpc,
        subnet=_first(inventory.subnets(cloud, vpc), "SubnetId"),
        group=group.get("GroupId", ""),
        image=image.get("ImageId", ""),
        snapshot=_first(disks, "SnapshotId"),
        base_image=_base_image(cloud),
        template=_first(inventory.run_templates(cloud, project), "LaunchTemplateId"),
        fleet=_first(inventory.fleets(cloud, project), "FleetId"),
        instance=_first(inventory.machines(cloud, project), "InstanceId"),
        volume=_first(inventory.volumes(cloud, project), "VolumeId"),
    )


def requests(cloud: Cloud, project: Project, there: Existing) -> list[Probe]:
    """Return every request of the project that knows DryRun and changes something, as it is really sent."""
    return [*_of_up(project, there), *_of_train(cloud, project, there), *_of_bake(project, there)]


def _of_up(project: Project, there: Existing) -> list[Probe]:
    create = project_resources.create_security_group(project, there.vpc)
    rules = {"GroupId": there.group, "IpPermissions": project_resources.ingress("203.0.113.7")}
    return [
        Probe(
            "up and down", "create_security_group", {**create, "GroupName": f"{create['GroupName']}-{NAME}"}
        ),
        _probe("up and down", "authorize_security_group_ingress", rules, UP, there.group),
        _probe("up and down", "revoke_security_group_ingress", rules, UP, there.group),
        _probe("up and down", "delete_security_group", {"GroupId": there.group}, UP, there.group),
    ]


def _of_train(cloud: Cloud, project: Project, there: Existing) -> list[Probe]:
    launch = _launch(cloud, there)
    template = launch_requests.launch_template(project, cloud.aws, launch)
    fleet = launch_requests.fleet_request(project, launch, there.template, 1)
    # EC2 demands rights of the caller for each machine that the fleet starts: those for the template's contents.
    run = {
        "LaunchTemplate": {"LaunchTemplateId": there.template, "Version": "1"},
        "InstanceType": launch.instance_types[0],
        "SubnetId": there.subnet,
        "MinCount": 1,
        "MaxCount": 1,
    }
    first = f"{BAKE}; and {UP}"
    return [
        _probe("train", "create_launch_template", template, first, there.image, there.group),
        _probe("train", "create_fleet", fleet, TRAIN, there.template),
        _probe("train", "run_instances", run, TRAIN, there.template),
        _probe(
            "train", "delete_launch_template", {"LaunchTemplateId": there.template}, TRAIN, there.template
        ),
        _probe(
            "train",
            "delete_fleets",
            {"FleetIds": [there.fleet], "TerminateInstances": True},
            "a run is active",
            there.fleet,
        ),
        _probe(
            "train",
            "terminate_instances",
            {"InstanceIds": [there.instance]},
            "a run is active",
            there.instance,
        ),
        _probe("train", "delete_volume", {"VolumeId": there.volume}, "a volume is left behind", there.volume),
    ]


def _of_bake(project: Project, there: Existing) -> list[Probe]:
    tags = project.tags({"Name": f"{project.name}-bake"})
    specifications = [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")]
    builder = {
        "ImageId": there.base_image,
        "InstanceType": "c6i.xlarge",
        "SubnetId": there.subnet,
        "MinCount": 1,
        "MaxCount": 1,
        "TagSpecifications": specifications,
    }
    canonical = "AWS shows Canonical's image of Ubuntu 22.04"
    key = {"KeyName": f"packer_{NAME}", "TagSpecifications": [{"ResourceType": "key-pair", "Tags": tags}]}
    image = {"InstanceId": there.instance, "Name": f"{project.name}-{NAME}", "NoReboot": True}
    return [
        Probe("make ami", "create_key_pair", key),
        _probe("make ami", "run_instances", builder, canonical, there.base_image),
        _probe(
            "make ami", "stop_instances", {"InstanceIds": [there.instance]}, "a machine is up", there.instance
        ),
        _probe("make ami", "create_image", image, "a machine is up", there.instance),
        _probe("make ami", "deregister_image", {"ImageId": there.image}, BAKE, there.image),
        _probe("make ami", "delete_snapshot", {"SnapshotId": there.snapshot}, BAKE, there.snapshot),
    ]


def _launch(cloud: Cloud, there: Existing) -> Launch:
    """Return a launch of a run that is never started: the question is whether it could be."""
    kinds = cloud.aws.instance_types
    return Launch(
        run=NAME,
        number=1,
        owner=NAME,
        image_id=there.image,
        security_group_id=there.group,
        bundle_sha256="0" * 64,
        training_type="sac",
        instance_types=kinds,
        pools=tuple((kind, there.subnet) for kind in kinds),
        valid_until=(cloud.clock.now() + timedelta(hours=1)).replace(microsecond=0),
        hours=1.0,
        price_cap_usd_per_hour=1.0,
    )


def _base_image(cloud: Cloud) -> str:
    filters = [{"Name": "name", "Values": [UBUNTU]}, {"Name": "state", "Values": ["available"]}]
    found = cloud.call("ec2", "describe_images", Owners=[CANONICAL], Filters=filters)["Images"]
    newest: dict[str, Any] = max(found, key=lambda one: str(one.get("CreationDate", "")), default={})
    return str(newest.get("ImageId", ""))


def _probe(
    part: Literal["up and down", "train", "make ami"],
    operation: str,
    request: dict[str, Any],
    needs: str,
    *ids: str,
) -> Probe:
    return Probe(part, operation, request) if all(ids) else Probe(part, operation, None, needs)


def _first(rows: list[dict[str, Any]], key: str) -> str:
    return next((str(row[key]) for row in rows if row.get(key)), "")
