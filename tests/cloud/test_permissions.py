"""Missing rights: what `doctor` asks IAM, what it says of the answers, how it gives the policies; and refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.fake_aws import Account
from tests.cloud.golden import SCOPE
from tests.cloud.iam_simulator import Iam, Question
from tests.cloud.service_model import TruthfulStubber
from training.aws_access import denials
from training.cloud import doctor
from training.cloud.aws import aws_errors, iam_policies, people_policies, permission_check
from training.cloud.aws.client import Cloud
from training.cloud.aws.iam_statements import Document
from training.cloud.aws.project import Project
from training.config import AwsSettings
from training.store import s3_errors

USER = f"arn:aws:iam::{SCOPE.account}:user/kim"
SESSION = f"arn:aws:sts::{SCOPE.account}:assumed-role/Trainers/kim@example.org"
AS_USER, AS_ROLE = SCOPE._replace(caller=USER), SCOPE._replace(caller=SESSION)
SSO = "AWSReservedSSO_Trainers_0123456789abcdef"  # pragma: allowlist secret
# The longest that the settings take; the longest name of a region, and of a role.
LONGEST = Project("a" * 20, "1" * 12, "ap-southeast-1", "b" * 63)
LONG_ROLE = f"arn:aws:sts::{'1' * 12}:assumed-role/{'r' * 64}/kim"
ORGANISATION = {
    "permissions_boundary": f"arn:aws:iam::{'1' * 12}:policy/{'p' * 64}",
    "kms_key": f"arn:aws:kms:ap-southeast-1:{'1' * 12}:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "bucket_key": f"arn:aws:kms:ap-southeast-1:{'1' * 12}:key/mrk-1234abcd12ab34cd56ef1234567890ab",
}


# --- what is asked ---
def asked(scope: Project) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Yield every action, resource and context that `doctor` asks about before `up`."""
    for policy in (iam_policies.daily_policy(scope), iam_policies.setup_policy(scope)):
        for statement in policy["Statement"]:
            for question in permission_check.questions(scope, statement):
                for action in question.actions:
                    yield from ((action, resource, question.context) for resource in question.resources)


@pytest.mark.parametrize("scope", [AS_USER, AS_ROLE], ids=["user", "role"])
def test_doctor_misses_nothing_of_who_has_exactly_the_documented_policies(iam: Iam, scope: Project) -> None:
    held = [iam_policies.daily_policy(scope), iam_policies.setup_policy(scope)]
    rows = [(scope.caller, held, Question(*one)) for one in asked(scope)]
    assert len(rows) > 100
    answers = iam.decide(rows, scope.account)
    wrong = {str(row[2]): answer for row, answer in zip(rows, answers, strict=True) if answer != "Allowed"}
    assert wrong == {}


@pytest.mark.parametrize("scope", [AS_USER, AS_ROLE], ids=["user", "role"])
def test_every_right_of_a_person_is_asked_about(scope: Project) -> None:
    held = [iam_policies.daily_policy(scope), iam_policies.setup_policy(scope)]
    granted = {action for policy in held for one in policy["Statement"] for action in one["Action"]}
    assert granted - {action for action, *_ in asked(scope)} == set()


def test_tags_are_asked_with_each_creation_that_gives_them() -> None:
    """`up` has not been run, and CreateTags is missing: so doctor said, for it asked for all with CreateFleet."""
    contexts = [dict(context) for action, _, context in asked(AS_USER) if action == "ec2:CreateTags"]
    assert {context["ec2:CreateAction"] for context in contexts} == {
        "CreateFleet",
        "CreateLaunchTemplate",
        "CreateSecurityGroup",
        "RunInstances",
    }
    assert all(context["aws:RequestTag/Project"] == SCOPE.name for context in contexts)


def test_no_question_holds_a_variable_or_a_wildcard() -> None:
    for scope in (AS_USER, AS_ROLE):
        for action, resource, context in asked(scope):
            assert resource == "*" or not re.search(r"[*$]", resource), (action, resource)
            assert not re.search(r"[*$]", " ".join(value for _, value in context)), (action, context)


# --- what is answered ---
def answers(
    scope: Project, statement: Document, result: dict[str, Any]
) -> list[permission_check.RefusedAction]:
    """Return what is found missing where the simulator answers each action with one result."""
    cloud = Cloud(AwsSettings(), lambda _: None)
    stub = TruthfulStubber(cloud.client("iam"))
    row = {"EvalActionName": statement["Action"][0], "EvalResourceName": "*", **result}
    for rows in ([], [row]):
        stub.add_response("simulate_principal_policy", {"EvaluationResults": rows, "IsTruncated": False})
    with stub:
        return permission_check.lacking(cloud, scope, USER, {"Statement": [statement]})


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("result", "by"),
    [
        ({"EvalDecision": "allowed"}, None),
        ({"EvalDecision": "implicitDeny"}, ""),
        ({"EvalDecision": "explicitDeny"}, "statement with Deny"),
        (
            {
                "EvalDecision": "implicitDeny",
                "OrganizationsDecisionDetail": {"AllowedByOrganizations": False},
            },
            "service control policy",
        ),
        (
            {
                "EvalDecision": "implicitDeny",
                "PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": False},
            },
            "permissions boundary",
        ),
        (
            {
                "EvalDecision": "allowed",
                "ResourceSpecificResults": [
                    {"EvalResourceName": "a", "EvalResourceDecision": "allowed"},
                    {"EvalResourceName": "b", "EvalResourceDecision": "implicitDeny"},
                ],
            },
            "",
        ),
    ],
)
def test_the_simulators_answer_says_who_refuses(result: dict[str, Any], by: str | None) -> None:
    statement = {"Sid": "x", "Action": ["ec2:CreateFleet"], "Resource": "*"}
    found = answers(AS_USER, statement, result)
    assert found == ([] if by is None else [permission_check.RefusedAction("ec2:CreateFleet", by)])


def test_what_is_forbidden_is_not_offered_as_a_policy() -> None:
    told = permission_check.describe(
        [
            permission_check.RefusedAction("ec2:CreateFleet", "service control policy"),
            permission_check.RefusedAction("iam:PassRole"),
        ]
    )
    assert told == "missing: iam:PassRole; forbidden by a service control policy: ec2:CreateFleet"


# --- how the policies are given ---
@pytest.mark.parametrize("kind", people_policies.POLICIES)
@pytest.mark.parametrize("caller", ["", LONG_ROLE], ids=["user", "role"])
@pytest.mark.parametrize("more", [{}, ORGANISATION], ids=["plain", "organisation"])
def test_a_policy_fits_a_managed_one_with_the_longest_names(
    kind: str, caller: str, more: dict[str, str]
) -> None:
    policy = people_policies.POLICIES[kind](LONGEST._replace(caller=caller, **more))
    size = len(re.sub(r"\s", "", json.dumps(policy)))
    assert size <= people_policies.MANAGED_POLICY_CHARACTERS, size


def test_the_machines_policy_fits_too() -> None:
    size = len(re.sub(r"\s", "", json.dumps(iam_policies.instance_policy(LONGEST))))
    assert size <= people_policies.MANAGED_POLICY_CHARACTERS


@pytest.mark.parametrize(
    ("caller", "command"),
    [
        (USER, "aws iam attach-user-policy --user-name kim --policy-arn"),
        (
            f"arn:aws:iam::{SCOPE.account}:user/lab/kim",
            "aws iam attach-user-policy --user-name kim --policy-arn",
        ),
        (SESSION, "aws iam attach-role-policy --role-name Trainers --policy-arn"),
        (
            f"arn:aws:sts::{SCOPE.account}:assumed-role/{SSO}/kim",
            f"# then add it to the permission set of {SSO} in IAM Identity Center",
        ),
    ],
)
def test_the_commands_fit_who_asks(caller: str, command: str) -> None:
    *_, create, attach = people_policies.how_to_give(SCOPE._replace(caller=caller), "train", Path("p"))
    assert create == (
        "aws iam create-policy --policy-name f1tenth.us-east-2.train "
        "--policy-document file://p/f1tenth.us-east-2.train.json"
    )
    assert attach.startswith(command)


def test_the_policies_are_written_as_the_commands_name_them(account: Account) -> None:
    done = account.launch_here("doctor", "--policy", "--out", "mine")
    assert done.returncode == 0, done.stderr
    files = re.findall(r"file://(\S+)", done.stdout)
    assert len(set(files)) == 3
    for file in files:
        policy = json.loads((account.folder / file).read_text(encoding="utf-8"))
        assert policy["Version"] == "2012-10-17"
    assert account.project in json.dumps(policy)


def test_a_missing_right_names_its_policy_once() -> None:
    assert people_policies.that_grant(SCOPE, ["ec2:CreateFleet"]) == ["train"]
    assert people_policies.that_grant(SCOPE, ["ec2:CreateFleet", "s3:CreateBucket"]) == ["train", "setup"]
    assert people_policies.that_grant(SCOPE, ["s3:CreateBucket"]) == ["setup"]
    assert people_policies.that_grant(SCOPE, ["ec2:CreateImage"]) == ["bake"]
    assert people_policies.that_grant(SCOPE, ["sts:DecodeAuthorizationMessage"]) == []


def test_findings_of_several_checks_give_each_policy_once() -> None:
    give = (("train", people_policies.how_to_give(AS_USER, "train")),)
    findings = [
        doctor.DoctorFinding("permissions", "", "x", ("ec2:CreateFleet",), give),
        doctor.DoctorFinding("region", "", "x", ("ec2:DescribeAvailabilityZones",), give),
        doctor.DoctorFinding("image", "fits"),
    ]
    missing = doctor.missing(findings)
    assert missing["actions"] == ["ec2:CreateFleet", "ec2:DescribeAvailabilityZones"]
    assert missing["policies"] == ["train"]
    assert sum(line.startswith("aws iam attach-user-policy") for line in missing["commands"]) == 1
    assert doctor.missing([doctor.DoctorFinding("image", "fits")]) == {}


# --- refusals ---
WHO = (
    f"User: {USER} is not authorized to perform: ec2:CreateFleet on resource: arn:aws:ec2:us-east-2:1:fleet/*"
)
ENCODED = "qwerty-_" * 250
TELLS = [
    ("because no identity-based policy allows the ec2:CreateFleet action", True, "./launch.py doctor"),
    ("with an explicit deny in a service control policy", False, "Your organisation forbids ec2:CreateFleet"),
    ("with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/x/p-1", False, "organisation"),
    ("because no service control policy allows the ec2:CreateFleet action", False, "Your organisation forbids"),
    ("with an explicit deny in a resource control policy", False, "Your organisation forbids"),
    ("with an explicit deny in a permissions boundary", False, "The permissions boundary of your user"),
    ("because no permissions boundary allows the ec2:CreateFleet action", False, "The permissions boundary"),
    ("because no session policy allows the ec2:CreateFleet action", False, "The policy of your session"),
    ("because no VPC endpoint policy allows the ec2:CreateFleet action", False, "The endpoint by which your network"),
    ("with an explicit deny in an identity-based policy", False, "an identity-based policy denies ec2:CreateFleet"),
    ("with an explicit deny in a resource-based policy", False, "a resource-based policy denies ec2:CreateFleet"),
    ("with an explicit deny", False, "a policy denies ec2:CreateFleet"),
    ("", True, "./launch.py doctor"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "can_be_granted", "says"), TELLS, ids=[why or "no reason" for why, *_ in TELLS]
)
@pytest.mark.parametrize("encoded", ["", ENCODED], ids=["plain", "encoded"])
def test_a_refusal_says_who_refuses_and_who_can_help(
    why: str, can_be_granted: bool, says: str, encoded: str
) -> None:
    message = f"You are not authorized to perform this operation. {WHO} {why}".rstrip()
    message += f". Encoded authorization failure message: {encoded}" if encoded else ""
    reply: dict[str, Any] = {
        "Error": {"Code": "UnauthorizedOperation", "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    error = aws_errors.from_reply(reply, "ec2:CreateFleet")
    assert isinstance(error, aws_errors.AccessDenied)
    assert (error.action, error.can_be_granted) == ("ec2:CreateFleet", can_be_granted)
    assert says in error.next_step
    assert ENCODED[:20] not in error.message
    command = re.search(r"aws sts decode-authorization-message .*--encoded-message (\S+)$", error.next_step)
    assert (command[1] if command else "") == encoded, "whole, to be copied"


def test_a_long_refusal_keeps_its_end_and_an_unknown_wording_is_shown_as_it_is() -> None:
    assert denials.parse("no").text == "no"
    assert denials.parse(f"{WHO}. Encoded authorization failure message: {ENCODED}").text == WHO


def test_a_store_that_an_organisation_forbids_says_so() -> None:
    reply = {
        "Error": {
            "Code": "AccessDenied",
            "Message": f"{WHO} with an explicit deny in a service control policy",
        },
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    assert "Your organisation forbids this" in s3_errors.from_reply(reply, "write x").next_step
    reply["Error"]["Message"] = "Access Denied"
    assert "./launch.py doctor" in s3_errors.from_reply(reply, "write x").next_step
