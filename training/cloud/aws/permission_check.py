"""Which permissions the caller lacks: IAM's own simulator is asked, with what our requests carry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from ... import layout
from ...errors import TrainingError
from .client import Cloud
from .iam_statements import Document
from .project import Project

# Statements for all of EC2 apply to few types of resources per action: those it creates, or those it deletes.
_TYPES = {
    "ec2:CreateFleet": ("fleet",),
    "ec2:CreateLaunchTemplate": ("launch-template",),
    "ec2:CreateSecurityGroup": ("security-group",),
    "ec2:DeleteFleets": ("fleet",),
    "ec2:DeleteLaunchTemplate": ("launch-template",),
    "ec2:DeleteVolume": ("volume",),
    "ec2:GetConsoleOutput": ("instance",),
    "ec2:RunInstances": ("instance", "volume"),
    "ec2:TerminateInstances": ("instance",),
}
_OF_FLEETS = {"fleet", "image", "instance", "launch-template", "subnet", "volume"}
_TYPE_OF = {"kms:ResourceAliases": "stringList"}
_OWNERLESS = {"image", "snapshot"}  # EC2 names them without an account
_USER_ID = "AIDAEXAMPLE"  # any will do: both sides of each comparison use it


class Question(NamedTuple):
    """A question to the simulator: some actions of a statement, on its resources, as one of our requests is made."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    context: tuple[tuple[str, str], ...]


class RefusedAction(NamedTuple):
    """An action that the caller may not do, and the kind of policy that refuses it; empty where none allows it."""

    action: str
    by: str = ""


def principal(cloud: Cloud, project: Project) -> str | None:
    """Return the ARN that the simulator takes for the caller; None for root, who may do everything.

    Raises CloudError where the caller's role cannot be looked up.
    """
    kind, name = _caller(project)
    if kind == "root":
        return None
    if kind == "assumed-role":  # a session of a role, whose path only the role itself contains
        return str(cloud.call("iam", "get_role", RoleName=name)["Role"]["Arn"])
    return project.caller


def lacking(cloud: Cloud, project: Project, who: str, policy: Document) -> list[RefusedAction]:
    """Return what the caller may not do of all that a policy allows, each action once.

    Raises CloudError where the simulator does not answer; it is tried only once, for nothing depends on it.
    """
    cloud.send("iam", "simulate_principal_policy", {"PolicySourceArn": who, "ActionNames": ["iam:GetUser"]})
    found: dict[str, RefusedAction] = {}
    for statement in policy["Statement"]:
        for question in questions(project, statement):
            for refused in _refused(cloud, who, question):
                found.setdefault(refused.action, refused)
    return sorted(found.values())


def questions(project: Project, statement: Document) -> Iterator[Question]:
    """Yield what is to be asked for a statement: each context of its condition, on resources that could exist.

    Nothing for a statement about a user's name where a role asks, or about a role's session where a user does.
    """
    kind, name = _caller(project)
    text = str(statement)
    if ("${aws:username}" in text and kind != "user") or ("${aws:userid}" in text and kind == "user"):
        return
    values = {"${aws:username}": name.rpartition("/")[2], "${aws:userid}": _USER_ID}
    variables = {variable: value for variable, value in values.items() if variable in text}
    for context in _contexts(statement.get("Condition", {}), variables):
        if "ec2:CreateAction" in context:  # what is tagged as it is made carries our tag
            context[f"aws:RequestTag/{layout.TAG_PROJECT}"] = project.name
        by_resources: dict[tuple[str, ...], list[str]] = {}
        for action in statement["Action"]:
            patterns = [
                one for pattern in _patterns(statement) for one in _of_types(pattern, action, context)
            ]
            resources = tuple(_resource(project, one, variables) for one in patterns if _fits(action, one))
            by_resources.setdefault(resources, []).append(action)
        for resources, actions in by_resources.items():
            yield Question(tuple(actions), resources, tuple(context.items()))


def _caller(project: Project) -> tuple[str, str]:
    """Return the caller's kind of principal and its name; for a session of a role, the name of the role."""
    kind, _, name = project.caller.rpartition(":")[2].partition("/")
    return kind, name.partition("/")[0] if kind == "assumed-role" else name


def _patterns(statement: Document) -> list[str]:
    resource = statement["Resource"]
    return [resource] if isinstance(resource, str) else list(resource)


def _is_anything(pattern: str) -> bool:
    return pattern.startswith("arn:") and pattern.endswith(":*") and ":ec2:" in pattern


def _fits(action: str, pattern: str) -> bool:
    """Tell whether an action is ever asked about such a resource: a statement may name several of both."""
    if pattern == "*":
        return True
    kind = pattern.split(":", 5)[5].partition("/")[0]
    if kind in {"role", "instance-profile"} and action.startswith("iam:"):
        return (kind == "instance-profile") == ("InstanceProfile" in action)
    return action != "ec2:CreateFleet" or kind in _OF_FLEETS


def _of_types(pattern: str, action: str, context: dict[str, str]) -> list[str]:
    """Return a pattern for all of EC2 as those of the types that an action is about; any other as it is."""
    if not _is_anything(pattern):
        return [pattern]
    made = f"ec2:{context['ec2:CreateAction']}" if "ec2:CreateAction" in context else action
    return [f"{pattern[:-1]}{kind}/*" for kind in _TYPES[made]]


def _resource(project: Project, pattern: str, variables: dict[str, str]) -> str:
    """Return a resource that a pattern stands for, as AWS would name it."""
    if pattern == "*":
        return pattern
    for variable, value in variables.items():
        pattern = pattern.replace(variable, value)
    *head, account, rest = pattern.split(":", 5)
    if account == "*":
        account = "" if rest.partition("/")[0] in _OWNERLESS else project.account
    if rest.endswith(":*"):  # a log group, with its streams
        rest = f"{rest[:-1]}log-stream:x"
    # A wildcard before a name stands for a path, which most have none of; one at the end stands for a name.
    rest = rest.replace("/*", "/", 1) if "/*" in rest[:-1] else rest.replace("*", "x")
    return ":".join([*head, account, rest])


def _contexts(condition: Document, variables: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield what a request carries that meets a condition: one context for each choice among its values."""
    wanted: dict[str, list[str]] = {}
    for operator, keys in condition.items():
        for key, values in keys.items():
            if operator != "Null":  # such a key is not there
                wanted[key] = [values] if isinstance(values, str) else list(values)
    for choice in itertools.product(*wanted.values()):
        context = dict(zip(wanted, choice, strict=True))
        for variable, value in variables.items():
            context = {key: text.replace(variable, value).rstrip("*") for key, text in context.items()}
        yield {**context, **{variable.strip("${}"): value for variable, value in variables.items()}}


def _refused(cloud: Cloud, who: str, question: Question) -> Iterator[RefusedAction]:
    results = cloud.pages(
        "iam",
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=who,
        ActionNames=list(question.actions),
        ResourceArns=list(question.resources),
        ContextEntries=[
            {
                "ContextKeyName": key,
                "ContextKeyValues": [value],
                "ContextKeyType": _TYPE_OF.get(key, "string"),
            }
            for key, value in question.context
        ],
    )
    for row in results:
        by_resource = [one["EvalResourceDecision"] for one in row.get("ResourceSpecificResults", ())]
        denied = [one for one in [row["EvalDecision"], *by_resource] if one != "allowed"]
        if denied:
            yield RefusedAction(row["EvalActionName"], _by(row, denied))


def _by(row: dict[str, Any], decisions: list[str]) -> str:
    """Return the kind of policy that refuses, as AWS names it in its messages."""
    if not row.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True):
        return "service control policy"
    if not row.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary", True):
        return "permissions boundary"
    return "statement with Deny" if "explicitDeny" in decisions else ""


def describe(refused: list[RefusedAction]) -> str:
    """Return what is refused for people, by who refuses."""
    kinds: dict[str, list[str]] = {}
    for one in refused:
        kinds.setdefault(one.by, []).append(one.action)
    return "; ".join(
        f"{f'forbidden by a {by}' if by else 'missing'}: {', '.join(actions[:6])}"
        + (f" and {len(actions) - 6} more" if len(actions) > 6 else "")
        for by, actions in sorted(kinds.items())
    )


def cannot_be_asked(error: TrainingError) -> str:
    """Return what `doctor` says where the simulator does not answer: no reason to stop."""
    return f"not asked ({error.message.partition(': ')[0]} is needed for that); what follows was tried"
