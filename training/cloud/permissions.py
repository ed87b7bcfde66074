"""Which permissions the caller lacks: IAM's own simulator is asked, with the statements of our policies."""

from __future__ import annotations

from typing import Any

from training import layout
from training.cloud.api import Cloud
from training.cloud.aws.iam_statements import Document
from training.cloud.scope import Scope
from training.errors import TrainingError


def principal(cloud: Cloud, scope: Scope) -> str | None:
    """Return the ARN that the simulator takes for the caller; None for root, who may do everything.

    Raises CloudError where the caller's role cannot be looked up.
    """
    kind, _, name = scope.caller.rpartition(":")[2].partition("/")
    if kind == "root":
        return None
    if kind == "assumed-role":  # a session of a role, whose path only the role itself tells
        return str(cloud.call("iam", "get_role", RoleName=name.partition("/")[0])["Role"]["Arn"])
    return scope.caller


def lacking(cloud: Cloud, scope: Scope, who: str, policy: Document) -> list[Document]:
    """Return the statements of a policy, each with those of its actions that the caller may not do.

    Raises CloudError where the simulator does not answer; it is tried once, for nothing hangs on it.
    """
    cloud.send("iam", "simulate_principal_policy", {"PolicySourceArn": who, "ActionNames": ["iam:GetUser"]})
    found = []
    for statement in policy["Statement"]:
        denied = _denied(cloud, scope, who, statement)
        if denied:
            found.append({**statement, "Action": denied})
    return found


def _denied(cloud: Cloud, scope: Scope, who: str, statement: Document) -> list[str]:
    resources = statement["Resource"]
    results = cloud.pages(
        "iam",
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=who,
        ActionNames=statement["Action"],
        ResourceArns=[resources] if isinstance(resources, str) else resources,
        ContextEntries=_context(scope),
    )
    return sorted({row["EvalActionName"] for row in results if row["EvalDecision"] != "allowed"})


def _context(scope: Scope) -> list[dict[str, Any]]:
    """Return what the conditions of our policies ask about, as a request of ours would carry it."""
    values = {
        f"aws:RequestTag/{layout.TAG_PROJECT}": scope.project,
        f"aws:ResourceTag/{layout.TAG_PROJECT}": scope.project,
        f"ssm:resourceTag/{layout.TAG_PROJECT}": scope.project,
        "ec2:CreateAction": "CreateFleet",
        "iam:AWSServiceName": "ec2fleet.amazonaws.com",
        "iam:PassedToService": "ec2.amazonaws.com",
        "iam:PolicyARN": scope.policy_arn,
    }
    return [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for key, value in values.items()
    ]


def describe(missing: list[Document]) -> str:
    """Return the missing actions for people."""
    actions = sorted({action for statement in missing for action in statement["Action"]})
    return f"missing: {', '.join(actions[:6])}" + (
        f" and {len(actions) - 6} more" if len(actions) > 6 else ""
    )


def cannot_be_asked(error: TrainingError) -> str:
    """Return what `doctor` says where the simulator does not answer: no reason to stop."""
    return f"not asked ({error.message.partition(': ')[0]} is needed for that); what follows was tried"
