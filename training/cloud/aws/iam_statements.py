"""The parts that IAM policies are made of: statements that allow, and the two conditions on the project's tag. Pure."""

from __future__ import annotations

from typing import Any

from ... import layout
from .project import Project

Document = dict[str, Any]


def allow(
    sid: str, actions: list[str], resource: str | list[str], condition: Document | None = None
) -> Document:
    """Return a statement that allows actions on resources, under a condition where there is one."""
    statement: Document = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def policy(statements: list[Document]) -> Document:
    """Return the statements as a policy."""
    return {"Version": "2012-10-17", "Statement": statements}


def owned(project: Project) -> Document:
    """Return the condition that a resource carries the project's tag."""
    return {"StringEquals": {f"aws:ResourceTag/{layout.TAG_PROJECT}": project.name}}


def requested(project: Project) -> Document:
    """Return the condition that a request puts the project's tag on this resource.

    A request has the key only for the resource types that it tags itself: in CreateFleet of type maintain that is the
    fleet alone, for its instances are tagged by the launch template.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html (TagSpecification)
    """
    return {"StringEquals": {f"aws:RequestTag/{layout.TAG_PROJECT}": project.name}}
