"""What the policies allow and deny, asked of an IAM simulator: the emulators check no conditions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cloud.fake_aws import ROOT
from tests.cloud.golden import SCOPE
from tests.cloud.iam_simulator import Iam, Question
from training.cloud.aws import iam_bucket, iam_policies, key_policy
from training.cloud.aws.iam_statements import Document
from training.cloud.aws.project import Project

LINTER = ("parliament==1.6.4", "setuptools==80.9.0")
ACCOUNT, REGION, BUCKET = SCOPE.account, SCOPE.region, f"arn:aws:s3:::{SCOPE.bucket}"
IAM = f"arn:aws:iam::{ACCOUNT}"
MACHINE, PERSON = f"{IAM}:role/f1tenth/us-east-2/f1tenth.us-east-2.race", f"{IAM}:user/kim"
OWN_RUN = {"aws:PrincipalTag/Run": "race", "aws:PrincipalTag/Project": "f1tenth"}
OURS, THEIRS = {"aws:ResourceTag/Project": "f1tenth"}, {"aws:ResourceTag/Project": "other"}
ASKED, NOT_ASKED = {"aws:RequestTag/Project": "f1tenth"}, {"aws:RequestTag/Project": "other"}
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
TO_EC2 = {"iam:PassedToService": "ec2.amazonaws.com"}
ROLE, POLICY = f"{IAM}:role/f1tenth/us-east-2/f1tenth.us-east-2.race", SCOPE.policy_arn
LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
SESSION = f"arn:aws:ssm:{REGION}:{ACCOUNT}:session"
ROLE_SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/Trainers/kim@example.org"
BY_ROLE = {"aws:userid": "AROAEXAMPLE:kim@example.org"}
OWN_SESSION = {"ssm:resourceTag/aws:ssmmessages:session-id": "AROAEXAMPLE:kim@example.org"}
OTHERS_SESSION = {"ssm:resourceTag/aws:ssmmessages:session-id": "AROAEXAMPLE:eve@example.org"}


class Case(NamedTuple):
    """One question, and the right answer."""

    allowed: bool
    action: str
    resource: str
    context: dict[str, str] = {}  # noqa: RUF012 - never changed

    def __str__(self) -> str:
        verb = "allow" if self.allowed else "deny"
        return f"{verb} {self.action} {self.resource[-40:]} {'/'.join(self.context.values())}"


def yes(action: str, resource: str, context: dict[str, str] | None = None) -> Case:
    return Case(allowed=True, action=action, resource=resource, context=context or {})


def no(action: str, resource: str, context: dict[str, str] | None = None) -> Case:
    return Case(allowed=False, action=action, resource=resource, context=context or {})


OF_MACHINE = [
    yes("s3:GetObject", f"{BUCKET}/scripts/{'a' * 64}.tar.gz"),
    no("s3:PutObject", f"{BUCKET}/scripts/{'a' * 64}.tar.gz"),
    yes("s3:GetObject", f"{BUCKET}/runs/race/status.json"),
    no("s3:GetObjectVersion", f"{BUCKET}/runs/race/status.json"),
    yes("s3:PutObject", f"{BUCKET}/runs/race/checkpoints/sac_latest_checkpoint.json"),
    yes("s3:AbortMultipartUpload", f"{BUCKET}/runs/race/replay/e1/car/x"),
    no("s3:GetObject", f"{BUCKET}/runs/other/status.json"),
    no("s3:PutObject", f"{BUCKET}/runs/other/status.json"),
    no("s3:PutObject", f"{BUCKET}/runs/race-2/status.json"),
    no("s3:DeleteObject", f"{BUCKET}/runs/race/status.json"),
    no("s3:DeleteObjectVersion", f"{BUCKET}/runs/race/status.json"),
    no("s3:GetObject", "arn:aws:s3:::another-bucket/runs/race/status.json"),
    yes("s3:ListBucket", BUCKET, {"s3:prefix": "runs/race/logs/"}),
    no("s3:ListBucket", BUCKET, {"s3:prefix": "runs/other/"}),
    no("s3:ListBucket", BUCKET, {"s3:prefix": ""}),
    no("s3:PutBucketPolicy", BUCKET),
    no("s3:PutLifecycleConfiguration", BUCKET),
    yes("ec2:DeleteFleets", f"{EC2}:fleet/fleet-1", {**OURS, "aws:ResourceTag/Run": "race"}),
    no("ec2:DeleteFleets", f"{EC2}:fleet/fleet-2", {**OURS, "aws:ResourceTag/Run": "other"}),
    no("ec2:DeleteFleets", f"{EC2}:fleet/fleet-3", {**THEIRS, "aws:ResourceTag/Run": "race"}),
    no("ec2:DeleteFleets", f"{EC2}:fleet/fleet-4"),
    no("ec2:CreateFleet", f"{EC2}:fleet/new", ASKED),
    yes("ec2:DescribeFleetHistory", f"{EC2}:fleet/fleet-1", {**OURS, "aws:ResourceTag/Run": "race"}),
    no("ec2:DescribeFleetHistory", f"{EC2}:fleet/fleet-2", {**OURS, "aws:ResourceTag/Run": "other"}),
    no("ec2:DescribeFleetHistory", f"{EC2}:fleet/fleet-3", {**THEIRS, "aws:ResourceTag/Run": "race"}),
    no("ec2:ModifyFleet", f"{EC2}:fleet/fleet-1", {**OURS, "aws:ResourceTag/Run": "race"}),
    no("ec2:RunInstances", f"{EC2}:instance/new", ASKED),
    no("ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS),
    no("ec2:CreateTags", f"{EC2}:instance/i-1", OURS),
    yes("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/f1tenth/wandb-api-key"),
    no("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/f1tenth/another-key"),
    no("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/other/wandb-api-key"),
    no("ssm:PutParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/f1tenth/wandb-api-key"),
    yes("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "f1tenth"}),
    no("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/EC2"}),
    yes("logs:PutLogEvents", f"{LOGS}:/f1tenth/training:log-stream:race"),
    no("logs:PutLogEvents", f"{LOGS}:/other/training:log-stream:race"),
    no("logs:DeleteLogGroup", f"{LOGS}:/f1tenth/training"),
    yes("ssmmessages:OpenDataChannel", "*"),
    no("iam:PassRole", ROLE, TO_EC2),
    no("iam:CreateRole", ROLE),
    no(
        "iam:AttachRolePolicy",
        ROLE,
        {"iam:PolicyARN": f"{IAM.replace(ACCOUNT, 'aws')}:policy/AdministratorAccess"},
    ),
]

OF_PERSON = [
    yes("ec2:CreateFleet", f"{EC2}:fleet/new", ASKED),
    no("ec2:CreateFleet", f"{EC2}:fleet/new", NOT_ASKED),
    no("ec2:CreateFleet", f"{EC2}:fleet/new"),
    # A fleet of type maintain has no tags for its instances in its request: the launch template has them.
    yes("ec2:CreateFleet", f"{EC2}:instance/new"),
    yes("ec2:CreateFleet", f"{EC2}:launch-template/lt-1", OURS),
    no("ec2:CreateFleet", f"{EC2}:launch-template/lt-1", THEIRS),
    no("ec2:RunInstances", f"{EC2}:instance/new"),
    no("ec2:RunInstances", f"{EC2}:instance/new", NOT_ASKED),
    yes("ec2:RunInstances", f"{EC2}:instance/new", ASKED),
    yes("ec2:RunInstances", f"{EC2}:volume/new", ASKED),
    no("ec2:RunInstances", f"{EC2}:volume/new"),
    yes("ec2:RunInstances", f"{EC2}:subnet/subnet-1"),
    yes("ec2:RunInstances", f"arn:aws:ec2:{REGION}:999999999999:subnet/subnet-shared"),
    yes("ec2:RunInstances", f"{EC2}:spot-instances-request/new"),
    yes("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-1", OURS),
    no("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-1", THEIRS),
    no("ec2:RunInstances", f"{EC2}:security-group/sg-1", THEIRS),
    no("ec2:RunInstances", f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/*", ASKED),
    yes("ec2:DeleteFleets", f"{EC2}:fleet/fleet-1", OURS),
    no("ec2:DeleteFleets", f"{EC2}:fleet/fleet-1", THEIRS),
    yes("ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS),
    no("ec2:TerminateInstances", f"{EC2}:instance/i-1", THEIRS),
    no("ec2:StopInstances", f"{EC2}:instance/i-1", OURS),
    yes("ec2:CreateTags", f"{EC2}:fleet/fleet-1", {"ec2:CreateAction": "CreateFleet"}),
    no("ec2:CreateTags", f"{EC2}:instance/i-1", OURS),
    yes("iam:PassRole", ROLE, TO_EC2),
    no("iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
    no("iam:PassRole", f"{IAM}:role/Admin", TO_EC2),
    yes("iam:CreateRole", ROLE, ASKED),
    no("iam:CreateRole", ROLE),
    no("iam:CreateRole", f"{IAM}:role/Admin", ASKED),
    no("iam:CreateInstanceProfile", ROLE.replace(":role/", ":instance-profile/")),
    yes("iam:AttachRolePolicy", ROLE, {"iam:PolicyARN": POLICY}),
    no("iam:AttachRolePolicy", ROLE, {"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"}),
    no("iam:PutRolePolicy", ROLE),
    no("iam:CreatePolicyVersion", POLICY),
    no("iam:CreateUser", f"{IAM}:user/eve"),
    yes("s3:PutObject", f"{BUCKET}/runs/race/control.json"),
    no("s3:PutObject", "arn:aws:s3:::another-bucket/x"),
    no("s3:PutObject", f"{BUCKET}/data/a.csv"),
    no("s3:GetObject", f"{BUCKET}/data/a.csv"),
    no("s3:DeleteObject", f"{BUCKET}/data/a.csv"),
    no("s3:DeleteBucket", BUCKET),
    yes("ssm:StartSession", f"{EC2}:instance/i-1", {"ssm:resourceTag/Project": "f1tenth"}),
    no("ssm:StartSession", f"{EC2}:instance/i-1", {"ssm:resourceTag/Project": "other"}),
    yes("ssm:TerminateSession", f"{SESSION}/kim-0a1b2c3d", {"aws:username": "kim"}),
    no("ssm:TerminateSession", f"{SESSION}/eve-0a1b2c3d", {"aws:username": "kim"}),
    no("iam:SimulatePrincipalPolicy", f"{IAM}:role/Admin", {"aws:username": "kim"}),
]
# A session of a role has no user name. The id of what it opens begins with the session's name; a tag says whose it is.
OF_ROLE = [
    yes("ssm:ResumeSession", f"{SESSION}/kim@example.org-0a1b", {**OWN_SESSION, **BY_ROLE}),
    no("ssm:ResumeSession", f"{SESSION}/kim@example.org-0a1b", {**OTHERS_SESSION, **BY_ROLE}),
    no("ssm:TerminateSession", f"{SESSION}/kim-0a1b2c3d", BY_ROLE),
    yes("iam:SimulatePrincipalPolicy", f"{IAM}:role/aws-reserved/Trainers"),
    yes("iam:GetRole", f"{IAM}:role/Trainers"),
    no("iam:GetRole", f"{IAM}:role/Admin"),
]

KEYS = f"arn:aws:kms:{REGION}:{ACCOUNT}:key"
WITH_KEY = SCOPE._replace(bucket_key=f"{KEYS}/1234")


def through(service: str) -> dict[str, str]:
    """Return what KMS is told when a service uses a key."""
    return {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"}


OF_KEY = [
    yes("kms:GenerateDataKey", f"{KEYS}/1234", through("s3")),
    yes("kms:Decrypt", f"{KEYS}/1234", through("s3")),
    no("kms:Decrypt", f"{KEYS}/1234", through("ec2")),
    no("kms:Decrypt", f"{KEYS}/1234"),
    no("kms:Decrypt", f"{KEYS}/5678", through("s3")),
    no("kms:ScheduleKeyDeletion", f"{KEYS}/1234", through("s3")),
]

OF_SETUP = [
    yes("s3:CreateBucket", BUCKET),
    no("s3:CreateBucket", "arn:aws:s3:::another-bucket"),
    yes("s3:TagResource", BUCKET),
    yes("s3:DeleteObjectVersion", f"{BUCKET}/runs/race/status.json"),
    no("s3:DeleteObjectVersion", f"{BUCKET}/data/a.csv"),
    yes("s3:GetObjectRetention", f"{BUCKET}/runs/race/status.json"),
    no("s3:BypassGovernanceRetention", f"{BUCKET}/runs/race/status.json"),
    yes("iam:CreatePolicyVersion", POLICY),
    no("iam:CreatePolicyVersion", f"{IAM}:policy/Other"),
    yes("ec2:CreateSecurityGroup", f"{EC2}:security-group/new", ASKED),
    yes("ec2:AuthorizeSecurityGroupIngress", f"{EC2}:security-group/sg-1", OURS),
    no("ec2:AuthorizeSecurityGroupIngress", f"{EC2}:security-group/sg-1", THEIRS),
    yes("logs:CreateLogGroup", f"{LOGS}:/f1tenth/training"),
    no("logs:DeleteLogGroup", f"{LOGS}:/other/training"),
    yes("iam:CreateServiceLinkedRole", f"{IAM}:role/aws-service-role/ec2fleet.amazonaws.com/AWSServiceRoleForEC2Fleet",
        {"iam:AWSServiceName": "ec2fleet.amazonaws.com"}),
    no("iam:CreateServiceLinkedRole", f"{IAM}:role/aws-service-role/ec2fleet.amazonaws.com/AWSServiceRoleForEC2Fleet",
       {"iam:AWSServiceName": "eks.amazonaws.com"}),
]  # fmt: skip

GROUPS = {
    "machine": (iam_policies.instance_policy(SCOPE), MACHINE, OWN_RUN, OF_MACHINE),
    # Without its tag the policy must fit no run at all.
    "untagged machine": (
        iam_policies.instance_policy(SCOPE),
        MACHINE,
        {},
        [no(case.action, case.resource, case.context) for case in OF_MACHINE if "/runs/" in case.resource],
    ),
    "person": (iam_policies.daily_policy(SCOPE), PERSON, {}, OF_PERSON),
    "role": (iam_policies.daily_policy(SCOPE._replace(caller=ROLE_SESSION)), ROLE_SESSION, {}, OF_ROLE),
    "setup": (iam_policies.setup_policy(SCOPE), PERSON, {}, OF_SETUP),
    "machine with a key": (iam_policies.instance_policy(WITH_KEY), MACHINE, OWN_RUN, OF_KEY),
    "person with a key": (key_policy.key_policy(WITH_KEY), PERSON, {}, OF_KEY),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_policy_allows_what_it_should_and_nothing_else(iam: Iam, group: str) -> None:
    policy, principal, about_principal, cases = GROUPS[group]
    asked = [
        (
            principal,
            [policy],
            Question(case.action, case.resource, tuple({**about_principal, **case.context}.items())),
        )
        for case in cases
    ]
    answers = iam.decide(asked, ACCOUNT)
    wrong = [
        f"{case}: {answer}"
        for case, answer in zip(cases, answers, strict=True)
        if answer != ("Allowed" if case.allowed else "ImplicitlyDenied")
    ]
    assert wrong == []


def test_enough_cases_are_asked() -> None:
    assert len(OF_MACHINE) + len(OF_PERSON) + len(OF_SETUP) >= 40
    assert sum(not case.allowed for case in OF_MACHINE) >= 20


@pytest.fixture(scope="session")
def parliament() -> Path:
    """Install the linter below .cache, once: it needs a setuptools that nothing else does."""
    folder = ROOT / ".cache" / "parliament"
    if not (folder / "bin" / "parliament").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *LINTER]
        subprocess.run(command, check=True, capture_output=True)
    return folder / "bin" / "parliament"


# A request to start a machine touches many kinds of things; only new ones can be asked to carry the project's tag.
# So the right is split into two statements, and the linter, which looks at one at a time, finds each incomplete.
SPLIT = {"ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateSecurityGroup", "ssm:StartSession"}


def everyday_and_setup(scope: Project) -> Document:
    """Return both policies of a person as one: who sets up may train, too."""
    parts = [iam_policies.daily_policy(scope), iam_policies.setup_policy(scope)]
    return {**parts[0], "Statement": [statement for part in parts for statement in part["Statement"]]}


@pytest.mark.parametrize(
    "policy",
    [iam_policies.instance_policy, iam_policies.daily_policy, everyday_and_setup, iam_bucket.bucket_policy],
)
def test_parliament_finds_nothing_in_a_policy(parliament: Path, policy) -> None:
    text = json.dumps(policy(SCOPE))
    done = subprocess.run(
        [str(parliament), "--json"], input=text, capture_output=True, text=True, check=False
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert "error" not in done.stderr, done.stderr
    # `up` sets the policy of the bucket: with it, its user could reach all that is in it, not our prefixes alone.
    findings = [one for one in findings if one["issue"] != "RESOURCE_POLICY_PRIVILEGE_ESCALATION"]
    assert [finding for finding in findings if not _is_of_a_split_right(finding)] == []


def _is_of_a_split_right(finding) -> bool:
    detail = finding["detail"]
    return finding["issue"] == "RESOURCE_MISMATCH" and {row["action"] for row in detail} <= SPLIT
