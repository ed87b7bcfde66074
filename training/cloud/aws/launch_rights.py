"""The rights of a person to launch: start machines of the project, reach them, give each run its role. Pure.

Parts of `daily_policy`.
"""

from __future__ import annotations

from ... import layout
from .iam_statements import Document, allow, owned, requested
from .project import Project


def launching(project: Project) -> list[Document]:
    """Return the rights to start machines that carry the project's tag, and to end those.

    CreateFleet is checked for the fleet, its instances, and the resources that the request itself names. Resources of
    the launch template are checked as RunInstances, with the template's tags. So the tag is demanded of the fleet in
    the one, of instance and volume in the other.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html (CreateFleet)
    """
    image = f"arn:{project.partition}:ec2:{project.region}::image/*"
    snapshot = f"arn:{project.partition}:ec2:{project.region}::snapshot/*"
    # Each of these actions has a resource type of its own; IAM allows no wildcard as a type before a slash.
    anything = f"arn:{project.partition}:ec2:{project.region}:*:*"
    creations = {
        "StringEquals": {"ec2:CreateAction": ["CreateFleet", "CreateLaunchTemplate", "RunInstances"]}
    }
    return [
        # Only what an action makes can be given tags by it: the condition leaves no other resource.
        allow(
            "CreateTagged",
            ["ec2:CreateFleet", "ec2:CreateLaunchTemplate", "ec2:RunInstances"],
            anything,
            requested(project),
        ),
        allow("CreateFleetInstances", ["ec2:CreateFleet"], [project.ec2("instance"), project.ec2("volume")]),
        allow(
            "UseOwnForLaunch",
            ["ec2:CreateFleet", "ec2:RunInstances"],
            [image, project.ec2("launch-template"), project.ec2("security-group")],
            owned(project),
        ),
        allow(
            "UseForLaunch",
            ["ec2:CreateFleet", "ec2:RunInstances"],
            [
                snapshot,
                *(
                    project.ec2(kind)
                    for kind in ("key-pair", "network-interface", "spot-instances-request", "subnet")
                ),
            ],
        ),
        allow("TagOnCreate", ["ec2:CreateTags"], anything, creations),
        allow(
            "ManageOwnResources",
            [
                "ec2:DeleteFleets",
                "ec2:TerminateInstances",
                "ec2:DeleteLaunchTemplate",
                "ec2:DeleteVolume",
                # The console output of a machine that ended before it reached the bucket.
                "ec2:GetConsoleOutput",
            ],
            anything,
            owned(project),
        ),
    ]


def sessions(project: Project) -> list[Document]:
    """Return the rights to open a session on a machine of the project, and to end or resume one's own.

    A session's id begins with the name of an IAM user, or of a role's session. The latter has no variable, so there
    the tag that Session Manager puts on each session says whose it is.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-restrict-access-examples.html
    """
    ssm = f"arn:{project.partition}:ssm:{project.region}:*"  # AWS's own documents have no account, or ours
    session, own = f"{ssm}:session/", ["ssm:TerminateSession", "ssm:ResumeSession"]
    by_tag = {"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}*"}}
    return [
        allow(
            "StartSession",
            ["ssm:StartSession"],
            project.ec2("instance"),
            {"StringEquals": {f"ssm:resourceTag/{layout.TAG_PROJECT}": project.name}},
        ),
        allow(
            "UseSessionDocuments",
            ["ssm:StartSession"],
            [
                f"{ssm}:document/AWS-StartPortForwardingSession",
                f"{ssm}:document/SSM-SessionManagerRunShell",
            ],
        ),
        allow("EndOwnSession", own, f"{session}*", by_tag)
        if ":assumed-role/" in project.caller
        else allow("EndOwnSession", own, f"{session}${{aws:username}}-*"),
    ]


def run_roles(project: Project) -> list[Document]:
    """Return the rights to give each run its role: with the project's one policy attached, and no other.

    With an existing instance profile in the settings: the right to hand over its role, and none to make one.
    """
    iam = f"arn:{project.partition}:iam::{project.account}"
    to_ec2 = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    if project.machine_role:
        return [
            allow("ReadInstanceProfile", ["iam:GetInstanceProfile"], f"{iam}:instance-profile/*"),
            allow("PassMachineRole", ["iam:PassRole"], project.machine_role, to_ec2),
        ]
    roles, profiles = f"{iam}:role{project.iam_path}*", f"{iam}:instance-profile{project.iam_path}*"
    return [
        *_create_run_role(project, roles, profiles),
        allow(
            "AttachInstancePolicy",
            ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
            roles,
            {"ArnEquals": {"iam:PolicyARN": project.policy_arn}},
        ),
        allow(
            "ManageRunRole",
            [
                "iam:GetRole",
                "iam:DeleteRole",
                "iam:GetInstanceProfile",
                "iam:AddRoleToInstanceProfile",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:DeleteInstanceProfile",
            ],
            [roles, profiles],
        ),
        allow("ReadInstancePolicy", ["iam:GetPolicy", "iam:GetPolicyVersion"], project.policy_arn),
        allow("PassRunRole", ["iam:PassRole"], roles, to_ec2),
    ]


def _create_run_role(project: Project, roles: str, profiles: str) -> list[Document]:
    create, tags = ["iam:CreateRole"], ["iam:TagRole", "iam:CreateInstanceProfile", "iam:TagInstanceProfile"]
    if not project.permissions_boundary:
        return [allow("CreateRunRole", [*create, *tags], [roles, profiles], requested(project))]
    bounded = requested(project)
    bounded["StringEquals"]["iam:PermissionsBoundary"] = project.permissions_boundary
    return [
        allow("CreateRunRole", create, roles, bounded),
        allow("CreateRunProfile", tags, [roles, profiles], requested(project)),
    ]
