"""The machine of a run: launch template, user data, fleet request. Pure, golden-tested."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from datetime import datetime
from typing import Any, Literal, NamedTuple

from ... import layout
from ...config import AwsSettings
from .project import Project

Request = dict[str, Any]
Market = Literal["spot", "on-demand"]
USER_DATA_LINES = 20


class Launch(NamedTuple):
    """One launch of a run: everything that its template and fleet are made from."""

    run: str
    number: int  # 1 for the first; a resume is the next
    owner: str
    image_id: str
    security_group_id: str
    bundle_sha256: str
    training_type: str
    instance_types: tuple[str, ...]
    pools: tuple[tuple[str, str], ...]  # (type, subnet) that AWS offers
    valid_until: datetime
    hours: float  # from launch to valid_until
    price_cap_usd_per_hour: float  # the dearest allowed on-demand price
    market: Market = "spot"
    relaunch: bool = True
    keep_on_failure_s: int = 0
    at_step: int | None = None
    from_partial: bool = False
    root_device: str = (
        "/dev/sda1"  # of the image; another name would add a disk instead of enlarging the first
    )


def client_token(project: Project, launch: Launch, again: str = "") -> str:
    """Return what makes AWS take a repeated CreateFleet for the same one; `again` makes another of it."""
    return hashlib.sha256(f"{project.name}/{launch.run}/{launch.number}/{again}".encode()).hexdigest()


def launch_template(project: Project, aws: AwsSettings, launch: Launch) -> Request:
    """Return the request that makes the launch template of a launch."""
    tags = project.run_tags(launch.run, launch.owner, launch.valid_until)
    data: Request = {
        "ImageId": launch.image_id,
        "IamInstanceProfile": {
            "Name": aws.instance_profile or layout.run_role_name(project.name, project.region, launch.run)
        },
        "SecurityGroupIds": [launch.security_group_id],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "InstanceMetadataTags": "enabled",
        },
        "BlockDeviceMappings": [{"DeviceName": launch.root_device, "Ebs": _disk(aws)}],
        # A fleet of type maintain takes the tags of its machines from here alone.
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        "UserData": base64.b64encode(user_data(project, aws, launch).encode()).decode(),
    }
    if aws.key_pair_name:
        data["KeyName"] = aws.key_pair_name
    return {
        "LaunchTemplateName": layout.template_name(project.name, launch.run, launch.number),
        "VersionDescription": f"run {launch.run}, launch {launch.number}",
        "LaunchTemplateData": data,
        "TagSpecifications": [{"ResourceType": "launch-template", "Tags": tags}],
        "ClientToken": client_token(project, launch, f"{launch.valid_until}"),
    }


def _disk(aws: AwsSettings) -> Request:
    """Return the root disk; at EC2's own pace the first imports would read at a few MB/s from a fresh one."""
    disk: Request = {
        "VolumeSize": aws.volume_size_gb,
        "VolumeType": "gp3",
        "Encrypted": True,
        **({"KmsKeyId": aws.kms_key} if aws.kms_key else {}),
        "DeleteOnTermination": True,
    }
    if aws.volume_initialization_mib_s is not None:
        disk["VolumeInitializationRate"] = aws.volume_initialization_mib_s
    return disk


def fleet_request(project: Project, launch: Launch, template_id: str, version: int) -> Request:
    """Return the one CreateFleet of a launch: it carries its own end and its own price limit.

    Without relaunch its type is `request`, not `instant`: only the former honours ValidUntil.
    """
    limit = {"MaxTotalPrice": f"{launch.price_cap_usd_per_hour:.4f}"}
    tags = project.run_tags(launch.run, launch.owner, launch.valid_until)
    request: Request = {
        "ClientToken": client_token(project, launch),
        "Type": "maintain" if launch.relaunch else "request",
        "ValidUntil": launch.valid_until,
        "TerminateInstancesWithExpiration": True,
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": launch.market},
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template_id, "Version": str(version)},
                "Overrides": [{"InstanceType": kind, "SubnetId": subnet} for kind, subnet in launch.pools],
            }
        ],
        "TagSpecifications": [{"ResourceType": "fleet", "Tags": tags}],
    }
    if launch.relaunch:  # a fleet of another type may not ask for these two
        request["ReplaceUnhealthyInstances"] = True
        request["ExcessCapacityTerminationPolicy"] = "termination"
    if launch.market == "spot":
        request["SpotOptions"] = {
            "AllocationStrategy": "price-capacity-optimized",
            "InstanceInterruptionBehavior": "terminate",
            **limit,
        }
    else:
        request["OnDemandOptions"] = {"AllocationStrategy": "lowest-price", **limit}
    return request


def user_data(project: Project, aws: AwsSettings, launch: Launch) -> str:
    """Return the script that a machine runs at first boot: it names the run and hands over to the image."""
    settings = json.dumps(
        {"training": {"training_type": launch.training_type}, "aws": _reaching(project, aws)},
        separators=(",", ":"),
    )
    bundle = f"{project.store}/{layout.script_bundle_key(launch.bundle_sha256)}"
    return "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            f"printf '%s\\n' {shlex.quote(settings)} > {layout.RUN_CONFIG}",
            f"cat > {layout.RUN_ENV} <<'END'",
            *(f"{name}={value}" for name, value in run_env(project, aws, launch).items()),
            "END",
            f"exec {layout.FETCH} {bundle}",
            "",
        ]
    )


def run_env(project: Project, aws: AwsSettings, launch: Launch) -> dict[str, str]:
    """Return what the units on the image read: names and limits, never a secret."""
    origin = " --from-partial" if launch.from_partial else ""
    if launch.at_step is not None:
        origin = f" --at {launch.at_step}"
    arguments = f"--resume {launch.run}{origin}"
    env = {
        "F1TENTH_ON_INSTANCE": "1",
        "F1TENTH_RUN": launch.run,
        "F1TENTH_LAUNCH": str(launch.number),
        "F1TENTH_STORE": project.store,
        "F1TENTH_CONFIG": str(layout.RUN_CONFIG),
        "F1TENTH_TRAIN_ARGS": arguments,
        "F1TENTH_MAX_HOURS": f"{launch.hours:.3f}",
        "F1TENTH_KEEP_ON_FAILURE_S": str(launch.keep_on_failure_s),
        "F1TENTH_WANDB_PARAMETER": layout.wandb_parameter_name(project.name),
        "F1TENTH_TENSORBOARD_HOST": "127.0.0.1" if aws.open_ports_to == "none" else "0.0.0.0",  # noqa: S104 - one address passes the group
        "AWS_DEFAULT_REGION": project.region,
    }
    for service in ("s3", "ec2", "ssm"):
        endpoint = getattr(aws.endpoints, service)
        if endpoint:
            env[f"AWS_ENDPOINT_URL_{service.upper()}"] = endpoint
    return env


def _reaching(project: Project, aws: AwsSettings) -> Request:
    """Return the settings by which the trainer opens its store; the rest is in the run's config.json."""
    endpoints = {name: value for name, value in aws.endpoints.model_dump().items() if value}
    settings: Request = {"region": project.region, "project_name": project.name}
    if aws.s3_transfer_acceleration:
        settings["s3_transfer_acceleration"] = True
    return {**settings, "endpoints": endpoints} if endpoints else settings
