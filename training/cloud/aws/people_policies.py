"""The policies of people, by what they are for, and how they are given.

As managed policies of up to 6,144 characters. All inline policies of a user together have 2,048: each is too long.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from ... import layout
from . import iam_policies, key_policy
from .bake_policy import bake_policy
from .iam_statements import Document
from .project import Project

MANAGED_POLICY_CHARACTERS = 6_144
POLICIES: dict[str, Callable[[Project], Document]] = {
    "train": iam_policies.daily_policy,
    "setup": iam_policies.setup_policy,
    "bake": bake_policy,
    "keys": key_policy.key_policy,
}
FOR = {
    "train": "train, watch, stop and fetch",
    "setup": "up and down, in addition to train",
    "bake": "make ami",
    "keys": "KMS keys of the settings, in addition to train",
}
FOLDER = Path("policies")
WRITE = f"./launch.py doctor --policy --out {FOLDER}"
CONSOLE = "In the console instead: IAM, Policies, Create policy, JSON; then attach it to the user or role."
_SSO_ROLE = "AWSReservedSSO_"


def all_of(project: Project) -> dict[str, Document]:
    """Return every policy of people that the settings need, by its short name."""
    return {
        kind: make(project)
        for kind, make in POLICIES.items()
        if kind != "keys" or key_policy.is_needed(project)
    }


def that_grant(project: Project, actions: Iterable[str]) -> list[str]:
    """Return the short names of the policies that are needed for some actions, the fewest from the first on."""
    left, kinds = set(actions), []
    for kind, policy in all_of(project).items():
        granted = [one for statement in policy["Statement"] for one in statement["Action"]]
        found = {action for action in left if any(fnmatchcase(action, one) for one in granted)}
        if found:
            kinds.append(kind)
            left -= found
    return kinds


def write(project: Project, folder: Path) -> list[Path]:
    """Write each policy into a file of its own, named as the policy, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, policy in all_of(project).items():
        path = folder / f"{name(project, kind)}.json"
        path.write_text(json.dumps(policy, indent=2) + "\n", encoding="utf-8")
        files.append(path)
    return files


def name(project: Project, kind: str) -> str:
    """Return the name of a policy of people."""
    return layout.people_policy_name(project.name, project.region, kind)


def how_to_give(project: Project, kind: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """Return the commands with which someone who may change IAM gives a policy to the caller.

    folder: the folder where `write` puts its file.
    """
    arn = f"arn:{project.partition}:iam::{project.account}:policy/{name(project, kind)}"
    file = f"file://{folder / name(project, kind)}.json"
    return (
        f"# {FOR[kind]}. Where the policy exists already, instead of the first command:",
        f"#   aws iam create-policy-version --set-as-default --policy-arn {arn} --policy-document {file}",
        f"aws iam create-policy --policy-name {name(project, kind)} --policy-document {file}",
        _attach(project, arn),
    )


def _attach(project: Project, arn: str) -> str:
    kind, _, rest = project.caller.rpartition(":")[2].partition("/")
    if kind != "assumed-role":
        return f"aws iam attach-user-policy --user-name {rest.rpartition('/')[2]} --policy-arn {arn}"
    role = rest.partition("/")[0]
    if role.startswith(_SSO_ROLE):
        return f"# then add it to the permission set of {role} in IAM Identity Center, as a customer managed policy"
    return f"aws iam attach-role-policy --role-name {role} --policy-arn {arn}"
