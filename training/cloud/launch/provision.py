"""Create a launch's resources on AWS: role, launch template, fleet. Each may be created again after an interruption."""

from __future__ import annotations

import functools
import json
from typing import Any

from ... import layout
from ...errors import UsageError
from ..aws import inventory, launch_requests, project_resources
from ..aws.aws_errors import AlreadyExists, CloudError, NoResponse, ResourceNotFound
from ..aws.client import Cloud
from ..aws.launch_requests import Launch
from ..aws.ownership import as_mapping, require_owned
from ..aws.project import Project
from ..cleanup.leaks import delete_template
from .profile_wait import until_known

# EC2 shows what was just made only after some seconds.
FLEET_SHOWS_S = 10.0
# Requests to IAM, 2 s apart, for a resource that it says exists: it may show a new one only after some seconds.
IAM_SHOWS_TRIES = 6


def check_names(cloud: Cloud, project: Project, run: str, launch: int) -> None:
    """Raise UsageError where something that a launch makes exists already and is not this run's, with all of it."""
    name = layout.run_role_name(project.name, project.region, run)
    template = layout.template_name(project.name, run, launch)
    found: list[tuple[str, dict[str, Any] | None]] = [
        (f"launch template {template}", one) for one in inventory.templates(cloud, template)
    ]
    if not project.machine_role:
        found.append((f"role {name}", inventory.role(cloud, name)))
        found.append((f"instance profile {name}", inventory.instance_profile(cloud, name)))
    refused = []
    for what, there in found:
        try:
            if there is not None:
                require_owned(project, what, as_mapping(there.get("Tags")), run=run)
        except UsageError as error:
            refused.append(error)
    if refused:
        raise UsageError("; ".join(one.message for one in refused), next_step=refused[0].next_step)


def create_role(cloud: Cloud, project: Project, run: str) -> bool:
    """Make the run's role and instance profile, as far as they are missing; tell whether something was made.

    Raises UsageError where one of that name exists that is not this run's. With an existing profile in the settings
    there is nothing to make.
    """
    if project.machine_role:
        return False
    role = project_resources.create_role(project, run)
    profile = project_resources.create_instance_profile(project, run)
    name = role["RoleName"]
    made = _unless_present(
        cloud,
        "create_role",
        {**role, "AssumeRolePolicyDocument": json.dumps(role["AssumeRolePolicyDocument"])},
    )
    if not made:
        there = _shown(cloud, "get_role", RoleName=name)["Role"]
        require_owned(project, f"role {name}", as_mapping(there.get("Tags")), run=run)
    cloud.call("iam", "attach_role_policy", RoleName=name, PolicyArn=project.policy_arn)
    if _unless_present(cloud, "create_instance_profile", profile):
        made = True
    else:
        there = _shown(cloud, "get_instance_profile", InstanceProfileName=name)["InstanceProfile"]
        require_owned(project, f"instance profile {name}", as_mapping(there.get("Tags")), run=run)
    try:
        cloud.call("iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=name)
    except CloudError:
        held = cloud.call("iam", "get_instance_profile", InstanceProfileName=name)["InstanceProfile"]["Roles"]
        if [row["RoleName"] for row in held] != [name]:
            raise
    return made


def create_template(cloud: Cloud, project: Project, launch: Launch) -> tuple[str, int]:
    """Make the launch template of a launch and return its id and version; one of an interrupted start is replaced.

    Raises UsageError where one of that name exists that is not this run's.
    """
    request = launch_requests.launch_template(project, cloud.aws, launch)
    name = request["LaunchTemplateName"]
    try:
        made = cloud.call("ec2", "create_launch_template", **request)["LaunchTemplate"]
    except AlreadyExists:
        for there in inventory.templates(cloud, name):
            require_owned(project, f"launch template {name}", as_mapping(there.get("Tags")), run=launch.run)
        # No fleet uses it: it may carry an older end date.
        delete_template(cloud, name)
        made = cloud.call(
            "ec2",
            "create_launch_template",
            **{**request, "ClientToken": f"{request['ClientToken'][:32]}-again"},
        )["LaunchTemplate"]
    return made["LaunchTemplateId"], int(made["LatestVersionNumber"])


def create_fleet(cloud: Cloud, project: Project, launch: Launch, template_id: str, version: int) -> str:
    """Make the fleet and return its id. After a lost reply it looks before it asks again: one run, one fleet."""
    request = launch_requests.fleet_request(project, launch, template_id, version)
    for _ in range(4):
        try:
            return str(until_known(cloud, functools.partial(_create_fleet, cloud, request))["FleetId"])
        except NoResponse as error:
            if error.refused:
                raise
            last: CloudError = error
            found = inventory.fleet_of(cloud, project, launch.run)
            if found is not None:
                return str(found["FleetId"])
            cloud.say(f"  {error.message}; no fleet came of it: asking again")
            cloud.clock.sleep(2.0)
        except CloudError as error:
            if error.code != "IdempotentParameterMismatch":
                raise
            last = error
            request = {**request, "ClientToken": _another_token(cloud, project, launch)}
    raise last


def _create_fleet(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    return cloud.call("ec2", "create_fleet", repeat_unknown=False, **request)


def _another_token(cloud: Cloud, project: Project, launch: Launch) -> str:
    """Return a token for a fleet whose first one is spent, by a start that was interrupted or a run that was removed.

    Raises CloudError if that start did make a fleet, which may take AWS some seconds to show.
    """
    cloud.say("  AWS remembers an earlier start of this run: looking for its fleet")
    cloud.clock.sleep(FLEET_SHOWS_S)
    found = inventory.fleet_of(cloud, project, launch.run)
    if found is not None:
        raise CloudError(
            f"an earlier start of run {launch.run} has made {found['FleetId']}",
            next_step=f"End it: ./launch.py stop {launch.run} --now; then: ./launch.py train --resume {launch.run}",
        )
    return launch_requests.client_token(project, launch, f"{launch.valid_until}")


def _shown(cloud: Cloud, operation: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - any request
    """Return what IAM has under a name that it has just said is taken."""
    for _ in range(IAM_SHOWS_TRIES - 1):
        try:
            return cloud.call("iam", operation, **request)
        except ResourceNotFound:
            cloud.say("  waiting for IAM to show what it says exists")
            cloud.clock.sleep(2.0)
    return cloud.call("iam", operation, **request)


def _unless_present(cloud: Cloud, operation: str, request: dict[str, Any]) -> bool:
    try:
        cloud.call("iam", operation, **request)
    except AlreadyExists:
        return False
    return True
