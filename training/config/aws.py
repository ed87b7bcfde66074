"""Settings of a run in the cloud and of Amazon's services: the groups cloudwatch and aws."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from .. import layout
from .fields import Section, Texts, Url, setting

# The launcher finds its own by these tags.
RESERVED_TAGS = (
    layout.TAG_PROJECT,
    layout.TAG_RUN,
    layout.TAG_EXPIRES_AT,
    layout.TAG_REQUIREMENTS,
    layout.TAG_BUCKET,
    "Name",
)
MAX_TAGS = 40  # AWS allows 50, ours included
# The characters that EC2, IAM, S3 and CloudWatch Logs all allow. IAM:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html
_TAG_KEY, _TAG_VALUE = re.compile(r"[\w .:/=+@-]{1,128}"), re.compile(r"[\w .:/=+@-]{0,256}")


def _legal_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags if AWS takes them on everything; IAM does not tell upper from lower case in a key."""
    folded = [key.casefold() for key in tags]
    reserved = {key.casefold() for key in RESERVED_TAGS}
    for key, value in tags.items():
        if key.casefold().startswith("aws:") or key.casefold() in reserved:
            raise ValueError(f"the tag {key} is reserved")
        if not _TAG_KEY.fullmatch(key) or not _TAG_VALUE.fullmatch(value):
            raise ValueError(f"the tag {key}={value} has characters that AWS does not allow")
    if len(set(folded)) != len(folded) or len(folded) > MAX_TAGS:
        raise ValueError("two keys differ only in case, or there are too many")
    return tags


Tags = Annotated[dict[str, str], AfterValidator(_legal_tags)]


class CloudwatchSettings(Section):
    """CloudWatch metrics, sent once a minute; each costs about $0.30 a month while it is sent."""

    enabled: bool = setting(False, "send; needs AWS credentials, a missing permission is said once")
    namespace: str | None = setting(
        None,
        "namespace of the metrics; null: aws.project_name, the only one on AWS machines",
        legal="letters, digits and ._/#:-",
        pattern=r"^[A-Za-z0-9._/#:-]{1,255}$",
    )
    metrics: Texts = setting(
        (
            "rollout/reward",
            "rollout/crash_rate",
            "evaluation/completed",
            "time/steps_per_s",
            "system/gpu_percent",
            "system/disk_free_gb",
        ),
        "curves that are sent, by their names in TensorBoard",
        legal="list of 1 to 6 names",
        min_length=1,
        max_length=6,
    )


class EndpointSettings(Section):
    """Addresses of the services; null: Amazon's. For S3-compatible stores and for rehearsals."""

    s3: Url | None = setting(None, "object store")
    ec2: Url | None = setting(None, "machines, fleets, prices of spot capacity")
    iam: Url | None = setting(None, "roles and profiles")
    kms: Url | None = setting(None, "keys of disks")
    sts: Url | None = setting(None, "who am I")
    ssm: Url | None = setting(None, "parameters: base image, keys")
    logs: Url | None = setting(None, "CloudWatch logs")
    cloudwatch: Url | None = setting(None, "CloudWatch metrics")
    pricing: Url | None = setting(None, "on-demand prices")
    quotas: Url | None = setting(None, "service quotas")


class AwsSettings(Section):
    """Where and on what a run in the cloud happens, and what it may cost. Used only with CLOUD=aws."""

    region: str = setting(
        "us-east-2",
        "region; prices differ by three times between regions",
        legal="name of a region, as us-east-2",
        pattern=r"^[a-z]{2,4}(-[a-z]+)+-[0-9]$",
        formerly="aws_region",
    )
    availability_zones: Texts = setting((), "zones to use; empty: all of the region")
    instance_types: Texts = setting(
        ("g4dn.xlarge", "g5.xlarge", "g6.xlarge"),
        "types that may be taken: with an NVIDIA GPU, or without (c7a.large, m7a.large, c7i.xlarge)",
        min_length=1,
    )
    key_pair_name: str | None = setting(
        None, "EC2 key pair for SSH; null: Session Manager only", min_length=1
    )
    project_name: str = setting(
        "f1tenth",
        "in the name and tags of all that is made",
        legal="1 to 20 of a-z, 0-9 and -, neither first nor last a -",
        pattern=r"^[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?$",
    )
    s3_bucket_name: str | None = setting(
        None,
        "bucket; null: <project>-<account>-<region>. One that exists: ./launch.py up --use-existing-bucket",
        legal="3 to 63 of a-z, 0-9, . and -, first and last no sign",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
    )
    s3_kms_key_arn: str | None = setting(
        None,
        "KMS key of your own that encrypts the bucket; runs may use it through S3. null: S3's own keys",
        legal="arn:aws:kms:…:key/…",
        pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}$",
    )
    s3_transfer_acceleration: bool = setting(
        False, "upload through the nearest edge; costs $0.04 per GB more"
    )
    volume_size_gb: int = setting(
        50, "disk of the instance; the image's, usually 40, or more", ge=25, le=16_384
    )
    volume_initialization_mib_s: int | None = setting(
        300,
        "speed at which EC2 fills a new disk, about $0.0036 per GB of image at each boot; null: EC2's pace, free",
        legal="integer, 100 to 300",
        ge=100,
        le=300,
    )
    vpc_id: str | None = setting(
        None, "network; null: the default one", legal="vpc-…", pattern=r"^vpc-[0-9a-f]{8,17}$"
    )
    subnet_ids: Texts = setting((), "subnets; empty: one of each zone")
    open_ports_to: str = setting(
        "none",
        "who reaches ports 22 and 6006",
        legal="none | my-ip | one IPv4 address",
        pattern=r"^(none|my-ip|[0-9]{1,3}([.][0-9]{1,3}){3})$",
    )
    tags: Tags = setting(
        {},
        "further tags on all that is made, for organisations that ask for them; Owner may be one of them",
        legal=f"map of at most {MAX_TAGS} keys to texts, such as {{CostCenter: lab}}; not "
        + ", ".join(RESERVED_TAGS),
    )
    permissions_boundary: str | None = setting(
        None,
        "policy that limits every role that is made",
        legal="ARN of an IAM policy",
        pattern=r"^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[!-~]{1,512}$",
    )
    instance_profile: str | None = setting(
        None,
        "existing instance profile for the machines; null: a role and a profile for each run, limited to it",
        legal="name of an instance profile",
        pattern=r"^[A-Za-z0-9+=,.@_-]{1,128}$",
    )
    kms_key: str | None = setting(
        None,
        "customer-managed KMS key that encrypts the disk; null: the account's default EBS key",
        legal="key id, key ARN or alias/NAME",
        pattern=r"^(alias/[A-Za-z0-9/_-]{1,250}|arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+"
        r"|(mrk-)?[0-9a-f-]{32,36})$",
    )
    max_hours: float = setting(2.0, "the fleet ends after this, whatever happens", gt=0, le=720)
    max_cost_usd: float = setting(
        2.0, "the fleet ends before it can cost more, storage aside", gt=0, le=100_000
    )
    endpoints: EndpointSettings = EndpointSettings()
