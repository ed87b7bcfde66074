"""The security group of the machines: all the traffic it lets in is compared with what the settings ask for."""

from __future__ import annotations

import contextlib
from typing import Any

from ... import layout
from ...aws_access.address import own_address
from ...errors import TrainingError, UsageError
from ..aws import ingress, inventory, project_resources
from ..aws.aws_errors import AlreadyExists, CloudError
from ..aws.client import Cloud
from ..aws.ownership import as_mapping, require_owned
from ..aws.project import Project
from .steps import SetupStep, refused

Found = dict[str, Any]


def group_step(cloud: Cloud, project: Project) -> SetupStep:
    """Return the step of `up` that makes the group, or that makes it let in what the settings ask and no more."""
    vpc = inventory.vpc_id(cloud)
    wanted = project_resources.ingress(allowed_address(cloud))
    request = {**project_resources.create_security_group(project, vpc), "IpPermissions": wanted}
    found = inventory.security_group(cloud, project, vpc)
    name = f"security group {layout.security_group_name(project.name)} in {vpc}"
    if found is not None:
        try:
            require_owned(project, f"{name} ({found['GroupId']})", as_mapping(found.get("Tags")))
        except UsageError as error:
            return refused(name, request, error)
    what = f"{name}, {ingress.describe(ingress.rules(wanted))}"
    before = "" if found is None else differences(found, wanted)
    action = "make" if found is None else "update" if before else "keep"
    return SetupStep(
        what,
        action,
        request,
        lambda: _make(cloud, project, vpc, wanted),
        before=before,
        after=ingress.describe(ingress.rules(wanted)) if before else "",
    )


def differences(group: Found, wanted: list[Found]) -> str:
    """Return what a group lets in and out where that is not what is wanted, "" where it is."""
    there = ingress.rules(group["IpPermissions"])
    closed = "" if ingress.lets_out(group["IpPermissionsEgress"]) else "nothing may go out"
    opened = "" if there == ingress.rules(wanted) else ingress.describe(there)
    return "; ".join(filter(None, [opened, closed]))


def not_as_asked(cloud: Cloud, project: Project) -> str:
    """Return what the group lets in that aws.open_ports_to does not ask, or the reverse; "" where all is as asked.

    "" too where there is no group, or where this computer's address cannot be had.
    """
    group = inventory.security_group(cloud, project, inventory.vpc_id(cloud))
    if group is None:
        return ""
    try:
        wanted = project_resources.ingress(allowed_address(cloud))
    except CloudError as error:
        cloud.say(f"  {error.message}; whether the security group is open to it was not compared")
        return ""
    found = differences(group, wanted)
    return (
        f"aws.open_ports_to = {cloud.aws.open_ports_to}, but the security group has: {found}" if found else ""
    )


def _make(cloud: Cloud, project: Project, vpc: str, wanted: list[Found]) -> None:
    with contextlib.suppress(AlreadyExists):  # from an earlier `up`, or one of which the reply was lost
        cloud.call("ec2", "create_security_group", **project_resources.create_security_group(project, vpc))
    group = inventory.security_group(cloud, project, vpc)
    if group is None:
        raise CloudError("the security group is not there yet", next_step="Run it again: ./launch.py up")
    require_owned(project, f"security group {group['GroupName']}", as_mapping(group.get("Tags")))
    there, asked = ingress.rules(group["IpPermissions"]), ingress.rules(wanted)
    if there - asked:
        extra = [rule.permission for rule in sorted(there - asked)]
        cloud.call("ec2", "revoke_security_group_ingress", GroupId=group["GroupId"], IpPermissions=extra)
    missing = [one for one in wanted if ingress.rules([one]) - there]
    if missing:
        cloud.call("ec2", "authorize_security_group_ingress", GroupId=group["GroupId"], IpPermissions=missing)
    if not ingress.lets_out(group["IpPermissionsEgress"]):
        out = [ingress.TO_THE_WORLD]
        cloud.call("ec2", "authorize_security_group_egress", GroupId=group["GroupId"], IpPermissions=out)


def allowed_address(cloud: Cloud) -> str | None:
    """Return the one address that may reach the ports, None for none."""
    setting = cloud.aws.open_ports_to
    if setting == "none":
        return None
    if setting != "my-ip":
        return setting
    try:
        return own_address()
    except TrainingError as error:
        raise CloudError(
            error.message, next_step=error.next_step or "Write the address itself into aws.open_ports_to."
        ) from error
