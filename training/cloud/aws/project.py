"""The place of a project on AWS: account, region, bucket; and the names and tags of all its resources there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from ... import layout
from ...config import AwsSettings
from ...errors import UsageError
from .aws_errors import ResourceNotFound
from .client import Cloud, endpoint_of


class Project(NamedTuple):
    """One project in one account and region."""

    name: str
    account: str
    region: str
    bucket: str
    partition: str = "aws"
    plain_http: bool = False  # an emulator: a TLS-only bucket policy would shut us out
    caller: str = ""  # its ARN
    more_tags: tuple[tuple[str, str], ...] = ()  # those of the settings
    permissions_boundary: str = ""  # ARN of a policy, empty for none
    kms_key: str = ""  # that encrypts disks, as the settings name it; empty: the account's default
    machine_role: str = ""  # ARN of the role of an existing instance profile; empty: a role for each run
    bucket_key: str = ""  # ARN of the bucket's own KMS key

    @property
    def iam_path(self) -> str:
        """Return the path of all that the project has in IAM for this region, so that permissions can name it."""
        return f"/{self.name}/{self.region}/"

    @property
    def policy_arn(self) -> str:
        """Return the ARN of the policy that all instances of the project share."""
        policy = layout.instance_policy_name(self.name, self.region)
        return f"arn:{self.partition}:iam::{self.account}:policy{self.iam_path}{policy}"

    @property
    def store(self) -> str:
        """Return the store's name as a user types it."""
        return f"s3://{self.bucket}"

    def ec2(self, kind: str) -> str:
        """Return the ARN pattern of one kind of resource in EC2.

        It names no account: a policy reaches no further than its own, but for subnets that another shares with it.
        """
        return f"arn:{self.partition}:ec2:{self.region}:*:{kind}/*"

    def tags(self, more: Mapping[str, str] | None = None) -> list[dict[str, str]]:
        """Return the tags of something of the project."""
        tags = {layout.TAG_PROJECT: self.name, **(more or {}), **dict(self.more_tags)}
        return [{"Key": key, "Value": value} for key, value in tags.items()]

    def run_tags(self, run: str, owner: str, expires_at: datetime) -> list[dict[str, str]]:
        """Return the tags of something that belongs to one run."""
        return self.tags(
            {
                "Name": f"{self.name} {run}",
                layout.TAG_RUN: run,
                layout.TAG_OWNER: owner[:250],
                layout.TAG_EXPIRES_AT: f"{expires_at:%Y-%m-%dT%H:%M:%SZ}",
            }
        )

    @property
    def filters(self) -> list[dict[str, object]]:
        """Return the filter by which EC2 finds what belongs to the project."""
        return [{"Name": f"tag:{layout.TAG_PROJECT}", "Values": [self.name]}]


def read_project(cloud: Cloud) -> Project:
    """Ask who we are, and return the project. NoCredentials where there are no credentials."""
    identity = cloud.call("sts", "get_caller_identity")
    project = make_project(cloud.aws, identity["Account"], identity["Arn"])
    return (
        project
        if cloud.aws.instance_profile is None
        else project._replace(machine_role=_role_of_profile(cloud))
    )


def _role_of_profile(cloud: Cloud) -> str:
    """Return the ARN of the role in the instance profile of the settings. UsageError where there is none."""
    name = str(cloud.aws.instance_profile)
    try:
        roles = cloud.call("iam", "get_instance_profile", InstanceProfileName=name)["InstanceProfile"][
            "Roles"
        ]
    except ResourceNotFound:
        roles = []
    if not roles:
        raise UsageError(
            f"aws.instance_profile = {name} is no instance profile with a role in this account",
            next_step="List them: aws iam list-instance-profiles. Or leave it out: each run gets its own.",
        )
    return str(roles[0]["Arn"])


def make_project(aws: AwsSettings, account: str, caller: str = "") -> Project:
    """Return the project of the settings in an account."""
    partition = caller.split(":")[1] if caller.count(":") >= 5 else "aws"
    bucket = aws.s3_bucket_name or layout.default_bucket_name(aws.project_name, account, aws.region)
    plain = (endpoint_of("s3", aws) or "").startswith("http://")
    return Project(
        aws.project_name,
        account,
        aws.region,
        bucket,
        partition,
        plain,
        caller,
        tuple(aws.tags.items()),
        aws.permissions_boundary or "",
        aws.kms_key or "",
        bucket_key=aws.s3_kms_key_arn or "",
    )


def tag(item: dict[str, object], key: str) -> str:
    """Return a tag of something that AWS described, empty where it has none."""
    found = item.get("Tags") or ()
    return next((str(pair["Value"]) for pair in found if pair["Key"] == key), "")  # type: ignore[attr-defined]
