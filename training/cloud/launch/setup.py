"""`up`: plan what a project needs on AWS, then make what is missing. Every step may be repeated."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from ... import layout
from ...errors import UsageError
from ..aws import iam_policies, inventory, project_resources
from ..aws.aws_errors import AlreadyExists, CloudError
from ..aws.client import Cloud
from ..aws.ownership import as_mapping, require_owned
from ..aws.project import Project
from . import bucket_setup
from .group_setup import group_step, not_as_asked
from .steps import SetupStep, check, refused


def plan(cloud: Cloud, project: Project, *, use_existing_bucket: bool = False) -> list[SetupStep]:
    """Return the steps of `up`, in order; reads only."""
    return [
        *bucket_setup.steps(cloud, project, use_existing=use_existing_bucket),
        *([] if project.machine_role else [_policy_step(cloud, project)]),
        group_step(cloud, project),
        _log_group_step(cloud, project),
        *_service_role_steps(cloud),
    ]


def apply(steps: list[SetupStep], say: Callable[[str], None]) -> None:
    """Do what is to be done, saying each step. UsageError, before anything is done, if one is refused."""
    check(steps)
    for step in steps:
        if step.action != "keep":
            step.apply()
        say(f"  {'there' if step.action == 'keep' else 'done':6}  {step.what}")


def is_up(cloud: Cloud, project: Project) -> list[str]:
    """Return what a launch needs and is missing or of another version, in words; empty where nothing is."""
    missing = bucket_setup.missing(cloud, project)
    policy = None if project.machine_role else _policy_step(cloud, project)
    if policy is not None and policy.action in {"make", "refuse"}:
        missing.append(policy.what)
    if inventory.security_group(cloud, project, inventory.vpc_id(cloud)) is None:
        missing.append(f"security group {layout.security_group_name(project.name)}")
    return [
        *([f"missing: {', '.join(missing)}"] if missing else []),
        *(
            [f"not as this code needs it: {policy.what}"]
            if policy is not None and policy.action == "update"
            else []
        ),
        *filter(None, [not_as_asked(cloud, project)]),
    ]


# --- the policy of the instances ---
def _policy_step(cloud: Cloud, project: Project) -> SetupStep:
    request = project_resources.create_policy(project)
    what = f"policy {request['PolicyName']}"
    current = inventory.instance_policy(cloud, project)
    if current is None:
        return SetupStep(what, "make", request, lambda: _make_policy(cloud, request))
    try:
        require_owned(project, what, as_mapping(current.get("Tags")))
    except UsageError as error:
        return refused(what, request, error)
    version = cloud.call(
        "iam", "get_policy_version", PolicyArn=project.policy_arn, VersionId=current["DefaultVersionId"]
    )["PolicyVersion"]
    action = "keep" if version["Document"] == request["PolicyDocument"] else "update"
    return SetupStep(what, action, request, lambda: _update_policy(cloud, project))


def _make_policy(cloud: Cloud, request: dict[str, Any]) -> None:
    try:
        cloud.call("iam", "create_policy", **project_resources.sent(request))
    except AlreadyExists:
        cloud.say("  the policy was made meanwhile; `up` again compares it")


def _update_policy(cloud: Cloud, project: Project) -> None:
    """Make the document the default version; IAM keeps five, so the oldest makes room."""
    versions = list(cloud.pages("iam", "list_policy_versions", "Versions", PolicyArn=project.policy_arn))
    old = sorted((v for v in versions if not v["IsDefaultVersion"]), key=lambda v: int(v["VersionId"][1:]))
    if len(versions) >= 5:
        cloud.call(
            "iam", "delete_policy_version", PolicyArn=project.policy_arn, VersionId=old[0]["VersionId"]
        )
    document = json.dumps(iam_policies.instance_policy(project))
    cloud.call(
        "iam",
        "create_policy_version",
        PolicyArn=project.policy_arn,
        PolicyDocument=document,
        SetAsDefault=True,
    )


# --- logs, service roles ---
def _log_group_step(cloud: Cloud, project: Project) -> SetupStep:
    request = project_resources.create_log_group(project)
    name = request["logGroupName"]
    what = f"log group {name}, {project_resources.LOG_DAYS} days"
    found = inventory.log_group(cloud, project)
    if found is None:
        return SetupStep(what, "make", request, lambda: _make_log_group(cloud, project))
    try:
        require_owned(project, f"log group {name}", inventory.log_group_tags(cloud, found))
    except UsageError as error:
        return refused(what, request, error)
    kept_days = found.get("retentionInDays")
    return SetupStep(
        what,
        "keep" if kept_days == project_resources.LOG_DAYS else "update",
        request,
        lambda: _make_log_group(cloud, project),
        before=f"kept for {kept_days} days" if kept_days else "kept for ever",
        after=f"kept for {project_resources.LOG_DAYS} days",
    )


def _make_log_group(cloud: Cloud, project: Project) -> None:
    request = project_resources.create_log_group(project)
    name = request["logGroupName"]
    try:
        cloud.call("logs", "create_log_group", **request)
    except AlreadyExists:  # its retention may still be missing
        found = inventory.log_group(cloud, project)
        tags = {} if found is None else inventory.log_group_tags(cloud, found)
        require_owned(project, f"log group {name}", tags)
    cloud.call("logs", "put_retention_policy", logGroupName=name, retentionInDays=project_resources.LOG_DAYS)


def _service_role_steps(cloud: Cloud) -> list[SetupStep]:
    """Return the steps for the roles that EC2 itself works with; AWS's console makes them, its API does not."""
    return [
        SetupStep(
            f"service role of {service}",
            "keep" if service in service_roles(cloud) else "make",
            {"AWSServiceName": service},
            functools.partial(make_service_role, cloud, service),
        )
        for service in project_resources.SERVICE_ROLES
    ]


def service_roles(cloud: Cloud) -> set[str]:
    """Return the services, of those needed, whose service-linked role exists."""
    return {
        service
        for service in project_resources.SERVICE_ROLES
        if any(cloud.pages("iam", "list_roles", "Roles", PathPrefix=f"/aws-service-role/{service}/"))
    }


def make_service_role(cloud: Cloud, service: str) -> None:
    """Make a service-linked role, unless the account has it."""
    try:
        cloud.call("iam", "create_service_linked_role", AWSServiceName=service)
    except CloudError as error:
        if error.code != "InvalidInput" and not isinstance(error, AlreadyExists):
            raise  # InvalidInput: "has been taken in this account", it exists
